"""Digits of seven-segment displays, with what such displays show beside digits.

All digits of a display have one design. As tiles, like single photographs side by side, each has
its own light, size and rotation. Lengths are in heights of a digit, x to the right and y down.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_SIZE, PLATE_WIDTH
from plate_ocr.training.styles.row import Drawing

# Segments a to g, clockwise from the top, then the middle one: column and row of both ends, and
# the direction of the outer edge.
ENDS = np.array([
    [(0, 0), (1, 0)], [(1, 0), (1, 1)], [(1, 1), (1, 2)], [(0, 2), (1, 2)], [(0, 1), (0, 2)],
    [(0, 0), (0, 1)], [(0, 1), (1, 1)],
])  # fmt: skip
OUTWARD = np.array([(0, -1), (1, 0), (1, 0), (0, 1), (-1, 0), (-1, 0), (0, 1)])
AWAY = np.sign(ENDS - ENDS[:, ::-1])  # direction of either end
IS_VERTICAL = OUTWARD[:, 0] != 0
LIT = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
OTHER_LIT = {1: "ef", 6: "cdefg", 7: "abcf", 9: "abcfg"}  # left 1, tailless 6 and 9, hooked 7
# Shapes of an end: how far it reaches beyond the corner, in half strokes, at seven points across it
# from the inner to the outer edge. A mitred end has another shape in the middle row.
ACROSS = np.linspace(-1, 1, 7)
POINTED, FLAT, ROUND = -np.abs(ACROSS), np.full(7, -1.0), np.sqrt(1 - ACROSS**2) - 1
MITRED = np.array([ACROSS, np.minimum(ACROSS, 0), POINTED])
END_SHAPES = np.stack([*(np.tile(shape, (3, 1)) for shape in (POINTED, FLAT, ROUND)), MITRED])
# Place of every end: in a corner, or in the middle row of a vertical or of the middle segment.
PLACES = np.where(ENDS[..., 1] != 1, 0, np.where(IS_VERTICAL, 1, 2)[:, None])
# A round decimal point.
ANGLES = 2 * np.pi * np.arange(8) / 8
DOT = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
SCALE = 4  # segments are drawn this many times larger, then averaged
SUBPIXEL_BITS = 4  # of coordinates given to OpenCV
HEIGHTS = (12, 56)  # of digits in pixels, as far as they fit
GAPS = (0.12, 0.5)  # between cells
MIN_CONTRAST = 100  # gray levels between lit segments and what lies around them
MIN_TILE_CONTRAST = 45  # the same on a tile, whose light is its own
MAX_UNLIT = 0.22  # contrast of unlit segments and shadows, as a part of that of lit ones
P_PLAIN, P_TILES = 0.2, 0.4  # digits on an empty background; digits as tiles
P_LIGHT_DIGITS, P_MIXED = 0.25, 0.15  # of all with surroundings; of tiles of both polarities
P_MARK, P_FRAME, P_UNLIT, P_SHADOW, P_GLOW = 0.35, 0.5, 0.4, 0.15, 0.2


class Display(NamedTuple):
    """Digits in one design of seven segments."""

    segments: np.ndarray  # convex polygons, float (7, 14, 2)
    lit: np.ndarray  # which of them every digit lights, bool (n, 7)
    width: float  # of a digit's cell


def render_segments(text: str, rng: np.random.Generator) -> Drawing:
    """Draw a text on a new display: plain, with its surroundings, or as tiles."""
    display = design_display([int(digit) for digit in text], rng)
    kind = rng.random()
    if kind < P_PLAIN:
        gaps = np.full(len(text), rng.uniform(*GAPS))
        ink = _draw_ink(display, _place_row(display, gaps, rng, proportional=rng.random() < 0.5))
        return Drawing(ink, ink)
    plate, ink = (_draw_tiles if kind < P_PLAIN + P_TILES else _draw_panel)(display, rng)
    if rng.random() < P_LIGHT_DIGITS:
        plate = 255 - plate
    return Drawing(plate, ink, has_surroundings=True)


def design_display(digits: Sequence[int], rng: np.random.Generator) -> Display:
    """Digits in a new design, in which segments touch or stand wide apart."""
    width, middle = rng.uniform(0.4, 0.75), rng.uniform(0.45, 0.54)
    half = np.exp(rng.uniform(*np.log([0.03, 0.1])))  # of the thickness
    half_x, half_y = min(half * rng.uniform(0.8, 1.25), 0.13 * width, 0.08), min(half, 0.075)
    # From a corner to a segment; short segments stay longer than thick, even with flat ends.
    gap = rng.uniform(0, 0.02) if rng.random() < 0.5 else rng.uniform(0.02, 0.07)
    gap = min(gap, (0.5 - 3 * half_y - 3.2 * half_x) / 2, (width - 4 * half_x - 2.6 * half_y) / 2)
    first, second = END_SHAPES[rng.integers(len(END_SHAPES), size=2)]
    shape = first + rng.uniform(0, 0.5) * (second - first)
    columns, rows = np.array([half_x, width - half_x]), np.array([half_y, middle, 1 - half_y])
    corners = np.stack([columns[ENDS[..., 0]], rows[ENDS[..., 1]]], axis=-1)
    segments = _outline_segments(corners, (half_x, half_y), gap, shape)
    names = [
        OTHER_LIT[digit] if digit in OTHER_LIT and rng.random() < 0.5 else names
        for digit, names in enumerate(LIT)
    ]
    lit = np.array([[segment in names[digit] for segment in "abcdefg"] for digit in digits])
    return Display(segments, lit, width)


def _outline_segments(
    corners: np.ndarray, half: tuple[float, float], gap: float, shape: np.ndarray
) -> np.ndarray:
    """Convex polygons of the seven segments, float (7, 14, 2).

    Args:
        corners: that they join, float (7, 2, 2).
        half: of their thickness, in x and y.
        gap: from a corner to a segment.
        shape: of their ends by place, float (3, 7), as in `END_SHAPES`.
    """
    across = np.where(IS_VERTICAL, half[0], half[1])[:, None, None]
    along = np.where(IS_VERTICAL, half[1], half[0])[:, None, None]
    edges = (  # segments, ends, points across, coordinates
        corners[:, :, None]
        + (across * ACROSS)[..., None] * OUTWARD[:, None, None]
        + (shape[PLACES] * along - gap)[..., None] * AWAY[:, :, None]
    )
    return np.concatenate([edges[:, 0], edges[:, 1, ::-1]], axis=1)


def _place_row(
    display: Display, gaps: np.ndarray, rng: np.random.Generator, proportional: bool = False
) -> np.ndarray:
    """For every digit the matrix from its cell to pixels of the plate, float (n, 2, 3).

    `gaps` are those behind every digit, float (n,); `proportional` cells are as wide as digits.
    """
    lefts, widths = np.zeros(len(display.lit)), np.full(len(display.lit), display.width)
    if proportional:
        columns = [display.segments[lit, :, 0] for lit in display.lit]
        lefts, widths = np.array([(x.min(), np.ptp(x)) for x in columns]).T
    starts = np.cumsum(widths + gaps) - widths - gaps
    slant = np.clip(rng.normal(0.07, 0.09), -0.1, 0.25)
    size = np.array([starts[-1] + widths[-1] + abs(slant), 1])
    free = np.subtract(PLATE_SIZE, 2 * (MARGIN + 1))
    height = min(np.exp(rng.uniform(*np.log(HEIGHTS))), *(free / size))
    matrices = np.zeros((len(starts), 2, 3))
    matrices[:, :, :2] = height * np.array([[1, -slant], [0, 1]])
    matrices[:, 0, 2] = height * (starts - lefts + max(slant, 0))
    matrices[:, :, 2] += MARGIN + 1 + rng.uniform(0, 1, 2) * (free - height * size)
    return matrices


def _draw_panel(display: Display, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Digits with unlit segments, a mark, shadows, a frame and a glow: the plate and its ink."""
    gaps = np.full(len(display.lit), rng.uniform(*GAPS))
    mark = rng.uniform(0.04, 0.09) if rng.random() < P_MARK else 0.0  # its radius
    marked = int(rng.integers(len(gaps)))  # digit before it
    gaps[marked] += 3 * mark
    matrices = _place_row(display, gaps, rng)
    paper, lit = _sample_levels(1, MIN_CONTRAST, rng)
    faint, faintest = paper - MAX_UNLIT * rng.uniform(0.1, 1, (2, 1)) * (paper - lit)
    canvas = _blank(paper[0])
    if rng.random() < P_FRAME:
        _draw_frame(canvas, display, matrices, paper[0], rng)
    if rng.random() < P_SHADOW:
        shadow = display._replace(segments=display.segments + rng.uniform(-0.08, 0.08, 2))
        _draw_digits(canvas, shadow, matrices, faint)
    if rng.random() < P_UNLIT:
        _draw_digits(canvas, display._replace(lit=~display.lit), matrices, faintest)
    _draw_digits(canvas, display, matrices, lit)
    if mark:  # a point, a colon or an apostrophe
        rows = ((1 - mark,), (0.3, 0.7), (mark,))[rng.choice(3, p=(0.6, 0.3, 0.1))]
        centers = np.array([[(display.width + gaps[marked] / 2, row)] for row in rows])
        _fill(canvas, centers + mark * DOT, matrices[marked], lit[0])
    plate, ink = _reduce(canvas), _draw_ink(display, matrices)
    if rng.random() < P_GLOW:
        halo = cv2.GaussianBlur(255 - ink, (0, 0), matrices[0, 1, 1] * rng.uniform(0.05, 0.15))
        strength = rng.uniform(0.15, 0.45) * (paper - lit)[0] / 255
        plate = cv2.addWeighted(plate, 1, halo, -strength, 0)
    return plate, ink


