"""The benchmark fonts: the table fonts.csv, their files from npm, their digits as ink."""

import csv
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache"
FONTS = CACHE / "fonts"
DIGITS = "0123456789"
ORDINARY = {"sans", "serif", "slab", "mono", "rounded"}
PACKAGES_A_CALL = 16  # one npm process for many packages saves most of the time


@dataclass(frozen=True)
class Face:
    """One row of fonts.csv: one font file of one family."""

    family: str
    package: str
    version: str
    file: str
    licence: str
    kind: str
    set: str

    @property
    def path(self) -> Path:
        """Where the fetched file lies."""
        return FONTS / Path(self.file).name


class Glyph(NamedTuple):
    """One character's ink, uint8, and its top left corner as seen from the pen."""

    ink: np.ndarray
    left: int
    top: int


def read_table(path: Path = PROJECT / "data" / "benchmark" / "fonts.csv") -> list[Face]:
    """All faces in the order of the table."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [Face(**row) for row in csv.DictReader(lines)]


def fetch(faces: list[Face]) -> None:
    """Put the files that are not there yet into the cache."""
    FONTS.mkdir(parents=True, exist_ok=True)
    missing_extra = [face for face in faces if not face.path.exists()]
    for start in range(0, len(missing_extra), PACKAGES_A_CALL):
        batch = missing_extra[start : start + PACKAGES_A_CALL]
        with tempfile.TemporaryDirectory() as folder:
            packages = [f"{face.package}@{face.version}" for face in batch]
            command = ["npm", "pack", "--silent", *packages]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            for face in batch:
                name = face.package.removeprefix("@").replace("/", "-")
                with tarfile.open(Path(folder) / f"{name}-{face.version}.tgz") as archive:
                    member = archive.extractfile(f"package/{face.file}")
                    face.path.write_bytes(member.read())


@lru_cache(maxsize=512)
def open_font(face: Face, size: float) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels per em; sizes need not be whole."""
    return ImageFont.truetype(str(face.path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=256)
def rise(face: Face) -> float:
    """Height of the middle one of its ten digits, in em."""
    boxes = [open_font(face, 200).getbbox(digit, anchor="ls") for digit in DIGITS]
    return float(np.median([bottom - top for _, top, _, bottom in boxes])) / 200


def draw_glyph(face: Face, size: float, character: str, fraction: float) -> Glyph:
    """Draw a character with the pen `fraction` of a pixel right of a whole one."""
    origin = int(np.ceil(size)) + 2
    tile = Image.new("L", (4 * origin, 3 * origin))
    ImageDraw.Draw(tile).text(
        (origin + fraction, 2 * origin), character, 255, open_font(face, size), anchor="ls"
    )
    left, top, right, bottom = tile.getbbox()
    ink = np.asarray(tile.crop((left, top, right, bottom)))
    return Glyph(ink, left - origin, top - 2 * origin)
