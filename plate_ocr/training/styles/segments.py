"""Digits of seven-segment and dot-matrix displays, with what such displays show beside digits.

A display is a set of shapes in a cell, segments or dots, of which every digit lights some. Lengths
are in heights of a digit, x to the right and y down. All digits of a display have one design; as
tiles, like single photographs side by side, each has its own light, size and rotation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.styles.row import Drawing

SEGMENTS = "abcdefg"  # clockwise from the top, then the middle one
# Column and row of both ends of every segment, and the direction of its outer edge.
STARTS = ((0, 0), (1, 0), (1, 1), (0, 2), (0, 1), (0, 0), (0, 1))
ENDS = ((1, 0), (1, 1), (1, 2), (1, 2), (0, 2), (0, 1), (1, 1))
OUTWARD = ((0, -1), (1, 0), (1, 0), (0, 1), (-1, 0), (-1, 0), (0, 1))
LIT = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
OTHER_LIT = {1: "ef", 6: "cdefg", 7: "abcf", 9: "abcfg"}  # left 1, tailless 6 and 9, hooked 7
# Ends of a segment: how far it reaches beyond the corner, in half strokes, at seven points across
# it from the inner to the outer edge.
ACROSS = np.linspace(-1, 1, 7)
POINTED, FLAT, MITRED = -np.abs(ACROSS), np.full(7, -1.0), ACROSS
ROUND = np.sqrt(1 - ACROSS**2) - 1
DOTS = (  # of every digit, seven rows of five; a row is a number of five bits
    (14, 17, 19, 21, 25, 17, 14), (4, 12, 4, 4, 4, 4, 14), (14, 17, 1, 2, 4, 8, 31),
    (31, 2, 4, 2, 1, 17, 14), (2, 6, 10, 18, 31, 2, 2), (31, 16, 30, 1, 1, 17, 14),
    (6, 8, 16, 30, 17, 17, 14), (31, 1, 2, 4, 8, 8, 8), (14, 17, 17, 14, 17, 17, 14),
    (14, 17, 17, 15, 1, 2, 12),
)  # fmt: skip
SCALE = 4  # shapes are drawn this many times larger, then averaged
SUBPIXEL_BITS = 4  # of coordinates given to OpenCV
HEIGHTS = (12, 56)  # of digits in pixels, as far as they fit
MIN_CONTRAST = 100  # gray levels between lit shapes and what lies around them
MAX_UNLIT = 0.28  # contrast of unlit shapes and shadows, as a part of that of lit ones
P_PLAIN, P_TILES = 0.25, 0.25  # digits on an empty background; digits as tiles
P_DOT_MATRIX, P_LIGHT_DIGITS = 0.1, 0.25
P_MARK, P_FRAME, P_UNLIT, P_SHADOW, P_GLOW = 0.35, 0.5, 0.4, 0.15, 0.2


class Display(NamedTuple):
    """What the digits of a display are made of."""

    shapes: np.ndarray  # convex polygons, float (shapes, points, 2)
    lit: np.ndarray  # which of them every digit lights, bool (10, shapes)
    width: float  # of a digit


def render_segments(text: str, rng: np.random.Generator) -> Drawing:
    """Draw a text on a new display: plain, with its surroundings, or as tiles."""
    display = _dot_matrix(rng) if rng.random() < P_DOT_MATRIX else _seven_segments(rng)
    digits = [int(digit) for digit in text]
    kind = rng.random()
    if kind < P_PLAIN:
        ink = _draw_ink(display, digits, _place_row(display, digits, rng, 0.0)[0])
        return Drawing(ink, ink)
    draw = _draw_tiles if kind < P_PLAIN + P_TILES else _draw_display
    plate, ink = draw(display, digits, rng)
    if rng.random() < P_LIGHT_DIGITS:
        plate = 255 - plate
    return Drawing(plate, ink, has_surroundings=True)


def _seven_segments(rng: np.random.Generator) -> Display:
    """A new design of segments, which touch or stand wide apart."""
    width, middle = rng.uniform(0.4, 0.75), rng.uniform(0.45, 0.54)
    half = np.exp(rng.uniform(*np.log([0.03, 0.1])))
    half_x, half_y = min(half * rng.uniform(0.8, 1.25), 0.15 * width), min(half, 0.085)
    shortest = min(width - 4 * half_x, 0.5 - 3 * half_y)  # flat segment without gaps
    gap = rng.uniform(0, 0.02) if rng.random() < 0.5 else rng.uniform(0.02, 0.07)
    gap = min(gap, 0.2 * shortest)  # on either side of a corner
    kinds, mix = rng.integers(4, size=2), rng.uniform(0, 0.5)
    # In the middle row mitred ends meet their like, and the middle segment is symmetric.
    corner, side, bar = (
        np.array([1 - mix, mix]) @ np.stack([POINTED, FLAT, ROUND, mitred])[kinds]
        for mitred in (MITRED, np.minimum(MITRED, 0), POINTED)
    )
    columns, rows = (half_x, width - half_x), (half_y, middle, 1 - half_y)
    shapes = []
    for start, end, outward in zip(STARTS, ENDS, OUTWARD, strict=True):
        across, along = (half_x, half_y) if outward[0] else (half_y, half_x)
        edges = []
        for (column, row), (other_column, other_row) in ((start, end), (end, start)):
            away = np.sign([column - other_column, row - other_row])
            shape = corner if row != 1 else side if outward[0] else bar
            corner_point = np.array([columns[column], rows[row]])
            reach = np.outer(shape * along - gap, away)
            edges.append(corner_point + np.outer(ACROSS * across, outward) + reach)
        shapes.append(np.concatenate([edges[0], edges[1][::-1]]))
    names = [
        OTHER_LIT[digit] if digit in OTHER_LIT and rng.random() < 0.5 else names
        for digit, names in enumerate(LIT)
    ]
    lit = np.array([[segment in lit for segment in SEGMENTS] for lit in names])
    return Display(np.stack(shapes), lit, width)


def _dot_matrix(rng: np.random.Generator) -> Display:
    """A new design of 5 x 7 square or round dots."""
    width = rng.uniform(0.5, 0.8)
    dot = _regular_polygon(4 if rng.random() < 0.5 else 8) * rng.uniform(0.35, 0.5)
    centers = np.stack(np.meshgrid(np.arange(5), np.arange(7)), axis=-1).reshape(-1, 1, 2) + 0.5
    lit = np.array(DOTS)[..., None] >> np.arange(4, -1, -1) & 1
    return Display((centers + dot) * (width / 5, 1 / 7), lit.reshape(10, -1) > 0, width)


def _regular_polygon(corners: int) -> np.ndarray:
    """A polygon around a circle of radius 1, float (corners, 2)."""
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    return np.column_stack([np.cos(angles), np.sin(angles)]) / np.cos(np.pi / corners)


def _place_row(
    display: Display, digits: Sequence[int], rng: np.random.Generator, extra: float
) -> tuple[np.ndarray, float, int]:
    """Set digits in a row at a fixed pitch, sometimes proportionally.

    Returns:
        For every digit the matrix from its cell to pixels, float (n, 2, 3); the gap between cells;
        and the index of the digit before which the gap is wider by `extra`.
    """
    lefts, widths = np.zeros(len(digits)), np.full(len(digits), display.width)
    if rng.random() < 0.15:
        for index, digit in enumerate(digits):
            x = display.shapes[display.lit[digit], :, 0]
            lefts[index], widths[index] = x.min(), np.ptp(x)
    gap = rng.uniform(0.12, 0.5)
    slant = np.clip(rng.normal(0.07, 0.09), -0.1, 0.25)
    marked = int(rng.integers(1, len(digits)))
    starts = np.append(0, np.cumsum(widths + gap))
    starts[marked:] += extra
    free = np.array([PLATE_WIDTH, PLATE_HEIGHT]) - 2 * MARGIN - 2
    size = np.array([starts[-1] - gap + abs(slant), 1])
    height = min(np.exp(rng.uniform(*np.log(HEIGHTS))), *(free / size))
    origin = MARGIN + 1 + rng.uniform(0, 1, 2) * (free - height * size)
    matrices = np.zeros((len(digits), 2, 3))
    matrices[:, :, :2] = height * np.array([[1, -slant], [0, 1]])
    matrices[:, 0, 2] = height * (starts[:-1] - lefts + max(slant, 0))
    matrices[:, :, 2] += origin
    return matrices, gap, marked


def _draw_ink(display: Display, digits: Sequence[int], matrices: np.ndarray) -> np.ndarray:
    """The lit shapes alone, black on 255."""
    canvas = _blank(255)
    for digit, matrix in zip(digits, matrices, strict=True):
        _fill(canvas, display.shapes[display.lit[digit]], matrix, 0)
    return _reduce(canvas)


def _draw_display(
    display: Display, digits: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One display with its unlit shapes, marks, shadows, frame and glow: the plate and its ink."""
    mark = rng.uniform(0.04, 0.09) if rng.random() < P_MARK else 0.0  # its radius
    matrices, gap, marked = _place_row(display, digits, rng, 3 * mark)
    paper = rng.uniform(MIN_CONTRAST + 30, 255)
    lit = rng.uniform(0, paper - MIN_CONTRAST)
    faint = paper - MAX_UNLIT * rng.uniform(0.1, 1, 2) * (paper - lit)
    canvas = _blank(paper)
    if rng.random() < P_FRAME:
        _draw_frame(canvas, display, matrices, paper, rng)
    if rng.random() < P_SHADOW:
        shadow = display._replace(shapes=display.shapes + rng.uniform(-0.08, 0.08, 2))
        for digit, matrix in zip(digits, matrices, strict=True):
            _fill(canvas, shadow.shapes[display.lit[digit]], matrix, faint[0])
    has_unlit = rng.random() < P_UNLIT
    for digit, matrix in zip(digits, matrices, strict=True):
        if has_unlit:
            _fill(canvas, display.shapes[~display.lit[digit]], matrix, faint[1])
        _fill(canvas, display.shapes[display.lit[digit]], matrix, lit)
    if mark:
        rows = ((1 - mark,), (0.3, 0.7), (mark,))[rng.choice(3, p=(0.6, 0.3, 0.1))]
        centers = [[[-(gap + 3 * mark) / 2, row]] for row in rows]
        dot = mark * _regular_polygon(4 if rng.random() < 0.4 else 8)
        _fill(canvas, centers + dot, matrices[marked], lit)
    plate, ink = _reduce(canvas), _draw_ink(display, digits, matrices)
    if rng.random() < P_GLOW:
        height = matrices[0, 1, 1]
        halo = cv2.GaussianBlur(255 - ink, (0, 0), height * rng.uniform(0.05, 0.15))
        strength = rng.uniform(0.15, 0.45) * (paper - lit) / 255
        plate = cv2.addWeighted(plate, 1, halo, -strength, 0)
    return plate, ink


