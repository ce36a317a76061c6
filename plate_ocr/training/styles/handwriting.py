"""Handwritten amounts: digits of MNIST, European forms that it lacks, and marks around them.

All are points on the middle lines of pen strokes. MNIST's digits are American; stroke templates,
smooth pen trajectories through control points, add the forms of other countries.
"""

from functools import cache
from itertools import pairwise

import cv2
import numpy as np

from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_SIZE, PLATE_WIDTH
from plate_ocr.training.styles.row import Drawing, to_uint8
from plate_ocr.training.styles.surroundings import add_surroundings
from plate_ocr.utils import resource_path

# Control points "x,y" in hundredths of the height, x to the right and y down to the base line at
# 100. The pen turns sharply at "/" and is lifted at ";".
STROKE_TEMPLATES = {
    "0": (
        "30,0 8,14 0,50 8,86 30,100 52,86 60,50 52,14 30,0 ; 62,4 / -2,96",
        "46,8 20,2 2,34 6,82 26,100 50,80 56,34 40,4 16,8",
        "26,2 4,38 10,86 34,100 58,72 58,24 42,2",
        "40,6 14,10 0,52 16,96 42,92 58,52 44,10 26,4 30,20 58,22 86,10",
        "52,10 20,8 0,50 24,98 62,90 74,44 50,6 30,12",
    ),
    "1": (
        "0,58 / 36,0 / 32,100",
        "0,40 16,24 30,0 / 28,100",
        "0,30 / 24,0 / 24,98 ; 4,100 / 46,97",
        "0,100 / 44,0 / 46,102",
        "0,76 14,26 28,2 38,12 36,102",
    ),
    "2": (
        "4,20 22,2 48,4 54,28 36,66 14,94 2,96 2,84 16,82 36,94 62,96",
        "20,34 4,26 10,6 34,0 54,12 52,36 34,66 0,98 / 30,94 66,98",
        "2,24 18,0 46,6 46,40 26,84 4,100 -4,84 14,76 38,100 70,90",
        "18,16 24,36 4,34 6,8 34,0 54,20 40,58 4,98 / 34,92 70,96",
        "2,8 28,4 52,6 / 0,98 / 30,94 62,98",
    ),
    "3": (
        "4,4 / 52,4 / 22,42 48,50 58,76 40,100 12,100 -2,88",
        "4,14 24,0 46,10 40,36 18,46 22,54 34,44 54,62 52,92 24,104 0,92",
    ),
    "4": (
        "14,0 / 2,58 / 62,56 ; 46,28 / 42,118",
        "12,2 8,30 2,56 20,60 60,54 ; 50,4 / 44,106",
        "0,2 4,38 24,52 50,36 ; 54,0 52,40 46,108",
        "16,0 6,34 0,68 / 28,52 50,46 / 42,106",
    ),
    "5": (
        "12,8 / 8,42 32,40 54,60 46,88 20,100 0,94 ; 20,2 / 66,-4",
        "10,12 / 6,44 30,38 54,54 52,86 24,100 0,96 ; 12,0 40,4 72,-2",
        "64,-2 34,0 14,6 10,30 40,48 54,68 44,92 18,100 0,92",
        "12,6 / 8,42 22,54 26,82 12,102 -6,92 ; 14,4 / 66,-4",
        "8,18 / 2,48 28,46 42,70 28,100 -2,94 ; 24,2 / 66,-8",
    ),
    "6": (
        "36,-16 14,34 4,76 18,100 40,90 42,64 24,54 4,76",
        "10,-8 4,40 4,84 20,100 44,86 40,58 18,54 2,74",
        "50,4 26,0 4,40 6,88 30,102 54,84 46,58 20,62",
    ),
    "7": (
        "0,2 / 58,2 / 22,100 ; 12,50 / 56,48",
        "2,16 / 4,2 30,5 58,0 / 24,100 ; 14,54 / 58,46",
        "0,10 14,2 34,6 58,0 / 40,36 26,70 22,104 ; 14,48 / 58,52",
        "12,20 / 34,4 / 26,104 ; 0,52 / 60,46",
        "2,18 16,2 40,8 / 32,56 20,106 ; 2,56 / 58,48",
    ),
    "8": (
        "30,48 10,36 8,12 30,0 52,12 50,36 30,48 ; 30,48 4,62 4,88 30,100 56,88 56,62 30,48",
        "28,46 12,34 10,12 26,2 44,12 42,34 28,46 ; 34,44 8,60 8,90 34,100 60,86 56,58 34,44",
        "50,10 24,0 6,20 26,46 50,70 40,98 14,98 4,80 / 58,2",
        "36,4 12,2 8,24 30,48 52,76 28,102 4,82 22,54 62,0",
    ),
    "9": (
        "50,12 28,0 4,18 8,44 34,44 52,14 / 52,74 40,100 12,112 0,98",
        "54,16 32,0 4,14 4,42 28,52 54,36 / 54,8 56,56 42,96 8,108",
        "46,8 22,0 4,22 16,46 40,34 48,10 / 52,60 34,104 4,106 12,88 56,70",
        "12,6 / 2,114 ; 6,14 30,-2 52,14 42,42 10,48",
        "6,54 36,36 48,10 28,-2 10,24 8,80 22,102 40,94",
    ),
    ".": ("0,97 3,100", "0,72 3,75", "0,96 10,94"),
    ",": ("6,92 8,100 0,118",),
    "-": ("0,56 44,53", "0,54 20,48 40,60 64,50", "0,55 60,51 150,56", "0,80 40,72"),
    "=": ("0,46 40,43 ; 2,64 42,60", "0,8 38,4 ; 4,26 42,22", "0,48 40,44 / 4,66 44,62"),
    "#": (
        "14,16 / 2,94 ; 36,12 / 24,92 ; 0,42 / 46,38 ; -4,68 / 42,64",
        "0,56 / 90,50 ; 34,32 / 24,76 ; 54,30 / 44,74",
    ),
    "x": ("0,30 / 50,84 ; 46,28 / 2,86",),
}
SUFFIXES = (".", ",", "-", "=", "#", ".-", ",-", "xx", "--", ".=")
LOOSE_MARKS = frozenset("-=#x")  # no digit touches one before it, which could change the digit
P_PAPER = 0.5  # of an amount to be written on patterned paper or in a form
TEMPLATE_PROB = 0.5  # of a digit that has templates
P_AMOUNT = 0.5  # of a text to get separators, rules and what else is written around an amount
POINTS_PER_SEGMENT = 24  # of a trajectory, between two control points
BEND_STD = 0.05  # of waves that move points, in digit heights
MNIST_HEIGHT = 60  # of the digits, in units of their points
CANDIDATES = 4  # digits of MNIST of which the one that suits the row's slant best is taken
HALF_STROKES = (0.024, 0.08)  # in digit heights, from ballpoint to felt pen
MIN_HALF_STROKE = 0.5  # pixels
DIGIT_HEIGHTS = (13, 38)  # pixels
MAX_OVERLAP = 0.25  # of the boxes of neighboring symbols, in digit heights
GAP_CHANGES = ((-0.1, -0.5, -0.6), (0.3, 0.5, 0.15))  # before marks, after ".,"; less in "00"
ROWS_PER_HEIGHT = 5  # in which the distances between symbols are measured
OVERSAMPLING = 2  # of a plate while it is drawn
FAR = 12  # from a line, in pixels of an oversampled plate: no ink


