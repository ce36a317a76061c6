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
    """One family, one file, and the axis settings it is drawn with.

    A static font has one instance without axes. Axis values are in the order of the file.
    """

    family: str
    kind: str
    path: Path
    instances: tuple[tuple[tuple[str, float], ...], ...]


def load_fonts(directory: Path | str = FONT_DIRECTORY) -> tuple[PlateFont, ...]:
    """Read `fonts.json` of a folder of fonts and check every file against its hash.

    Raises:
        FontError: the table or a font file is missing, unreadable or changed.
    """
    directory = Path(directory)
    table = directory / "fonts.json"
    try:
        entries = json.loads(table.read_text(encoding="utf-8"))
        fonts = tuple(
            PlateFont(
                family=entry["family"],
                kind=entry["kind"],
                path=directory / entry["file"],
                instances=tuple(
                    tuple((tag, float(value)) for tag, value in axes.items())
                    for axes in entry["instances"]
                ),
            )
            for entry in entries
        )
    except OSError as error:
        raise FontError(f"{table}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FontError(f"{table}: not a table of fonts ({error})") from error
    if not fonts or not all(font.instances for font in fonts):
        raise FontError(f"{table}: needs at least one font, and an instance of each")
    for font, entry in zip(fonts, entries, strict=True):
        try:
            content = font.path.read_bytes()
        except OSError as error:
            raise FontError(f"{font.path}: {error.strerror or error}") from error
        except ValueError as error:  # a name that no file can have
            raise FontError(f"{table}: names the file {font.path.name!r} ({error})") from error
        if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
            raise FontError(f"{font.path}: differs from the file that {table} names")
    return fonts


def fonts_digest(directory: Path | str = FONT_DIRECTORY) -> str:
    """SHA-256 of `fonts.json`, which holds the hash of every font file and all instances."""
    return hashlib.sha256((Path(directory) / "fonts.json").read_bytes()).hexdigest()
