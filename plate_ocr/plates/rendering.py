"""Draw one plate: (fonts, seed, index) -> image and record, a pure function.

Plate `index` shows entry `index` of one seeded permutation of all five-digit numbers, so no
two plates of a seed share a number; plates of another count of digits neither. Beyond 100,000
plates the numbers come again, shuffled anew for every round, and file names carry the index. Fonts
and their instances go round in turn, so each is used evenly; size, gap and place are drawn at
random from a generator of the plate's own.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import ImageFont

from plate_ocr.plates.alphabet import DIGITS, NUM_DIGITS
from plate_ocr.plates.fonts import FontError, PlateFont

PLATE_HEIGHT = 64  # pixels
PLATE_WIDTH = 128
SIZES = range(18, 26)  # font sizes of up to five digits, in pixels per em
MARGIN = 2  # background pixels kept free on all four sides
MIN_SPACING = 1  # background columns between neighbouring glyphs
HELD_OUT = 90_000  # five-digit numbers from this position of a round on are never trained on
DEFAULT_SEED = 2026
# Threads share the open fonts, and the axes of one are set just before its digits are drawn.
DRAWING = Lock()
if hasattr(os, "register_at_fork"):  # a fork waits until no font is being set, nor the lock held
    os.register_at_fork(
        before=DRAWING.acquire, after_in_parent=DRAWING.release, after_in_child=DRAWING.release
    )

Axes = tuple[tuple[str, float], ...]


class Glyph(NamedTuple):
    """A digit's ink, cropped to its box: uint8 (height, width), and rows from base line to top."""

    ink: np.ndarray
    rise: int


@dataclass(frozen=True)
class PlateRecord:
    """What is on a plate and how it was drawn, a line of `metadata.jsonl`; lengths in pixels."""

    file_name: str
    text: str
    font: str  # family
    axes: dict[str, float]  # the instance of a variable font; empty for a static one
    size: int
    spacing: int  # background columns between neighbouring glyphs
    x: int  # left edge of the ink
    y: int  # top edge of the ink
    seed: int
    index: int


@lru_cache(maxsize=4)
def permuted_numbers(seed: int, digits: int = NUM_DIGITS, turn: int = 0) -> np.ndarray:
    """The seeded permutation that gives plates their numbers.

    Args:
        seed: decides it.
        digits: at most five: of 0 to 99,999.
        turn: 0 in the first round. In later ones the numbers are shuffled on either side of
            `HELD_OUT`: those that are never trained on stay so.

    Returns:
        int64 (10 ** digits,).
    """
    numbers = np.random.default_rng(seed).permutation(10**digits)
    if turn:
        held_out = HELD_OUT * len(numbers) // 10**NUM_DIGITS
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(turn,)))
        random.shuffle(numbers[:held_out])
        random.shuffle(numbers[held_out:])
    return numbers


def plate_text(seed: int, index: int, digits: int = NUM_DIGITS) -> str:
    """The digits of a plate.

    Of more than five, the first five go round the permutation of five-digit numbers; the others
    start anywhere and count on in every round. So each number comes once, and no list of ten
    million is needed.
    """
    leading = min(digits, NUM_DIGITS)
    turn, place = divmod(index, 10**leading)
    others = 10 ** (digits - leading)  # ways to go on after the leading ones
    text = f"{permuted_numbers(seed, leading, turn // others)[place]:0{leading}d}"
    if digits > leading:
        start = np.random.default_rng([seed, place, digits]).integers(others)
        text += f"{(start + turn) % others:0{digits - leading}d}"
    return text


