"""What stands around digits in photographs: papers, frames, rules, neighboring text, tiles.

Marks are drawn on a surface, float32 (64, 128): the darkness of what the digits stand on, from 0,
its paper, to 1, the digits. The digits are drawn over it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import PLATE_SIZE, PLATE_WIDTH
from plate_ocr.training.styles.row import Drawing, pixel_grid, to_uint8

MIN_CONTRAST = 110  # gray levels between paper and an average pixel of the strokes
MIN_TILE_CONTRAST = 50  # the same for a digit on a tile
MAX_PATTERN = 0.3  # darkness of what runs behind digits
MIN_DIVIDED_GAP = 3  # pixels between digits that lines may divide
P_TILES = 0.2  # every digit stands on a tile of its own
P_LIGHT_DIGIT = 0.05  # on a dark tile, among dark digits
WORDS = ("kWh", "m3", "No.", "Rp", "EUR", "km/h", "total", "kg", "#A", "$", "ref.", "bar", "max")
FONT_HEIGHT = 21  # pixels of a capital letter of OpenCV's fonts at scale 1

X, Y = np.moveaxis(pixel_grid(*PLATE_SIZE), -1, 0)


class Row(NamedTuple):
    """Where the digits are; lengths in pixels."""

    coverage: np.ndarray  # by ink, from 0 to 1, float32 (64, 128)
    boldness: float  # mean coverage of what ink touches; hairlines have less
    digits: int  # their number
    left: int
    top: int
    right: int  # right and bottom lie outside
    bottom: int
    height: int
    gap: int  # the smallest between two digits; 0 if they do not all stand apart
    cells: np.ndarray  # where the digits' cells begin and end, int (n + 1,); empty without gaps


Mark = Callable[[np.ndarray, Row, np.random.Generator], None]  # draws on a surface


def add_surroundings(
    drawing: Drawing, rng: np.random.Generator, digits: int = NUM_DIGITS
) -> Drawing:
    """Put a drawing, dark on 255, in random surroundings."""
    plate, ink, _ = drawing
    if ink.min() == 255:
        return drawing  # a blank plate stays blank
    row = _measure_row(ink, digits)
    surface = np.zeros(ink.shape, np.float32)
    sure = rng.integers(len(MARKS))
    for index, (mark, probability) in enumerate(MARKS.items()):
        if index == sure or rng.random() < probability:
            mark(surface, row, rng)
    surface += (1 - surface) * ((255 - plate) / np.float32(255 - int(plate.min())))
    if row.gap and rng.random() < P_TILES:
        plate = _light_tiles(surface, row, rng)
    else:
        contrast = rng.uniform(min(MIN_CONTRAST / row.boldness, 255), 255)
        plate = rng.uniform(contrast, 255) - contrast * surface
    return Drawing(to_uint8(plate), ink, has_surroundings=True)


def crop_strip(
    plate: np.ndarray, box: tuple[int, int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Keep a strip around the box of the digits; the rest gets the median gray of its border.

    `letterbox` makes such plates of tight crops, which seldom have the plate's aspect ratio.
    """
    left, top, right, bottom = box
    before, after = rng.uniform(-0.04, 0.6, 2) * (bottom - top)
    if right - left > 2 * (bottom - top):
        strip = np.s_[max(round(top - before), 0) : round(bottom + after)]
    else:
        strip = np.s_[:, max(round(left - before), 0) : round(right + after)]
    cropped = np.full_like(plate, np.median(border_pixels(plate[strip])))
    cropped[strip] = plate[strip]
    return cropped


