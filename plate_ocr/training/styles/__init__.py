"""Styles of digits and surroundings that the 22 fonts do not have, drawn for training only.

A `Style` draws a text: digits in shapes that no font has, or in surroundings like those of real
photographs. `row.render_row` draws any source of digit shapes.
"""

from functools import cache, partial
from pathlib import Path

from plate_ocr.plates.fonts import FONT_DIRECTORY, load_fonts
from plate_ocr.training.styles.counters import render_counter
from plate_ocr.training.styles.handwriting import render_handwriting
from plate_ocr.training.styles.interpolation import FontInterpolator
from plate_ocr.training.styles.row import GlyphSource, Style, render_row
from plate_ocr.training.styles.segments import render_segments
from plate_ocr.training.styles.squared import square_digits

STYLES = ("interpolated", "handwriting", "segments", "squared", "counters")


def load_style(name: str, fonts: Path | str = FONT_DIRECTORY) -> Style:
    """The style of this name, which may draw with these fonts."""
    if name == "interpolated":
        return partial(render_row, _interpolated(fonts))
    if name == "counters":
        return partial(render_counter, _interpolated(fonts))
    styles: dict[str, Style] = {
        "handwriting": render_handwriting,
        "segments": render_segments,
        "squared": partial(render_row, square_digits),
    }
    return styles[name]


@cache  # measuring the fonts takes seconds
def _interpolated(fonts: Path | str) -> GlyphSource:
    return FontInterpolator(load_fonts(fonts)).interpolate