def font_sizes(digits: int) -> range:
    """The usual font sizes: of more than five digits as much smaller as they are more."""
    most = max(digits, NUM_DIGITS)
    return range(SIZES[0] * NUM_DIGITS // most, SIZES[-1] * NUM_DIGITS // most + 1)


def font_and_instance(fonts: Sequence[PlateFont], index: int) -> tuple[PlateFont, Axes]:
    """The font of a plate and its axis settings, both taken in turn."""
    turn, position = divmod(index, len(fonts))
    font = fonts[position]
    return font, font.instances[turn % len(font.instances)]


@lru_cache(maxsize=256)
def _open_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    try:
        # Basic layout: Raqm is not in every Pillow, and single digits need no shaping.
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise FontError(f"{path}: not a readable font ({error})") from error


@lru_cache(maxsize=8192)  # of all 22 fonts in 24 instances and 8 sizes; 20 MB
def render_glyphs(path: Path, axes: Axes, size: int) -> tuple[Glyph, ...]:
    """Draw the ten digits of one font, instance and size.

    Raises:
        FontError: the font cannot be read or set, or draws a digit without ink.
    """
    with DRAWING:
        return _render_glyphs(_open_font(path, size), path, axes, size)


def _render_glyphs(
    font: ImageFont.FreeTypeFont, path: Path, axes: Axes, size: int
) -> tuple[Glyph, ...]:
    if axes:
        try:
            font.set_variation_by_axes([value for _, value in axes])
        except (OSError, ValueError) as error:
            raise FontError(f"{path}: cannot set {dict(axes)} ({error})") from error
    glyphs = []
    for digit in DIGITS:
        mask, (_, top) = font.getmask2(digit, mode="L", anchor="ls")
        box = mask.getbbox()
        if box is None:
            raise FontError(f"{path}: draws no ink for digit {digit} at size {size}")
        left, above, right, below = box
        ink = np.asarray(mask.crop(box), dtype=np.uint8).reshape(below - above, right - left)
        glyphs.append(Glyph(ink, -(top + above)))
    if all(np.array_equal(glyphs[0].ink, glyph.ink) for glyph in glyphs):
        raise FontError(f"{path}: has no digits (all ten look the same)")
    return tuple(glyphs)


def room(glyphs: Sequence[Glyph], gap: int) -> tuple[int, int]:
    """Columns and rows by which glyphs in a row, `gap` apart, can move inside the margins.

    Negative where they do not fit.
    """
    width = sum([ink.shape[1] for ink, _ in glyphs]) + gap * (len(glyphs) - 1)
    height = max([rise for _, rise in glyphs]) + max([len(ink) - rise for ink, rise in glyphs])
    return PLATE_WIDTH - 2 * MARGIN - width, PLATE_HEIGHT - 2 * MARGIN - height


def compose_plate(glyphs: Sequence[Glyph], gap: int, x: int, y: int) -> np.ndarray:
    """Set glyphs on a white plate, on one base line, with their top left corner at (x, y)."""
    inked = np.zeros((PLATE_HEIGHT, PLATE_WIDTH), dtype=np.uint8)
    base_line = y + max([glyph.rise for glyph in glyphs])
    for ink, rise in glyphs:
        top, (rows, columns) = base_line - rise, ink.shape
        inked[top : top + rows, x : x + columns] = ink
        x += columns + gap
    return np.invert(inked, out=inked)


def check_fits(font: PlateFont, axes: Axes, size: int, digits: int) -> None:
    """Refuse an instance whose widest digit does not fit the plate so many times.

    Raises:
        FontError: it does not fit, or the font cannot be used.
    """
    glyphs = render_glyphs(font.path, axes, size)
    widest = max(range(len(glyphs)), key=lambda digit: glyphs[digit].ink.shape[1])
    columns, _ = room([glyphs[widest]] * digits, MIN_SPACING)
    _, rows = room(glyphs, MIN_SPACING)
    if columns < 0 or rows < 0:
        text = DIGITS[widest] * digits
        raise FontError(f"{font.path}: {text} at size {size} does not fit the plate")


def render_plate(
    fonts: Sequence[PlateFont],
    seed: int,
    index: int,
    sizes: Sequence[int] | None = None,
    digits: int = NUM_DIGITS,
) -> tuple[np.ndarray, PlateRecord]:
    """Draw plate `index`.

    Args:
        fonts: the fonts of the data set, in order.
        seed: the seed of the data set.
        index: 0 or more; position in the permutation of all numbers, round after round.
        sizes: font sizes to choose from, in pixels per em; by default `sizes_for(digits)`.
        digits: how many the plate shows.

    Returns:
        The image, uint8 (64, 128) with black ink on 255, and its record.

    Raises:
        FontError: a font cannot be used, or its digits do not fit the plate.
    """
    text = plate_text(seed, index, digits)
    font, axes = font_and_instance(fonts, index)
    random = np.random.default_rng([seed, index])
    sizes = sizes or font_sizes(digits)
    size = sizes[int(random.integers(len(sizes)))]
    ten = render_glyphs(font.path, axes, size)
    glyphs = [ten[int(digit)] for digit in text]
    columns, rows = room(glyphs, MIN_SPACING)
    if columns < 0 or rows < 0:
        raise FontError(f"{font.path}: {text} at size {size} does not fit the plate")
    widest_gap = MIN_SPACING + columns // (digits - 1)
    gap = int(random.integers(MIN_SPACING, widest_gap + 1))
    columns -= (gap - MIN_SPACING) * (digits - 1)
    x = MARGIN + int(random.integers(columns + 1))
    y = MARGIN + int(random.integers(rows + 1))
    record = PlateRecord(
        file_name=f"{text}.png" if index < 10**digits else f"{text}-{index}.png",
        text=text,
        font=font.family,
        axes=dict(axes),
        size=size,
        spacing=gap,
        x=x,
        y=y,
        seed=seed,
        index=index,
    )
    return compose_plate(glyphs, gap, x, y), record