def _draw_frame(
    canvas: np.ndarray,
    display: Display,
    matrices: np.ndarray,
    paper: float,
    rng: np.random.Generator,
) -> None:
    """Fill what lies outside a rectangle around the cells; half of the frames have a border."""
    height = matrices[0, 1, 1]
    cells = _cell_corners(display) @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    start = cells.min(axis=(0, 1)) - height * rng.uniform(0.2, 0.8, 2)
    end = cells.max(axis=(0, 1)) + height * rng.uniform(0.2, 0.8, 2)
    border = height * max(rng.uniform(-0.12, 0.12), 0)
    canvas[:] = rng.integers(256)
    _fill_rectangle(canvas, start - border, end + border, rng.uniform(0, 255))
    _fill_rectangle(canvas, start, end, paper)


def _draw_tiles(display: Display, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every digit on a tile of its own light, size, slant and rotation: the plate and its ink."""
    count = len(display.lit)
    tile = np.array([display.width * rng.uniform(1.25, 1.8), rng.uniform(1.1, 1.5)])
    tile *= rng.uniform(0.6, 1) * (PLATE_SIZE / (tile * (count, 1))).min()  # now in pixels
    starts = np.outer(np.arange(count), tile * (1, 0))
    starts += rng.uniform(0, 1, 2) * (PLATE_SIZE - tile * (count, 1))
    slants, rotations = np.clip(rng.normal(0, 0.06, (2, count)), -0.12, 0.12)
    slants += rng.uniform(0, 0.12)
    ones = np.ones(count)
    linear = np.array([[ones, -slants - rotations], [rotations, ones]]).transpose(2, 0, 1)
    corners = _cell_corners(display) @ linear.transpose(0, 2, 1)
    extents, room = np.ptp(corners, axis=1), tile - 2 * MARGIN
    scales = (room / extents).min(axis=1, keepdims=True) * rng.uniform(0.8, 1, (count, 1))
    positions = starts + MARGIN + rng.uniform(0, 1, (count, 2)) * (room - scales * extents)
    origins = positions - scales * corners.min(axis=1)
    matrices = np.concatenate([scales[..., None] * linear, origins[..., None]], axis=2)

    paper, lit = _sample_levels(count, MIN_TILE_CONTRAST, rng)
    if rng.random() < P_MIXED:
        paper, lit = np.where(rng.random(count) < 0.5, (paper, lit), (lit, paper))
    canvas = _blank(rng.uniform(0, 255))
    for start, gray in zip(starts, paper, strict=True):
        _fill_rectangle(canvas, start, start + tile, gray)
    if rng.random() < P_UNLIT:
        faint = paper - MAX_UNLIT * rng.uniform(0, 1, count) * (paper - lit)
        _draw_digits(canvas, display._replace(lit=~display.lit), matrices, faint)
    _draw_digits(canvas, display, matrices, lit)
    return _reduce(canvas), _draw_ink(display, matrices)


def _sample_levels(
    count: int, min_contrast: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Gray levels around lit segments and of these, float (count,) each; often far apart."""
    dark, faint = rng.uniform(0, 1, (2, count)) ** 1.5
    paper = 255 - dark * (255 - min_contrast)
    return paper, faint * (paper - min_contrast)


def _cell_corners(display: Display) -> np.ndarray:
    """Corners of a cell, float (4, 2)."""
    return np.array([[0, 0], [display.width, 0], [0, 1], [display.width, 1]])


def _draw_ink(display: Display, matrices: np.ndarray) -> np.ndarray:
    """The lit segments alone, black on 255."""
    canvas = _blank(255)
    _draw_digits(canvas, display, matrices, np.zeros(1))
    return _reduce(canvas)


def _draw_digits(
    canvas: np.ndarray, display: Display, matrices: np.ndarray, grays: np.ndarray
) -> None:
    """Draw the lit segments; `grays` holds one level for all digits, or one for each."""
    grays = np.broadcast_to(grays, len(matrices))
    for lit, matrix, gray in zip(display.lit, matrices, grays, strict=True):
        _fill(canvas, display.segments[lit], matrix, gray)


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
    return cv2.resize(canvas, PLATE_SIZE, interpolation=cv2.INTER_AREA)