def _measure_row(ink: np.ndarray, digits: int) -> Row:
    coverage = (255 - ink) / np.float32(255 - int(ink.min()))
    boldness = float(coverage[ink < 255].mean())
    left, top, width, height = cv2.boundingRect(255 - ink)
    columns = np.pad((ink < 255).any(axis=0), 1)
    starts, ends = np.flatnonzero(columns[1:] != columns[:-1]).reshape(-1, 2).T
    gaps = starts[1:] - ends[:-1]
    gap, cells = 0, np.empty(0, int)
    if len(starts) == digits:
        gap, margin = int(gaps.min()), int(gaps.mean() / 2) + 1
        cells = np.array([left - margin, *((starts[1:] + ends[:-1]) // 2), left + width + margin])
    right, bottom = left + width, top + height
    return Row(coverage, boldness, digits, left, top, right, bottom, height, gap, cells)


def _light_tiles(surface: np.ndarray, row: Row, rng: np.random.Generator) -> np.ndarray:
    """Gray levels that change from digit to digit, as in photographs put side by side."""
    min_contrast = rng.uniform(min(MIN_TILE_CONTRAST / row.boldness, 255), 255)
    contrasts = np.exp(rng.uniform(*np.log([min_contrast, 255]), row.digits))
    papers = rng.uniform(contrasts, 255)
    slopes = rng.normal(0, 0.3 * rng.random(), (row.digits, 2)) / row.height
    plate = rng.uniform(150, 255) - 100 * surface
    margins = rng.uniform(0.1, 1, 2) * row.height
    rows = slice(max(round(row.top - margins[0]), 0), round(row.bottom + margins[1]))
    for index, (start, end) in enumerate(zip(row.cells[:-1], row.cells[1:], strict=True)):
        tile = rows, slice(max(start, 0), end)
        shade = 1 + slopes[index, 0] * (X[tile] - start) + slopes[index, 1] * (Y[tile] - row.top)
        plate[tile] = (papers[index] - contrasts[index] * surface[tile]) * shade.clip(0.8, 1.2)
        if rng.random() < P_LIGHT_DIGIT:
            plate[tile] = 255 - plate[tile]
    return plate


def _paint(surface: np.ndarray, mask: np.ndarray, darkness: float) -> None:
    """Paint where a mask is, from 0 to 1."""
    surface += (darkness - surface) * mask


def _draw_lines(
    surface: np.ndarray, lines: Sequence | np.ndarray, darkness: float, thickness: int = 1
) -> None:
    """Draw lines through points x, y, float (n, points, 2)."""
    mask = np.zeros(surface.shape, np.uint8)
    points = list(np.round(16 * np.asarray(lines)).astype(np.int32))  # sixteenths of a pixel
    cv2.polylines(mask, points, False, 255, thickness, cv2.LINE_AA, shift=4)
    _paint(surface, mask / np.float32(255), darkness)


def _draw_grain(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Stains, rough paper, metal brushed in one direction."""
    size = rng.integers((3, 3), surface.shape, endpoint=True)
    noise = rng.standard_normal(size, np.float32) * rng.uniform(0.03, 0.15)
    surface += cv2.resize(noise, PLATE_SIZE).clip(0, MAX_PATTERN)


def _draw_fibers(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    count = rng.integers(10, 80)
    starts = rng.uniform(0, PLATE_SIZE, (count, 1, 2))
    bends = rng.normal(0, rng.uniform(1, 3), (count, 4, 2)).cumsum(axis=1)
    _draw_lines(surface, starts + bends, rng.uniform(0.05, 0.25))


def _draw_guilloche(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Fine lines and waves in one to three directions, as on cheques, or a grid of dots."""
    families = []
    for _ in range(rng.integers(1, 4)):
        angle, phase = rng.uniform(0, 2 * np.pi, 2).tolist()
        along = math.cos(angle) * X + math.sin(angle) * Y
        across = math.cos(angle) * Y - math.sin(angle) * X
        if rng.random() < 0.7:
            wavelength = rng.uniform(10, 80)
            fanning = rng.normal(0, 0.03) * across  # neighboring waves are not quite parallel
            wave = np.sin(2 * np.pi / wavelength * along + fanning + phase)
            across += rng.uniform(0.02, 0.15) * wavelength * wave
        families.append(np.cos(2 * np.pi / rng.uniform(2.5, 9) * across))
    join = np.minimum if rng.random() < 0.2 else np.maximum  # dots where lines cross, or all lines
    lines = (1 + rng.uniform(0.5, 3) * (join.reduce(families) - 1)).clip(0, 1)
    np.maximum(surface, rng.uniform(0.1, MAX_PATTERN) * lines, out=surface)


def _draw_shading(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """The shade of a wheel or of a recess, darker above and below."""
    middle = (row.top + row.bottom) / 2 + rng.normal(0, 0.15) * row.height
    _paint(surface, (rng.uniform(0.1, 0.7) * ((Y - middle) / row.height) ** 2).clip(0, 0.6), 1)


def _draw_neighbors(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Parts of digits above and below, as in the window of a counter."""
    pitch = (row.right - row.left) // row.digits
    darkness = rng.random()
    for side in (-1, 1):
        if rng.random() < 0.3:
            continue
        gap = round(rng.uniform(0.15, 0.4) * row.height) + 2
        end = gap + rng.uniform(0.1, 0.4) * row.height
        # The same digits, moved by whole digits.
        shift = side * (row.height + gap), pitch * rng.integers(-2, 3)
        digits = np.roll(row.coverage, shift, axis=(0, 1))
        outward = side * (Y - (row.top + row.bottom) / 2) - row.height / 2
        _paint(surface, digits * ((outward > 0) & (outward < end)), 1)
        if rng.random() < 0.7:
            surface[outward >= end] = darkness


def _draw_text(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Small words beside, above or below the digits, many cut off at the edge."""
    mask = np.zeros(surface.shape, np.uint8)
    for side in np.flatnonzero(rng.random(4) < 0.4):
        text = " ".join(rng.choice(WORDS, rng.integers(1, 5) if side > 1 else 1))
        font, scale = int(rng.integers(8)), rng.uniform(0.25, 0.5) * row.height / FONT_HEIGHT
        (width, _), _ = cv2.getTextSize(text, font, scale, 1)
        gap = 3 + rng.uniform(0.15, 0.6) * row.height
        anywhere = rng.uniform(-width / 2, PLATE_WIDTH - width / 2)
        x, y = (  # the left end of the base line
            (row.left - gap - width, rng.uniform(row.top + 0.5 * row.height, row.bottom)),
            (row.right + gap, rng.uniform(row.top + 0.5 * row.height, row.bottom)),
            (anywhere, row.top - gap),
            (anywhere, row.bottom + gap + FONT_HEIGHT * scale),
        )[side]
        cv2.putText(mask, text, (round(x), round(y)), font, scale, 255, 1, cv2.LINE_AA)
    _paint(surface, mask / np.float32(255), rng.uniform(0.4, 1))


def _draw_dividers(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Windows of the digits, or lines, boxes, dashes or teeth between digits."""
    if row.gap < MIN_DIVIDED_GAP:
        return
    # Longer than digits and faint where they stand alone, or lines would look like a 1.
    top, bottom = np.array([row.top, row.bottom]) + [-1, 1] * rng.uniform(0.2, 0.6, 2) * row.height
    darkness = rng.uniform(0.25, 1)
    thickness = int(rng.integers(1, min(row.gap // 2, 3) + 1))
    kind = rng.random()
    if kind < 0.25:
        windows = np.zeros_like(surface)
        inset = rng.integers(row.gap // 2)
        for start, end in zip(row.cells[:-1] + inset, row.cells[1:] - inset, strict=True):
            windows[max(round(top), 0) : round(bottom), max(start, 0) : end] = 1
        _paint(surface, 1 - windows, darkness)
        return
    lines, ends = [], [(top, bottom)]
    if kind < 0.5:  # boxes
        lines = [[(row.cells[0], y), (row.cells[-1], y)] for y in (top, bottom)]
    elif kind < 0.65:  # lines alone
        darkness *= 0.6
    else:
        length, pause = rng.uniform(0.05, 0.3, 2) * row.height + 1
        ends = [(y, y + length) for y in np.arange(top, bottom, length + pause)]
    lines += [[(x, start), (x, end)] for x in row.cells for start, end in ends]
    _draw_lines(surface, lines, darkness, thickness)


def _draw_rules(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """Lines above and below, thin ones on the base line, faint ones through the digits."""
    above, below = rng.uniform(0.1, 0.5, 2) * row.height + 2
    rules = (  # y, darkness, thickness
        (row.top - above, rng.uniform(0.3, 1), int(rng.integers(1, 4))),
        (row.bottom + below, rng.uniform(0.3, 1), int(rng.integers(1, 4))),
        (row.bottom - rng.uniform(0, 2), rng.uniform(0.3, 0.8), 1),
        (rng.uniform(row.top, row.bottom), MAX_PATTERN, 1),
    )
    ends = (0, PLATE_WIDTH) if rng.random() < 0.7 else (row.left, row.right)
    position = np.linspace(-1, 1, 9)
    slope, bend = rng.normal(0, 0.8, 2) * (rng.random() < 0.5)  # by hand
    for index in np.flatnonzero(rng.random(len(rules)) < [0.5, 0.5, 0.4, 0.2]):
        y, darkness, thickness = rules[index]
        points = np.linspace(*ends, 9), y + slope * position + bend * position**2
        _draw_lines(surface, [np.column_stack(points)], darkness, thickness)


def _draw_frame(surface: np.ndarray, row: Row, rng: np.random.Generator) -> None:
    """A frame or the edge of the object around the row: sharp or rounded corners, rivets."""
    margins = 2 + 0.6 * rng.random(4) ** 1.5 * row.height
    box = np.array([row.left, row.top, row.right, row.bottom]) + [-1, -1, 1, 1] * margins
    left, top, right, bottom = box.tolist()
    radius = rng.uniform(0, min(0.45 * row.height, 2 * margins.min()))  # leaves corners of digits
    # Distances from a box with rounded corners, negative inside.
    x = np.abs(X - (left + right) / 2) - (right - left) / 2 + radius
    y = np.abs(Y - (top + bottom) / 2) - (bottom - top) / 2 + radius
    distance = np.hypot(x.clip(0), y.clip(0)) + np.maximum(x, y).clip(None, 0) - radius
    if rng.random() < 0.3:
        _paint(surface, np.exp(-np.abs(distance) / 4), rng.uniform(0.1, 0.4))  # its shadow
    frame = (distance / rng.uniform(1, 3)).clip(0, 1)
    if rng.random() < 0.5:  # a line, else all that lies outside
        frame *= (rng.uniform(2, 5) - distance).clip(0, 1)
    _paint(surface, frame, rng.uniform(0.1, 1))
    if rng.random() < 0.3:
        size = rng.uniform(0.06, 0.12) * row.height + 1
        for center in (left - 2 * size, right + 2 * size):
            rivet = np.hypot(X - center, Y - rng.uniform(top, bottom)) / size
            _paint(surface, (3 - 3 * rivet).clip(0, 1), rng.random())


MARKS: dict[Mark, float] = {  # in the order of drawing: its probability, besides one for sure
    _draw_grain: 0.15,
    _draw_fibers: 0.04,
    _draw_guilloche: 0.25,
    _draw_shading: 0.08,
    _draw_neighbors: 0.08,
    _draw_text: 0.08,
    _draw_dividers: 0.12,
    _draw_rules: 0.12,
    _draw_frame: 0.15,
}
