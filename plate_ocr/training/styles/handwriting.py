"""Digits in synthetic handwriting: shapes that no font file has.

A stroke template is a pen trajectory through control points. Each writer picks one template per
digit, moves its points once, and repeats it with a small jitter. Round and broad nibs draw it.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.training.styles.row import (
    SDF_PADDING,
    SDF_SIZE,
    Drawing,
    GlyphFields,
    render_row,
)

# Control points "x,y" in hundredths of the height, x to the right and y down. The pen runs
# smoothly through them, turns sharply at "/" and is lifted at ";".
STROKE_TEMPLATES = (
    (  # 0
        "30,0 8,14 0,50 8,86 30,100 52,86 60,50 52,14 30,0",
        "38,1 12,12 0,45 6,85 28,100 52,88 60,48 48,10 26,4 12,12",
        "12,6 40,1 58,25 58,70 34,100 6,82 2,40 18,10 34,2",
        "44,10 24,2 4,28 2,70 22,99 48,90 60,55 52,16 36,0",
        "0,0 / 0,100 / 58,100 / 58,0 / 0,0",
    ),
    (  # 1
        "20,0 / 20,100",
        "0,24 / 24,0 / 24,100",
        "0,18 16,12 26,0 / 26,100",
        "4,20 / 26,0 / 26,100 ; 2,100 / 52,100",
        "4,10 / 26,4 / 26,98 ; 6,99 / 46,97",
    ),
    (  # 2
        "2,24 10,6 32,0 54,10 56,32 38,62 0,100 / 60,100",
        "4,16 24,0 50,6 54,30 34,64 10,94 / 6,98 30,92 62,98",
        "4,20 22,2 48,4 54,28 36,66 14,94 2,96 2,84 16,82 36,94 62,96",
        "0,8 26,0 52,10 54,34 30,56 4,74 / 2,100 / 58,100",
        "0,0 / 58,0 / 58,46 / 0,54 / 0,100 / 58,100",
    ),
    (  # 3
        "4,12 28,0 53,10 50,36 22,46 / 54,58 58,84 30,100 0,88",
        "4,0 / 56,0 / 26,40 / 54,52 58,82 32,100 0,90",
        "6,8 34,0 52,14 44,36 20,47 48,56 58,76 42,96 16,100 0,88",
        "2,10 30,0 52,20 16,44 / 56,60 46,94 20,100 0,96",
        "0,0 / 58,0 / 58,100 / 0,100 ; 10,48 / 58,48",
    ),
    (  # 4
        "42,100 / 42,0 / 0,68 / 62,68",
        "14,0 / 2,58 / 62,56 ; 46,28 / 42,100",
        "12,2 8,30 2,56 20,60 60,54 ; 50,4 / 44,100",
        "0,0 / 0,52 / 56,52 ; 52,0 / 52,100",
        "44,100 46,50 48,2 24,32 0,66 30,66 64,64",
        "28,0 / 0,70 / 62,70 ; 46,42 / 46,100",
    ),
    (  # 5
        "54,0 / 10,0 / 6,42 28,35 56,48 56,82 30,100 0,92",
        "10,2 / 6,42 30,36 56,52 54,84 28,100 0,90 ; 10,2 / 60,0",
        "56,2 20,4 12,12 10,40 36,40 56,58 50,88 22,100 0,94",
        "52,0 / 6,2 / 4,46 / 30,42 56,58 52,88 24,100 0,98",
        "14,6 / 10,40 34,42 54,62 46,90 20,100 0,96 ; 16,0 / 58,3",
        "58,0 / 0,0 / 0,46 / 58,50 / 58,100 / 0,100",
    ),
    (  # 6
        "50,4 22,18 2,58 8,90 30,100 54,90 57,66 34,50 6,62",
        "40,0 16,36 2,70 16,98 44,98 56,74 42,54 18,58 4,74",
        "54,10 34,0 10,16 0,56 8,90 32,100 56,84 54,58 32,46 8,58",
        "30,0 6,50 6,84 28,100 52,88 50,66 28,60 8,80",
        "56,0 / 0,0 / 0,100 / 58,100 / 58,48 / 0,48",
    ),
    (  # 7
        "0,0 / 58,0 / 20,100",
        "0,4 / 56,0 / 34,42 22,100",
        "0,2 / 58,2 / 22,100 ; 12,50 / 52,48",
        "2,16 / 2,0 / 58,0 / 24,100",
        "0,10 14,2 34,6 58,0 / 40,36 26,70 22,100",
        "0,0 / 54,0 / 50,100",
    ),
    (  # 8
        "50,10 28,0 8,14 16,38 42,56 56,78 32,100 4,84 12,58 40,40 52,20 46,4",
        "30,48 10,36 8,12 30,0 52,12 50,36 30,48 ; 30,48 4,62 4,88 30,100 56,88 56,62 30,48",
        "54,8 30,0 10,16 28,44 54,68 48,94 22,100 4,82 22,54 48,30 56,12",
        "32,46 12,30 24,2 46,6 48,30 30,46 8,66 8,92 34,100 54,86 48,60 28,46",
        "0,0 / 58,0 / 58,100 / 0,100 / 0,0 ; 0,48 / 58,48",
    ),
    (  # 9
        "52,10 28,0 4,16 6,42 30,52 50,36 / 54,6 / 52,100",
        "54,16 32,0 4,14 4,42 28,52 54,36 / 54,8 56,56 42,92 10,100",
        "50,14 28,0 4,18 10,46 36,46 52,10 / 32,100",
        "44,8 20,6 2,30 16,50 42,36 50,8 / 46,50 48,100",
        "34,52 8,42 6,12 32,0 54,14 56,46 44,80 20,100",
        "38,4 12,6 3,30 20,48 52,34 ; 53,2 / 47,100",
        "58,48 / 0,48 / 0,0 / 58,0 / 58,100 / 2,100",
    ),
)
POINTS_PER_SEGMENT = 6  # of the trajectory, between two control points
RASTER_HEIGHT = 48  # pixels per digit height at which distances are measured
HALF_STROKE = (0.035, 0.09)  # in digit heights
COUNTER_RADIUS = 0.1  # assumed for all templates, in digit heights
WRITER_STD, SAMPLE_STD = 0.035, 0.012  # of a point, per writer and per digit; in digit heights
P_BROAD_NIB = 0.3


class StrokeTemplate(NamedTuple):
    """A pen trajectory as a linear function of its control points."""

    points: np.ndarray  # float (k, 2), in digit heights
    basis: np.ndarray  # float (m, k); trajectory = basis @ points
    pen_up: tuple[int, ...]  # indices of trajectory points before which the pen is lifted


def render_handwriting(text: str, rng: np.random.Generator) -> Drawing:
    """Draw a text in the hand of a new writer, as `render_row` does."""
    return render_row(write_digits, text, rng)


def write_digits(digits: Sequence[int], rng: np.random.Generator) -> GlyphFields:
    """Signed distance fields of digits, all by one writer."""
    half_stroke = float(np.exp(rng.uniform(*np.log(HALF_STROKE))))
    # The nib is an ellipse, which this matrix maps to a circle.
    flatness = rng.uniform(0.4, 1) if rng.random() < P_BROAD_NIB else 1.0
    angle = rng.uniform(0, np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    nib = rotation.T @ np.diag([1, 1 / flatness]) @ rotation
    width = np.exp(rng.normal(0, 0.15))
    slant = np.clip(rng.normal(0, 0.1), -0.25, 0.25)
    writer: dict[int, tuple[StrokeTemplate, np.ndarray]] = {}  # its template and points per digit
    fields, boxes = [], []
    for digit in digits:
        if digit not in writer:
            templates = STROKE_TEMPLATES[digit]
            template = parse_template(templates[rng.integers(len(templates))])
            points = template.points + rng.normal(0, WRITER_STD, template.points.shape)
            writer[digit] = template, points
        template, points = writer[digit]
        points = points + rng.normal(0, SAMPLE_STD, points.shape)
        shear = np.array([[width, 0], [-slant - rng.normal(0, 0.03), 1]])
        trajectory = template.basis @ points @ shear
        origin = trajectory.min(axis=0) - half_stroke
        extent = trajectory.max(axis=0) + half_stroke - origin
        distances = _distances(
            trajectory - origin + SDF_PADDING, template.pen_up, nib, extent + 2 * SDF_PADDING
        )
        fields.append(half_stroke - distances)
        boxes.append((*extent, 1 + half_stroke - origin[1]))
    return GlyphFields(np.stack(fields), np.array(boxes), half_stroke, COUNTER_RADIUS)


@cache
def parse_template(notation: str) -> StrokeTemplate:
    """Parse the notation of `STROKE_TEMPLATES`."""
    points: list[list[float]] = []
    pieces, pen_up, length = [], [], 0
    for stroke in notation.split(";"):
        pen_up.append(length)
        for index, piece in enumerate(stroke.split("/")):
            start = len(points) - bool(index)  # a piece starts in the corner that ends the last one
            points += [[int(value) / 100 for value in pair.split(",")] for pair in piece.split()]
            pieces.append((start, catmull_rom_basis(len(points) - start)))
            length += len(pieces[-1][1])
    padded = [
        np.pad(basis, ((0, 0), (start, len(points) - start - basis.shape[1])))
        for start, basis in pieces
    ]
    return StrokeTemplate(np.array(points), np.concatenate(padded), tuple(pen_up[1:]))


def catmull_rom_basis(count: int) -> np.ndarray:
    """The weights of `count` control points in every point of the smooth line through them.

    A uniform Catmull-Rom spline (Catmull and Rom, "A class of local interpolating splines", 1974),
    continued straight at both ends; float (m, count).
    """
    points = np.eye(count)
    first, last = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    padded = np.concatenate([first, points, last])[:, None]
    p0, p1, p2, p3 = (padded[start : start + count - 1] for start in range(4))
    t = np.linspace(0, 1, POINTS_PER_SEGMENT + 1)[:, None]
    spline = p1 + t / 2 * (
        p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t**2 * (3 * (p1 - p2) + p3 - p0)
    )
    return spline.reshape(-1, count)


def _distances(
    trajectory: np.ndarray, pen_up: Sequence[int], nib: np.ndarray, extent: np.ndarray
) -> np.ndarray:
    """Distances from the trajectory in a box of this extent, float32 (40, 32), in digit heights.

    They are measured on a raster where the nib is round, then resampled.
    """
    to_raster = RASTER_HEIGHT * nib
    corners = [[0, 0], [0, 1], [1, 0], [1, 1]] * extent @ to_raster.T
    origin = corners.min(axis=0)
    width, height = np.ceil(corners.max(axis=0) - origin).astype(int) + 1
    raster = np.ones((height, width), np.uint8)
    points = np.round(16 * (trajectory @ to_raster.T - origin)).astype(np.int32)
    strokes = np.split(points, pen_up)
    cv2.polylines(raster, strokes, isClosed=False, color=0, shift=4)  # in sixteenths of a pixel
    distances = cv2.distanceTransform(raster, cv2.DIST_L2, 3) / np.float32(RASTER_HEIGHT)
    matrix = to_raster * (extent / SDF_SIZE)
    from_field = np.column_stack([matrix, matrix.sum(axis=1) / 2 - origin])
    return cv2.warpAffine(
        distances,
        from_field,
        SDF_SIZE,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
