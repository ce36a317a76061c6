"""The benchmark fonts: the table fonts.csv, the files from npm, and their glyphs."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.environments import CACHE, PROJECT, npm_files
from plate_ocr.utils import write_bytes

FONTS = CACHE / "fonts"
DIGITS = "0123456789"


@dataclass(frozen=True)
class Face:
    """One row of fonts.csv: one font file of one family."""

    family: str
    package: str
    version: str
    file: str
    license: str
    kind: str
    set: str  # held-out or tuning

    @property
    def path(self) -> Path:
        """The fetched file."""
        return FONTS / Path(self.file).name


class Glyph(NamedTuple):
    """The ink of a character, uint8, and its top left corner relative to the pen."""

    ink: np.ndarray
    left: int
    top: int


def load_faces(name: str) -> list[Face]:
    """The faces of a set in the order of fonts.csv; missing files are fetched."""
    path = PROJECT / "data" / "benchmark" / "fonts.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        faces = [Face(**row) for row in csv.DictReader(lines) if row["set"] == name]
    FONTS.mkdir(parents=True, exist_ok=True)
    for face in faces:
        if not face.path.exists():
            write_bytes(face.path, npm_files(f"{face.package}@{face.version}")[face.file])
    return faces


@lru_cache(maxsize=512)
def open_font(face: Face, size: float) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels per em, which need not be an integer."""
    return ImageFont.truetype(str(face.path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=256)
def digit_height(face: Face) -> float:
    """The median height of its ten digits, in em."""
    boxes = [open_font(face, 200).getbbox(digit, anchor="ls") for digit in DIGITS]
    return float(np.median([bottom - top for _, top, _, bottom in boxes])) / 200


def render_glyph(face: Face, size: float, character: str, fraction: float) -> Glyph:
    """Draw a character, the pen `fraction` of a pixel to the right of a pixel's edge."""
    origin = int(np.ceil(size)) + 2
    canvas = Image.new("L", (4 * origin, 3 * origin))
    ImageDraw.Draw(canvas).text(
        (origin + fraction, 2 * origin), character, 255, open_font(face, size), anchor="ls"
    )
    box = canvas.getbbox()
    return Glyph(np.asarray(canvas.crop(box)), box[0] - origin, box[1] - 2 * origin)
