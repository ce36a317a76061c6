"""Styles of digits and surroundings that the 22 fonts do not have, drawn for training only.

A `Style` draws a text: digits in shapes that no font has, or in surroundings like those of real
photographs. `row.render_row` draws any source of digit shapes.
"""

from functools import cache
from pathlib import Path

from plate_ocr.plates.fonts import FONT_DIRECTORY, load_fonts
from plate_ocr.training.styles.counters import CounterRenderer
from plate_ocr.training.styles.handwriting import render_handwriting
from plate_ocr.training.styles.interpolation import FontInterpolator
from plate_ocr.training.styles.row import Style
from plate_ocr.training.styles.segments import render_segments
from plate_ocr.training.styles.squared import render_squared

STYLES = ("interpolated", "handwriting", "segments", "squared", "counters")


@cache
def load_style(name: str, fonts: Path | str = FONT_DIRECTORY) -> Style:
    """The style of this name, which may draw with these fonts; measuring them takes seconds."""
    if name == "interpolated":
        return _interpolator(fonts).render
    if name == "counters":
        return CounterRenderer(_interpolator(fonts).interpolate).render
    drawn = {
        "handwriting": render_handwriting,
        "segments": render_segments,
        "squared": render_squared,
    }
    return drawn[name]


@cache
def _interpolator(fonts: Path | str) -> FontInterpolator:
    return FontInterpolator(load_fonts(fonts))
