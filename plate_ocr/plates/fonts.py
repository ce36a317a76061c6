"""The training fonts: families, their files and the instances plates are drawn in."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from plate_ocr.utils import resource_path

FONT_DIRECTORY = resource_path("fonts")


class FontError(ValueError):
    """A font or the table of fonts cannot be used; the message names the file."""


@dataclass(frozen=True)
class PlateFont:
    """One family: its file, and the axis settings plates are drawn with.

    Axis values are in the order of the file. A static font has one instance without axes.
    """

    family: str
    kind: str  # such as "slab serif" or "stencil"
    path: Path
    instances: tuple[tuple[tuple[str, float], ...], ...]


def load_fonts(directory: Path | str = FONT_DIRECTORY) -> tuple[PlateFont, ...]:
    """Read `fonts.json` of a folder of fonts and check every file against its hash.

    Raises:
        FontError: the table or a font file is missing, unreadable or changed.
    """
    table = Path(directory, "fonts.json")
    try:
        entries = json.loads(table.read_text(encoding="utf-8"))
        return tuple(_load_font(table.parent, entry) for entry in entries)
    except OSError as error:
        raise FontError(f"{error.filename or table}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FontError(f"{table}: is damaged or does not match its fonts: {error}") from error


def _load_font(directory: Path, entry: dict) -> PlateFont:
    path = directory / entry["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path.name} has another hash")
    instances = tuple(
        tuple((tag, float(value)) for tag, value in axes.items()) for axes in entry["instances"]
    )
    return PlateFont(entry["family"], entry["kind"], path, instances)
