"""Digits of straight strokes: techno, stencil, condensed and wide forms that no font has.

Their look-alikes differ in one stroke: an open 4 with two stems and a 9, a 3, 6 and 8, a heavy 7
with a short bar and a 1. A design picks one template per digit and draws it with one pen.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from plate_ocr.training.styles.row import SDF_PADDING, SDF_SIZE, GlyphFields

# Corners of strokes, column and row from "00" to "46"; row 3 is the waist, ";" lifts the pen.
# Stencils cut the first of every digit; the first two need little room between the strokes.
TEMPLATES = (
    ("00 40 46 06 00", "00 40 46 06 00", "00 40 46 06 00;22 24", "00 40 46 06 00;14 32"),
    ("20 26", "11 20 26;06 46", "02 20 26", "11 20 26", "10 20 26;06 46", "20 26;16 36"),
    ("00 40 43 03 06 46", "00 40 42 06 46", "01 00 40 43 03 06 46", "01 00 40 42 05 06 46"),
    ("00 40 46 06;03 43", "00 40 46 06;13 43", "00 40 46 06;23 43", "00 40 23 43 46 06"),
    ("00 03 43;40 46", "00 04 44;30 36", "00 04 44;40 46", "00 04 44;32 36", "36 30 20 04 44"),
    ("40 00 03 43 46 06", "40 00 02 42 46 06", "40 00 03 43 46 06 05"),
    ("40 00 06 46 43 03", "00 06 46 43 03", "30 00 06 46 43 03", "20 03 06 46 43 03"),
    ("00 40 46", "00 40 16", "01 00 40 46", "00 40 42 16"),
    ("00 40 46 06 00;03 43", "00 40 46 06 00;03 43", "10 30 33 13 10;03 43 46 06 03"),
    ("06 46 40 00 03 43", "46 40 00 03 43", "16 46 40 00 03 43", "26 43 40 00 03 43"),
)  # fmt: skip
RASTER = 48  # pixels per digit height at which distances are measured
# Distances that make the ends and corners of strokes square, round and chamfered.
METRICS = (cv2.DIST_C, cv2.DIST_L2, cv2.DIST_L1)
MIN_COUNTER = 0.1  # slit between two strokes, in digit heights
P_STENCIL = 0.2  # of designs that are wide enough
UNCUT = (1, 4, 7)  # a slit would take their stem


def square_digits(digits: Sequence[int], rng: np.random.Generator) -> GlyphFields:
    """Signed distance fields of digits, all in one design."""
    width = np.exp(rng.uniform(*np.log([0.32, 1.0])))
    half_y = np.exp(rng.uniform(*np.log([0.025, 0.12])))
    half_x = min(half_y * rng.uniform(0.8, 1.6), (width - MIN_COUNTER) / 4)
    waist = rng.uniform(0.46, 0.54)
    is_narrow = width < 0.55
    slit = 0 if is_narrow or rng.random() > P_STENCIL else rng.uniform(0.1, 0.16) * width
    metric = METRICS[rng.integers(len(METRICS))]
    is_tight = half_x > 0.1 * width or half_y > 0.085
    cut = 0 if is_tight else max(rng.uniform(-0.2, 0.2), 0)  # of corners, in digit heights
    choices = [2 if is_tight and digit != 7 else len(TEMPLATES[digit]) for digit in range(10)]
    if is_narrow:
        choices[0], choices[4] = 2, min(choices[4], 4)  # 0 without a mark, 4 open on top
    if slit:
        choices = [1] * 10
    design = [templates[rng.integers(n)] for templates, n in zip(TEMPLATES, choices, strict=True)]
    columns = np.linspace(0, width - 2 * half_x, 5)
    rows = np.interp(np.arange(7), [0, 3, 6], [0, waist, 1]) * (1 - 2 * half_y)
    fields, boxes = [], []
    for digit in digits:
        strokes = [
            _cut_corners(np.column_stack([columns[x], rows[y]]), cut)
            for x, y in _parse_template(design[digit])
        ]
        field, box = _measure(strokes, np.array([half_x, half_y]), metric)
        if slit and digit not in UNCUT:
            x = np.linspace(-0.5, 0.5, SDF_SIZE[0]) * (box[0] + 2 * SDF_PADDING)
            field = np.minimum(field, (np.abs(x) - slit / 2).astype(np.float32))
        fields.append(field)
        boxes.append((*box, box[1]))
    counter = min(width - 4 * half_x, (1 - 6 * half_y) / 2, slit or 1)
    return GlyphFields(np.stack(fields), np.array(boxes), min(half_x, half_y), counter / 2)


@cache
def _parse_template(template: str) -> list[np.ndarray]:
    """Columns and rows of the corners of every stroke, int (2, n) each."""
    strokes = [stroke.split() for stroke in template.split(";")]
    return [
        np.array([[int(digit) for digit in corner] for corner in stroke]).T for stroke in strokes
    ]


def _cut_corners(stroke: np.ndarray, cut: float) -> np.ndarray:
    """Replace the corners of a stroke, float (n, 2), by short diagonals."""
    if not cut:
        return stroke
    steps = np.diff(stroke, axis=0)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    reach = steps * np.minimum(cut / lengths, 0.45)
    points = np.stack([stroke[:-1] + reach, stroke[1:] - reach], axis=1).reshape(-1, 2)
    if np.array_equal(stroke[0], stroke[-1]):
        return np.concatenate([points, points[:1]])
    points[[0, -1]] = stroke[[0, -1]]
    return points


def _measure(
    strokes: Sequence[np.ndarray], half: np.ndarray, metric: int
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distances, float32 (40, 32), from strokes of this half width and height; and the box.

    They are measured on a raster where the pen is as wide as high.
    """
    points = np.concatenate(strokes)
    origin = points.min(axis=0) - half - SDF_PADDING
    box = np.ptp(points, axis=0) + 2 * half
    scale = RASTER * half[1] / half
    columns, rows = np.ceil((box + 2 * SDF_PADDING) * scale).astype(int)
    raster = np.ones((rows, columns), np.uint8)
    lines = [np.rint(16 * ((stroke - origin) * scale - 0.5)).astype(np.int32) for stroke in strokes]
    cv2.polylines(raster, lines, isClosed=False, color=0, shift=4)  # in sixteenths of a pixel
    distances = cv2.distanceTransform(raster, metric, 3) / np.float32(RASTER)
    field = cv2.resize(np.float32(half[1]) - distances, SDF_SIZE, interpolation=cv2.INTER_AREA)
    return field, box