def _draw_frame(
    canvas: np.ndarray,
    display: Display,
    matrices: np.ndarray,
    paper: float,
    rng: np.random.Generator,
) -> None:
    """Fill what lies outside a rectangle around the cells, some with a border."""
    height = matrices[0, 1, 1]
    corners = np.array([[0, 0, 1], [0, 1, 1], [display.width, 0, 1], [display.width, 1, 1]])
    cells = corners @ matrices.transpose(0, 2, 1)
    start = cells.min(axis=(0, 1)) - height * rng.uniform(0.2, 0.8, 2)
    end = cells.max(axis=(0, 1)) + height * rng.uniform(0.2, 0.8, 2)
    border = rng.uniform(0, 0.12) * height * (rng.random() < 0.5)
    canvas[:] = rng.integers(256)
    for thickness, gray in ((border, rng.uniform(0, 255)), (0, paper)):
        _fill_rectangle(canvas, start - thickness, end + thickness, gray)


def _draw_tiles(
    display: Display, digits: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every digit on a tile of its own light, size, slant and rotation: the plate and its ink."""
    tile = np.array([display.width * rng.uniform(1.3, 1.8), rng.uniform(1.1, 1.5)])
    size = tile * (len(digits), 1)
    height = rng.uniform(0.6, 1) * min(PLATE_WIDTH / size[0], PLATE_HEIGHT / size[1])
    corner = rng.uniform(0, 1, 2) * ((PLATE_WIDTH, PLATE_HEIGHT) - height * size)
    darkest = rng.uniform(MIN_CONTRAST, 220)  # paper
    p_light = 0.5 if rng.random() < 0.15 else 0.0
    has_unlit = rng.random() < P_UNLIT
    canvas, matrices = _blank(rng.uniform(0, 255)), []
    for digit in digits:
        paper = rng.uniform(darkest, 255)
        lit = rng.uniform(0, paper - MIN_CONTRAST)
        if rng.random() < p_light:
            paper, lit = lit, paper
        _fill_rectangle(canvas, corner, corner + height * tile, paper)
        slant, rotation = np.clip(rng.normal((0.05, 0), (0.07, 0.04)), -0.12, 0.18)
        linear = np.array([[1, -slant - rotation], [rotation, 1]])
        corners = np.array([[0, 0], [0, 1], [display.width, 0], [display.width, 1]]) @ linear.T
        extent = np.ptp(corners, axis=0)
        room = height * tile - 2 * MARGIN
        scale = min(rng.uniform(0.85, 1) * height, *(room / extent))
        position = corner + MARGIN + rng.uniform(0, 1, 2) * (room - scale * extent)
        matrix = np.column_stack([scale * linear, position - scale * corners.min(axis=0)])
        if has_unlit:
            faint = paper - MAX_UNLIT * rng.uniform(0, 1) * (paper - lit)
            _fill(canvas, display.shapes[~display.lit[digit]], matrix, faint)
        _fill(canvas, display.shapes[display.lit[digit]], matrix, lit)
        matrices.append(matrix)
        corner[0] += height * tile[0]
    return _reduce(canvas), _draw_ink(display, digits, np.array(matrices))


def _blank(gray: float) -> np.ndarray:
    """A canvas of one gray level, uint8 (256, 512)."""
    return np.full((SCALE * PLATE_HEIGHT, SCALE * PLATE_WIDTH), int(gray), np.uint8)


def _fill_rectangle(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, gray: float) -> None:
    """Fill from one corner to the other, in pixels of the plate."""
    corners = (SCALE * np.stack([start, end])).astype(int).tolist()
    cv2.rectangle(canvas, *corners, int(gray), -1)


def _fill(canvas: np.ndarray, polygons: np.ndarray, matrix: np.ndarray, gray: float) -> None:
    """Fill convex polygons, float (n, points, 2), which the matrix maps to pixels of the plate."""
    points = (polygons @ matrix[:, :2].T + matrix[:, 2]) * (SCALE << SUBPIXEL_BITS)
    for polygon in np.rint(points).astype(np.int32):
        cv2.fillConvexPoly(canvas, polygon, int(gray), shift=SUBPIXEL_BITS)


def _reduce(canvas: np.ndarray) -> np.ndarray:
    """The plate of a canvas, uint8 (64, 128)."""
    return cv2.resize(canvas, (PLATE_WIDTH, PLATE_HEIGHT), interpolation=cv2.INTER_AREA)
