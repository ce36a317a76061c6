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
        fonts = tuple(
            _load_font(table, entry) for entry in json.loads(table.read_text(encoding="utf-8"))
        )
    except FontError:
        raise
    except OSError as error:
        raise FontError(f"{error.filename or table}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FontError(f"{table}: not a table of fonts ({error})") from error
    if not fonts:
        raise FontError(f"{table}: holds no font")
    return fonts


def _load_font(table: Path, entry: dict) -> PlateFont:
    path = table.parent / entry["file"]
    instances = tuple(
        tuple((tag, float(value)) for tag, value in axes.items()) for axes in entry["instances"]
    )
    if not instances:
        raise FontError(f"{table}: {entry['family']} has no instance")
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
        raise FontError(f"{path}: differs from the file that {table} names")
    return PlateFont(entry["family"], entry["kind"], path, instances)


def fonts_digest(directory: Path | str = FONT_DIRECTORY) -> str:
    """SHA-256 of `fonts.json`, which holds the hash of every font file and all instances."""
    return hashlib.sha256(Path(directory, "fonts.json").read_bytes()).hexdigest()