def render_handwriting(
    text: str, rng: np.random.Generator, template_prob: float = TEMPLATE_PROB
) -> Drawing:
    """Draw a text by hand, half of the time as an amount with marks around its digits."""
    is_amount = rng.random() < P_AMOUNT
    symbols = _add_marks(text, rng) if is_amount else text
    half_stroke = float(np.exp(rng.uniform(*np.log(HALF_STROKES))))
    glyphs = _place(symbols, _write(symbols, template_prob, rng), half_stroke, rng)
    digits = np.concatenate(
        [glyph for symbol, glyph in zip(symbols, glyphs, strict=True) if symbol.isdigit()], axis=1
    )
    written = np.concatenate(glyphs, axis=1)
    scale, position = _choose_frame(digits, written, half_stroke, rng)
    half_stroke = max(half_stroke * scale, MIN_HALF_STROKE)

    # Pressure changes the weight of the strokes and the density of the ink.
    grid = rng.standard_normal((5, 10), np.float32)
    pressure = cv2.resize(grid, PLATE_SIZE, interpolation=cv2.INTER_CUBIC)
    half_strokes = half_stroke + min(0.2 * half_stroke, 0.3) * pressure.clip(-1, 1)
    density = np.clip(rng.uniform(0.65, 1.05) + 0.08 * pressure, 0.6, 1)
    ink = _draw(digits * scale + position, half_strokes, density)
    if not is_amount:
        return Drawing(ink, ink)
    plate = _draw(written * scale + position, half_strokes, density)
    if rng.random() < 0.5:
        plate = np.minimum(plate, _draw_rules(ink, rng))
    drawing = Drawing(plate, ink, has_surroundings=True)
    return add_surroundings(drawing, rng, len(text)) if rng.random() < P_PAPER else drawing


def _add_marks(text: str, rng: np.random.Generator) -> str:
    """Put a separator between digits, and marks before and after them."""
    kind = rng.random()
    if kind < 0.6:
        position = len(text) - (3 if kind < 0.5 else 2)
        text = f"{text[:position]}{'.' if rng.random() < 0.7 else ','}{text[position:]}"
    if rng.random() < 0.15:
        text = rng.choice(["#", "=", "-"]) + text
    return text + rng.choice(SUFFIXES) if rng.random() < 0.6 else text


