"""Rows of digits from signed distance fields, in a random stroke weight, size and layout.

A signed distance field (SDF) holds the distance of every point of a glyph to its outline, positive
inside the strokes. Adding a constant makes strokes bolder or lighter; adding smooth noise roughens
the outline. A new source of digits is a `GlyphSource` for `render_row`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_WIDTH

SDF_SIZE = (32, 40)  # samples of a field, columns and rows
SDF_PADDING = 0.1  # around a glyph's box, in digit heights
SDF_CLIP = 0.25  # largest distance kept, in digit heights
DIGIT_HEIGHTS = (13, 28)  # pixels
MAX_GAP = 0.6  # between digits, in digit heights
MAX_EMBOLDEN = 0.06  # added to half a stroke, in digit heights
P_OUTLINE_NOISE = 0.3
P_GLYPH_JITTER = 0.4  # every digit is rotated, slanted, bent and stretched on its own
BEND_STD = 1.6  # samples by which a point moves where jitter is strongest
INK_THRESHOLD = 200  # darker pixels are ink; the softest edges of strokes are lighter


class Drawing(NamedTuple):
    """A drawn plate before a camera takes it; both images are uint8 (64, 128)."""

    plate: np.ndarray  # what is seen; used where there are surroundings, or nothing is augmented
    ink: np.ndarray  # the digits alone, dark on 255; used for the box, and without surroundings
    has_surroundings: bool = False  # else the plate shows its digits on an empty background


class GlyphFields(NamedTuple):
    """The digits of one row; lengths in heights of a typical digit."""

    fields: np.ndarray  # signed distances, float32 (n, 40, 32), over each box and its padding
    boxes: np.ndarray  # width, height and ascent above the base line, float (n, 3)
    half_stroke: float  # of the thinnest stroke
    counter_radius: float  # of the smallest enclosed area


GlyphSource = Callable[[Sequence[int], np.random.Generator], GlyphFields]
Style = Callable[[str, np.random.Generator], Drawing]  # draws a text


def render_row(source: GlyphSource, text: str, rng: np.random.Generator) -> Drawing:
    """Draw a text in the shapes of a source, dark ink on 255."""
    digits = [DIGITS.index(digit) for digit in text]
    while True:
        fields, boxes, half_stroke, counter_radius = source(digits, rng)
        offset = _sample_weight_offset(half_stroke, counter_radius, rng)
        fields += offset
        if rng.random() < P_OUTLINE_NOISE:
            noise = rng.normal(0, 0.012, (len(fields), 4, 4)).astype(np.float32)
            fields += [cv2.resize(grid, SDF_SIZE, interpolation=cv2.INTER_CUBIC) for grid in noise]
        if rng.random() < P_GLYPH_JITTER:
            fields, boxes = _jitter_glyphs(fields, boxes, rng)
        plate = _layout_row(fields, boxes, 2 * max(offset, 0), rng)
        if border_pixels(plate).min() >= INK_THRESHOLD:  # a bold or bent digit may leave the plate
            return Drawing(plate, plate)


def _sample_weight_offset(
    half_stroke: float, counter_radius: float, rng: np.random.Generator
) -> float:
    """What to add to the fields: half of the time little, else down to light or up to bold."""
    lightest, boldest = -0.6 * half_stroke, min(0.4 * counter_radius, MAX_EMBOLDEN)
    kind = rng.random()
    if kind < 0.25:
        return rng.uniform(lightest, 0)
    if kind < 0.5:
        return rng.uniform(0, boldest)
    return max(lightest / 2, min(rng.normal(0, 0.012), boldest / 2))


def _jitter_glyphs(
    fields: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, slant, bend, stretch and lift every digit on its own."""
    amount = rng.uniform(0.2, 1.0)
    angles = rng.standard_normal((2, len(fields))) * [[0.08], [0.10]]
    rotations, slants = amount * angles.clip(-0.2, 0.2)
    ones = np.ones_like(rotations)
    linear = np.array([[ones, rotations + slants], [-rotations, ones]]).transpose(2, 0, 1)
    linear *= 1.06  # slightly smaller, to stay in the fields
    center = (np.array(SDF_SIZE) - 1) / 2
    matrices = np.concatenate([linear, (center - linear @ center)[..., None]], axis=2)
    bends = rng.normal(0, BEND_STD * amount, (len(fields), 4, 3, 2)).astype(np.float32)
    jittered = np.empty_like(fields)
    for index, (field, matrix, bend) in enumerate(zip(fields, matrices, bends, strict=True)):
        source = cv2.transform(pixel_grid(*SDF_SIZE), matrix)
        source += cv2.resize(bend, SDF_SIZE, interpolation=cv2.INTER_CUBIC)
        jittered[index] = cv2.remap(
            field, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return jittered, boxes * np.exp(amount * rng.normal(0, 0.08, boxes.shape))


def _layout_row(
    fields: np.ndarray, boxes: np.ndarray, min_gap: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the digits on a white plate in a random size, width, spacing and position."""
    stretch = np.exp(rng.normal(0, 0.12))
    widths, heights, ascents = boxes.T * [[stretch], [1], [1]]
    gap = rng.uniform(min_gap, MAX_GAP)
    offsets = ascents.max() - ascents  # of the tops, below that of the tallest digit
    free_width, free_height = PLATE_WIDTH - 2 * MARGIN, PLATE_HEIGHT - 2 * MARGIN
    scale = min(  # pixels per digit height
        rng.uniform(*DIGIT_HEIGHTS),
        (free_width - len(fields)) / (widths.sum() + gap * (len(fields) - 1)),
        (free_height - 2) / (ascents.max() + (heights - ascents).max()),
    )
    columns = np.maximum(np.rint(widths * scale), 2).astype(int)
    rows = np.maximum(np.rint(heights * scale), 4).astype(int)
    tops = np.rint(offsets * scale).astype(int)
    gap = max(round(gap * scale), 1)
    free_width -= columns.sum() + gap * (len(fields) - 1)
    free_height -= (tops + rows).max()
    x = MARGIN + rng.integers(max(free_width, 0) + 1)
    tops += MARGIN + rng.integers(max(free_height, 0) + 1)

    pad_x, pad_y = (max(round(SDF_PADDING * size * scale), 1) for size in (stretch, 1))
    canvas = np.full((PLATE_HEIGHT + 2 * pad_y, PLATE_WIDTH + 2 * pad_x), -SDF_CLIP, np.float32)
    for field, y, width, height in zip(fields, tops, columns, rows, strict=True):
        size = width + 2 * pad_x, height + 2 * pad_y
        target = canvas[y : y + size[1], x : x + size[0]]
        np.maximum(target, cv2.resize(field, size), out=target)
        x += width + gap
    distances = canvas[pad_y:-pad_y, pad_x:-pad_x] * np.float32(scale)
    return to_uint8(255 * (0.5 - distances))  # an edge is one pixel wide, half of it outside


@cache
def pixel_grid(columns: int, rows: int) -> np.ndarray:
    """Coordinates x and y of every pixel, float32 (rows, columns, 2)."""
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)


def to_uint8(levels: np.ndarray) -> np.ndarray:
    """Gray levels, clipped to 0 to 255 and rounded down."""
    return np.clip(levels, 0, 255).astype(np.uint8)
