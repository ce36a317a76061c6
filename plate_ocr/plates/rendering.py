"""Draw one plate: (fonts, seed, index) -> image and record, a pure function.

Numbers follow a seeded permutation, fonts and their instances are used round-robin, and font size,
spacing and position come from a generator seeded with (seed, index).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import ImageFont

from plate_ocr.plates.alphabet import DIGITS, NUM_DIGITS
from plate_ocr.plates.fonts import FontError, PlateFont

PLATE_HEIGHT = 64  # pixels
PLATE_WIDTH = 128
PLATE_SIZE = (PLATE_WIDTH, PLATE_HEIGHT)
FONT_SIZES = range(18, 26)  # pixels per em, for up to five digits
MARGIN = 2  # background pixels kept free on all four sides
MIN_SPACING = 1  # background columns between neighboring digits
HELD_OUT_START = 90_000  # numbers from this position of the permutation on are never trained on
DEFAULT_SEED = 2026
FREETYPE_LOCK = Lock()  # threads share the fonts: set the axes and draw in one go

Axes = tuple[tuple[str, float], ...]


class Glyph(NamedTuple):
    """The image of a digit, cropped to its ink."""

    ink: np.ndarray  # uint8 (height, width), 0 is background
    bearing_y: int  # rows from the baseline up to the top of the ink


@dataclass(frozen=True)
class PlateRecord:
    """What a plate shows and how it was drawn: a line of `metadata.jsonl`; lengths in pixels."""

    file_name: str
    text: str
    font: str  # family
    axes: dict[str, float]  # the instance of a variable font; empty for a static one
    size: int  # pixels per em
    spacing: int  # background columns between neighboring digits
    x: int  # left edge of the ink
    y: int  # top edge of the ink
    seed: int
    index: int


@lru_cache(maxsize=4)
def permuted_numbers(seed: int, digits: int = NUM_DIGITS, cycle: int = 0) -> np.ndarray:
    """The seeded permutation that assigns numbers to plates.

    Args:
        seed: of the dataset.
        digits: at most 5; more are appended by `plate_text`.
        cycle: from 1 on, the numbers before and after `HELD_OUT_START` are shuffled again, but
            separately, so that held-out numbers stay held out.

    Returns:
        int64 (10 ** digits,).
    """
    numbers = np.random.default_rng(seed).permutation(10**digits)
    if cycle:
        held_out_start = HELD_OUT_START * len(numbers) // 10**NUM_DIGITS
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(cycle,)))
        rng.shuffle(numbers[:held_out_start])
        rng.shuffle(numbers[held_out_start:])
    return numbers


def plate_text(seed: int, index: int, digits: int = NUM_DIGITS) -> str:
    """The digits of plate `index`.

    With more than five digits, the first five follow the permutation. The remaining ones start at
    a random value for each position of the permutation and count up by one in each cycle, so that
    all numbers are distinct without a permutation of ten million.
    """
    leading = min(digits, NUM_DIGITS)
    cycle, position = divmod(index, 10**leading)
    endings = 10 ** (digits - leading)
    text = f"{permuted_numbers(seed, leading, cycle // endings)[position]:0{leading}d}"
    if digits > leading:
        start = np.random.default_rng([seed, position, digits]).integers(endings)
        text += f"{(start + cycle) % endings:0{digits - leading}d}"
    return text


def font_sizes(digits: int) -> range:
    """The font sizes in pixels per em, scaled by 5 / digits for more than five digits."""
    length = max(digits, NUM_DIGITS)
    return range(FONT_SIZES[0] * NUM_DIGITS // length, FONT_SIZES[-1] * NUM_DIGITS // length + 1)


def font_and_instance(fonts: Sequence[PlateFont], index: int) -> tuple[PlateFont, Axes]:
    """The font of plate `index` and its axis settings, both used round-robin."""
    cycle, position = divmod(index, len(fonts))
    font = fonts[position]
    return font, font.instances[cycle % len(font.instances)]


# Basic layout: not every Pillow has Raqm, and single digits need no shaping.
_open_font = lru_cache(maxsize=256)(
    partial(ImageFont.truetype, layout_engine=ImageFont.Layout.BASIC)
)


@lru_cache(maxsize=8192)  # all 22 fonts in 24 instances and 8 sizes; 20 MB
def render_glyphs(path: Path, axes: Axes, size: int) -> tuple[Glyph, ...]:
    """Draw the ten digits of one font, instance and size; FontError if they cannot be drawn."""
    glyphs = []
    with FREETYPE_LOCK:
        try:
            font = _open_font(path, size)
            if axes:
                font.set_variation_by_axes([value for _, value in axes])
        except (OSError, ValueError) as error:
            raise FontError(f"{path}: cannot be used with axes {dict(axes)} ({error})") from error
        for digit in DIGITS:
            mask, (_, offset) = font.getmask2(digit, mode="L", anchor="ls")
            box = mask.getbbox()
            if box is None:
                raise FontError(f"{path}: draws no ink for digit {digit} at size {size}")
            left, top, right, bottom = box
            ink = np.asarray(mask.crop(box), dtype=np.uint8).reshape(bottom - top, right - left)
            glyphs.append(Glyph(ink, -(offset + top)))
    if all(np.array_equal(glyphs[0].ink, glyph.ink) for glyph in glyphs):
        raise FontError(f"{path}: has no digits (all ten look the same)")
    return tuple(glyphs)


def free_space(glyphs: Sequence[Glyph], spacing: int) -> tuple[int, int]:
    """Columns and rows by which a row of glyphs can move inside the margins, below 0 if too big."""
    width = sum([ink.shape[1] for ink, _ in glyphs]) + spacing * (len(glyphs) - 1)
    ascent = max([bearing_y for _, bearing_y in glyphs])
    descent = max([len(ink) - bearing_y for ink, bearing_y in glyphs])
    return PLATE_WIDTH - 2 * MARGIN - width, PLATE_HEIGHT - 2 * MARGIN - (ascent + descent)


def compose_plate(glyphs: Sequence[Glyph], spacing: int, x: int, y: int) -> np.ndarray:
    """Set glyphs on one baseline of a white plate, uint8 (64, 128), top left corner at (x, y)."""
    ink = np.zeros((PLATE_HEIGHT, PLATE_WIDTH), dtype=np.uint8)
    baseline = y + max([glyph.bearing_y for glyph in glyphs])
    for glyph in glyphs:
        top, (height, width) = baseline - glyph.bearing_y, glyph.ink.shape
        ink[top : top + height, x : x + width] = glyph.ink
        x += width + spacing
    return np.invert(ink, out=ink)


def render_plate(
    fonts: Sequence[PlateFont],
    seed: int,
    index: int,
    digits: int = NUM_DIGITS,
) -> tuple[np.ndarray, PlateRecord]:
    """Draw plate `index`.

    Args:
        fonts: of the dataset, in order.
        seed: of the dataset.
        index: 0 or more; counts on through all cycles of the permutation.
        digits: on the plate.

    Returns:
        The image, uint8 (64, 128) with black ink on 255, and its record.

    Raises:
        FontError: a font cannot be used, or its digits do not fit the plate.
    """
    text = plate_text(seed, index, digits)
    font, axes = font_and_instance(fonts, index)
    rng = np.random.default_rng([seed, index])
    sizes = font_sizes(digits)
    size = sizes[int(rng.integers(len(sizes)))]
    digit_glyphs = render_glyphs(font.path, axes, size)
    glyphs = [digit_glyphs[int(digit)] for digit in text]
    columns, rows = free_space(glyphs, MIN_SPACING)
    if columns < 0 or rows < 0:
        raise FontError(f"{font.path}: {text} at size {size} does not fit the plate")
    spacing = int(rng.integers(MIN_SPACING, MIN_SPACING + columns // (digits - 1) + 1))
    columns -= (spacing - MIN_SPACING) * (digits - 1)
    x = MARGIN + int(rng.integers(columns + 1))
    y = MARGIN + int(rng.integers(rows + 1))
    name = f"{text}.png" if index < 10**digits else f"{text}-{index}.png"
    record = PlateRecord(name, text, font.family, dict(axes), size, spacing, x, y, seed, index)
    return compose_plate(glyphs, spacing, x, y), record