def _write(symbols: str, template_prob: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Points of symbols in one hand, float (2, n), in digit heights on a base line at 0."""
    count, unevenness = len(symbols), rng.uniform(0.2, 1)
    slant = np.clip(rng.normal(0.2, 0.27), -0.3, 0.9)  # to the right, per height
    stretch = np.exp(rng.normal(0.05, 0.2))
    sizes, lifts = _sizes_and_lifts(symbols, unevenness, rng)
    turns = unevenness * rng.normal(0, 0.05, count)
    slants = slant + rng.normal(0, 0.03, count)
    waves, phases = rng.normal(0, BEND_STD, (count, 2, 1)), rng.uniform(0, 6, count)
    templates = _choose_templates(symbols, template_prob, rng)
    glyphs = []
    for index, symbol in enumerate(symbols):
        if symbol in templates:
            points, own_slant = trace_template(templates[symbol]), 0.0
        else:
            points, own_slant = _choose_digit(int(symbol), slant, rng)
        points = points + waves[index] * np.sin(3 * points[::-1] + phases[index])
        matrix = np.array([[stretch, own_slant - slants[index]], [turns[index], 1]])
        glyphs.append(sizes[index] * matrix @ points - [[0], [lifts[index]]])
    return glyphs


def _sizes_and_lifts(
    symbols: str, unevenness: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How large every symbol is, and how far above the base line, in digit heights."""
    count = len(symbols)
    lifts = np.cumsum(unevenness * rng.normal(rng.normal(0, 0.04), 0.03, count))
    growth = rng.normal(0, 0.08) * np.linspace(-1, 1, count)
    sizes = np.exp(unevenness * rng.normal(0, 0.13, count) + growth)
    shrinkage = np.where(np.array(list(symbols)) == "0", rng.uniform(-0.6, 0.4), 0).clip(0)
    sizes *= 1 - shrinkage
    lifts += rng.choice([0, 0, 0.5, 1]) * shrinkage  # some small zeros are raised
    return sizes, lifts


def _choose_templates(
    symbols: str, template_prob: float, rng: np.random.Generator
) -> dict[str, str]:
    """The templates of one writer: of all marks, and of some digits."""
    templates = {}
    for symbol in sorted(set(symbols) & set(STROKE_TEMPLATES)):
        if not symbol.isdigit() or rng.random() < template_prob:
            forms = STROKE_TEMPLATES[symbol]
            templates[symbol] = forms[rng.integers(len(forms))]
    return templates


def _choose_digit(digit: int, slant: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Points and slant of the digit of MNIST, of a few, that is nearest to this slant."""
    digits, slants = load_digits()[digit]
    candidates = rng.integers(len(digits), size=CANDIDATES)
    index = candidates[np.abs(slants[candidates] - slant).argmin()]
    return digits[index], slants[index]


def _place(
    symbols: str, glyphs: list[np.ndarray], half_stroke: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Move symbols to the right so that they stand side by side; some touch or overlap."""
    mean_gap = rng.uniform(-0.03, 0.12) if rng.random() < 0.6 else rng.uniform(0.1, 0.4)
    gaps = 2 * half_stroke + mean_gap + rng.normal(0, rng.uniform(0, 0.03), len(glyphs))
    before_mark, after_separator, joining = rng.uniform(*GAP_CHANGES).clip(0)
    gaps += [
        before_mark * (right in LOOSE_MARKS)
        + (0.15 if left in LOOSE_MARKS else after_separator * (left in ".,"))
        - joining * (left == right == "0")
        for left, right in pairwise(" " + symbols)
    ]
    frontier = np.full(4 * ROWS_PER_HEIGHT, -np.inf)  # the rightmost point in every row
    placed = []
    for glyph, gap in zip(glyphs, gaps, strict=True):
        x, y = glyph
        rows = ((y + 2) * ROWS_PER_HEIGHT).astype(int).clip(0, len(frontier) - 1)
        shift = 0.0
        if placed:
            box_shift = frontier.max() - x.min() - MAX_OVERLAP
            shift = max((frontier[rows] - x).max(), box_shift) + gap
        np.maximum.at(frontier, rows, x + shift)
        placed.append(np.stack([x + shift, y]))
    return placed


def _choose_frame(
    digits: np.ndarray, written: np.ndarray, half_stroke: float, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Scale, in pixels per digit height, and position of the digits; marks may be cut off."""
    start = digits.min(axis=1) - half_stroke
    extent = digits.max(axis=1) + half_stroke - start
    free = np.subtract(PLATE_SIZE, 2 * (MARGIN + 2))
    width = extent[0] if rng.random() < 0.4 else max(extent[0], np.ptp(written[0]))
    scale = min(rng.uniform(*DIGIT_HEIGHTS), free[0] / width, free[1] / extent[1])
    position = MARGIN + 2 + rng.random(2) * (free - scale * extent) - scale * start
    return scale, position[:, None]


def _draw(points: np.ndarray, half_strokes: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Draw pen strokes through points, float (2, n), in pixels, on 255, uint8 (64, 128)."""
    paper = np.ones((OVERSAMPLING * PLATE_HEIGHT, OVERSAMPLING * PLATE_WIDTH), np.uint8)
    columns, rows = np.rint(OVERSAMPLING * (points + 0.5) - 0.5).astype(int)
    seen = (columns >= 0) & (columns < paper.shape[1]) & (rows >= 0) & (rows < paper.shape[0])
    paper[rows[seen], columns[seen]] = 0
    distances = np.full(paper.shape, FAR, np.float32)
    near = slice(max(rows.min() - FAR, 0), rows.max() + FAR)
    distances[near] = cv2.distanceTransform(paper[near], cv2.DIST_L2, 3)
    distances = cv2.resize(distances, PLATE_SIZE, interpolation=cv2.INTER_AREA) / OVERSAMPLING
    coverage = np.clip(0.5 + half_strokes - distances, 0, 1)
    return to_uint8(255 - 255 * density * coverage)


def _draw_rules(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an underline, a ruled base line or a box on 255, uint8 (64, 128)."""
    x, y, width, height = cv2.boundingRect(255 - ink)
    gray, thickness = int(rng.integers(0, 170)), int(rng.integers(1, 3))
    rules = np.full_like(ink, 255)
    kind = rng.random()
    if kind < 0.25:
        pad_x, pad_y = rng.integers(2, 14, 2).tolist()
        corners = (x - pad_x, y - pad_y), (x + width + pad_x, y + height + pad_y)
        cv2.rectangle(rules, *corners, gray, thickness)
        return rules
    is_ruled = kind < 0.65  # the paper's line, else an underline
    start, end = (-10, PLATE_WIDTH + 10) if is_ruled else (x - 4, x + width + rng.integers(-6, 12))
    bottom = y + height * rng.uniform(0.88, 1.2)
    slope = rng.normal(0, 1.5, 2)
    for offset in (0, rng.uniform(3, 6))[: 1 + (rng.random() < 0.35)]:  # some are double
        left, right = (bottom + offset + slope).astype(int).tolist()
        cv2.line(rules, (start, left), (int(end), right), gray, thickness, cv2.LINE_AA)
    return rules


@cache
def load_digits() -> list[tuple[list[np.ndarray], np.ndarray]]:
    """MNIST's digits from 0 to 9: points, float (2, n), on a base line at 0, and slants."""
    with np.load(resource_path("fonts") / "handwritten_digits.npz") as file:
        points, counts, labels = file["points"], file["counts"], file["labels"]
    digits = np.split(points.T / MNIST_HEIGHT, np.cumsum(counts)[:-1], axis=1)
    slants = np.empty(len(digits))
    for index, (x, y) in enumerate(digits):
        deviations = y - y.mean()
        slants[index] = -(x @ deviations) / (deviations @ deviations)
        digits[index] = np.stack([x, y - y.max()]) / np.sqrt(np.ptp(y))  # of more equal heights
    return [
        ([digits[index] for index in own], slants[own] - slants[own].mean())
        for own in (np.flatnonzero(labels == label) for label in range(10))
    ]


@cache
def trace_template(notation: str) -> np.ndarray:
    """Points along the strokes of a template, float (2, n), in digit heights, base line at 0."""
    lines = []
    for stroke in notation.split(";"):
        corner: list[list[float]] = []
        for piece in stroke.split("/"):
            # A piece starts in the corner that ends the last one.
            pairs = [pair.split(",") for pair in piece.split()]
            points = corner + [[float(x), float(y)] for x, y in pairs]
            lines.append(catmull_rom(np.array(points)))
            corner = points[-1:]
    return np.concatenate(lines).T / 100 - [[0], [1]]


def catmull_rom(points: np.ndarray) -> np.ndarray:
    """A smooth line through points, float (n, 2), continued straight at both ends.

    A uniform Catmull-Rom spline (Catmull and Rom, "A class of local interpolating splines", 1974).
    """
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    p0, p1, p2, p3 = (padded[start : start + len(points) - 1, None] for start in range(4))
    t = np.linspace(0, 1, POINTS_PER_SEGMENT)[:, None]
    spline = p1 + t / 2 * (
        p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t**2 * (3 * (p1 - p2) + p3 - p0)
    )
    return spline.reshape(-1, 2)
