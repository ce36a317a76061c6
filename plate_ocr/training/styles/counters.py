"""Rolling counters as of odometers and of water, gas and electricity meters.

Every digit is printed on a wheel behind a window, which also shows parts of the digits before and
after it. The last wheel may stand between two digits, and the one before it turns with it from 9
to 0. The label is always the digit of which clearly more is visible.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.alphabet import DIGITS, NUM_DIGITS
from plate_ocr.plates.fonts import PlateFont
from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.styles.interpolation import FontInterpolator
from plate_ocr.training.styles.row import (
    SDF_CLIP,
    SDF_PADDING,
    SDF_SIZE,
    Drawing,
    GlyphFields,
    to_uint8,
)

WHEEL_PITCHES = (19.0, 24.6)  # pixels between the centers of neighboring digits
DIGIT_HEIGHTS = (0.7, 1.35)  # in wheel pitches
MAX_DIGIT_WIDTH = 0.8  # of the widest digit, in wheel pitches
TURN_PITCHES = (1.12, 1.6)  # between the digits of a wheel, in digit heights
MAX_NEIGHBOR = 0.45  # visible part of the digits before and after one that is centered
MAX_EMBOLDEN = 0.03  # added to half a stroke, in digit heights
P_NEXT_BELOW = 0.7  # the next digit of a wheel is below, else above
P_TURNING = 0.4  # the last wheel stands between two digits
P_CARRY = 0.8  # a wheel turns with the next one from 9 to 0
P_SEPARATE_WINDOWS = 0.25
P_LIGHT_DIGITS = 0.15  # on all wheels
P_OTHER_WHEELS = 0.2  # the last one or two wheels have other colors
P_FRAME = 0.6  # around the windows; else the faceplate begins there
P_CUT_WHEEL = 0.5  # a wheel after the last one is cut off at the edge, where there is room
P_GLARE, MAX_GLARE = 0.3, 0.45  # weight of white in a reflex, which must not hide a digit
GLARE_SIZES = (2, 60)  # pixels
MARKS = ("m3", "kWh", "km", "No", "Nr.", "gal", "m", "TYPE", "Qn", "imp/kWh", "x")

# Centers of pixels: x of all columns (128,), y of all rows (64, 1).
X = np.arange(0.5, PLATE_WIDTH, dtype=np.float32)
Y = np.arange(0.5, PLATE_HEIGHT, dtype=np.float32)[:, None]


class Layout(NamedTuple):
    """Where the wheels are, in pixels."""

    left: float  # edge of the first wheel
    pitch: float  # of the wheels
    count: int  # of the wheels
    top: int  # of the windows
    bottom: int  # of the windows
    digit_height: float
    turn_pitch: float  # from a digit of a wheel down (negative: up) to the next one


class CounterRenderer:
    """Draws rolling counters in random mixtures of two fonts; measuring the fonts takes seconds."""

    def __init__(self, fonts: Sequence[PlateFont]):
        self._source = FontInterpolator(fonts)._interpolate

    def render(self, text: str, rng: np.random.Generator) -> Drawing:
        """Draw a text on the wheels of a counter."""
        digits = [DIGITS.index(digit) for digit in text]
        glyphs = self._source(range(len(DIGITS)), rng)
        boldest = min(0.4 * glyphs.counter_radius, MAX_EMBOLDEN)
        glyphs.fields[:] += rng.uniform(-0.3 * glyphs.half_stroke, boldest)
        stretch = np.exp(rng.normal(0, 0.15))
        glyphs = glyphs._replace(boxes=glyphs.boxes * [stretch, 1, 1])
        layout = _sample_layout(glyphs.boxes, len(digits), rng)
        shifts = _sample_shifts(digits, layout, rng)
        labels, neighbors = _draw_digits(digits, shifts, glyphs, layout)
        window = _draw_windows(layout, rng)
        labels, neighbors = labels * window, neighbors * window
        plate = _paint_wheels(np.maximum(labels, neighbors), layout, rng)
        _draw_dividers(plate, layout, rng)
        plate = _add_faceplate(plate, window, layout, rng)
        plate = _add_glass(plate, rng)
        return Drawing(to_uint8(plate), to_uint8(255 - 255 * labels), has_surroundings=True)


def _sample_layout(boxes: np.ndarray, count: int, rng: np.random.Generator) -> Layout:
    """A size and position at which all windows fit the plate."""
    pitch = rng.uniform(*WHEEL_PITCHES) * NUM_DIGITS / count
    height = min(rng.uniform(*DIGIT_HEIGHTS), MAX_DIGIT_WIDTH / boxes[:, 0].max()) * pitch
    turn_pitch = rng.uniform(*TURN_PITCHES) * height
    tallest = 2 * turn_pitch + (2 * MAX_NEIGHBOR - 1) * height
    window = round(min(rng.uniform(1.12 * height, tallest), PLATE_HEIGHT - 2 * MARGIN))
    left = MARGIN + (PLATE_WIDTH - 2 * MARGIN - count * pitch) * rng.beta(0.7, 1)
    top = int(rng.integers(MARGIN, PLATE_HEIGHT - MARGIN - window + 1))
    direction = 1 if rng.random() < P_NEXT_BELOW else -1
    return Layout(left, pitch, count, top, top + window, height, direction * turn_pitch)


def _sample_shifts(digits: Sequence[int], layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """How far every digit is below (negative: above) the middle of its window, in pixels."""
    height, turn_pitch = layout.digit_height, abs(layout.turn_pitch)
    window = layout.bottom - layout.top
    visible = (window - height) / 2 + 0.04 * height  # hides next to nothing of a digit
    shifts = rng.normal(0, 0.08 * height) + rng.normal(0, 0.05 * height, len(digits))
    shifts = shifts.clip(-visible, visible)
    if rng.random() > P_TURNING:
        return shifts
    largest = visible
    if window > turn_pitch:  # parts of two digits are visible, and the label must clearly lead
        largest = min(
            0.5 * turn_pitch - 0.15 * height,
            0.5 * window - 0.15 * height,
            turn_pitch + 0.2 * height - 0.5 * window,
        )
    shifts[-1] = rng.uniform(-1, 1) * max(largest, visible)
    came_from_last = shifts[-1] * layout.turn_pitch > 0
    for wheel in range(len(digits) - 1, 0, -1):  # 9 to 0 turns the wheel before
        if digits[wheel] != (0 if came_from_last else 9) or rng.random() > P_CARRY:
            break
        shifts[wheel - 1] = shifts[-1]
    return shifts


def _draw_digits(
    digits: Sequence[int], shifts: np.ndarray, glyphs: GlyphFields, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage by the labelled digits and by those before and after, float32 (64, 128), 0 to 1."""
    widths, heights, ascents = glyphs.boxes.T
    extent = ascents.max() + (heights - ascents).max()
    scale = layout.digit_height / extent  # pixels per height of a typical digit
    offsets = ascents.max() - ascents - extent / 2  # of the tops, below the middle
    distances = np.full((2, PLATE_HEIGHT, PLATE_WIDTH), -SDF_CLIP, np.float32)
    for wheel, (digit, shift) in enumerate(zip(digits, shifts, strict=True)):
        x = layout.left + (wheel + 0.5) * layout.pitch
        for step in (-1, 0, 1):
            y = (layout.top + layout.bottom) / 2 + shift + step * layout.turn_pitch
            shown = (digit + step) % len(DIGITS)
            size = scale * np.array([widths[shown], heights[shown]])
            corner = np.array([x - size[0] / 2, y + scale * offsets[shown]])
            padding = scale * SDF_PADDING
            _draw_field(
                distances[abs(step)], glyphs.fields[shown], corner - padding, size + 2 * padding
            )
    labels, neighbors = (distances * np.float32(scale) + 0.5).clip(0, 1)
    return labels, neighbors


def _draw_field(
    distances: np.ndarray, field: np.ndarray, corner: np.ndarray, size: np.ndarray
) -> None:
    """Join a field, resized to a box in pixels, to the distances of the plate, (64, 128)."""
    left, top = np.maximum(np.floor(corner).astype(int), 0)
    right, bottom = np.ceil(corner + size).astype(int)
    target = distances[top : max(bottom, 0), left:right]
    if target.size:
        scale = SDF_SIZE / size
        origin = ((left, top) - corner + 0.5) * scale - 0.5  # the first pixel's in the field
        matrix = np.column_stack([np.diag(scale), origin])
        drawn = cv2.warpAffine(
            field,
            matrix,
            target.shape[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.maximum(target, drawn, out=target)


def _rounded_rectangles(
    x: np.ndarray, y: np.ndarray, half_width: float, half_height: float, radius: float
) -> np.ndarray:
    """Coverage by rounded rectangles, 0 to 1, from coordinates relative to their centers."""
    outside_x = np.maximum(np.abs(x) - (half_width - radius), 0)
    outside_y = np.maximum(np.abs(y) - (half_height - radius), 0)
    return (radius + 0.5 - np.sqrt(outside_x**2 + outside_y**2)).clip(0, 1)


def _draw_windows(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Coverage by one window for all wheels or one for each, float32 (64, 128), 0 to 1."""
    y = Y - (layout.top + layout.bottom) / 2
    half_height = (layout.bottom - layout.top) / 2
    if rng.random() < P_SEPARATE_WINDOWS:
        wheel = ((X - layout.left) // layout.pitch).clip(0, layout.count - 1)
        x = X - layout.left - (wheel + 0.5) * layout.pitch
        half_width = layout.pitch * rng.uniform(MAX_DIGIT_WIDTH / 2 + 0.03, 0.48)
        return _rounded_rectangles(x, y, half_width, half_height, rng.uniform(1, 4))
    half_width = layout.count * layout.pitch / 2
    extra = rng.uniform(0, 2)
    right_room = PLATE_WIDTH - (layout.left + 2 * half_width)
    if right_room < 0.55 * layout.pitch and rng.random() < P_CUT_WHEEL:
        extra = right_room + 4  # the next wheel is cut off at the edge
    x = X - (layout.left + half_width + extra / 2)
    return _rounded_rectangles(x, y, half_width + extra / 2, half_height, rng.uniform(0.5, 4))


def _paint_wheels(digits: np.ndarray, layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Gray levels of all wheels, float32 (64, 128), from the coverage by digits."""
    is_light = rng.random() < P_LIGHT_DIGITS
    levels = np.array([_sample_levels(is_light, rng)] * (layout.count + 2))  # of face and digit
    if rng.random() < P_OTHER_WHEELS:
        first = layout.count - rng.integers(1, 3)
        levels[first:] = _sample_levels(is_light != (rng.random() < 0.6), rng)
    levels[:, 0] += rng.normal(0, 5, len(levels))
    wheels = (X - layout.left) // layout.pitch
    face, ink = levels[wheels.astype(int).clip(0, layout.count)].T.astype(np.float32)
    plate = face + digits * (ink - face)
    from_middle = (2 * Y - layout.top - layout.bottom) / (layout.bottom - layout.top)
    shading = rng.uniform(0, 0.4) * np.abs(from_middle).clip(0, 1) ** rng.uniform(1.5, 5)
    return plate * (1 - shading)


def _sample_levels(is_light: bool, rng: np.random.Generator) -> tuple[float, float]:
    """The gray levels of a wheel and of its digits."""
    light, dark = rng.uniform(180, 250), rng.uniform(5, 60)
    return (dark, light) if is_light else (light, dark)


def _draw_dividers(plate: np.ndarray, layout: Layout, rng: np.random.Generator) -> None:
    """Lines, bars or ratchet teeth between the wheels."""
    kind = rng.choice(["none", "line", "bar", "teeth"], p=[0.15, 0.35, 0.15, 0.35])
    gray = rng.uniform(0, 120)
    rows = np.arange(PLATE_HEIGHT)
    period, duty = rng.uniform(5, 13), rng.uniform(0.4, 0.7)
    free = (1 - MAX_DIGIT_WIDTH) * layout.pitch  # columns at most between two digits
    thickness = max(round(rng.uniform(0.5, 1) * free), 2) if kind == "bar" else 1
    for edge in range(layout.count + 1):
        x = round(layout.left + edge * layout.pitch - thickness / 2)
        if kind in ("line", "bar"):
            plate[:, max(x, 0) : x + thickness] = gray
        elif kind == "teeth":
            is_tooth = (rows / period + rng.random()) % 1 < duty
            columns = plate[:, max(x, 0) : x + 2]
            columns[is_tooth, :1] = gray
            columns[~is_tooth, 1:] = gray + 0.4 * (columns[~is_tooth, 1:] - gray)


def _add_faceplate(
    plate: np.ndarray, window: np.ndarray, layout: Layout, rng: np.random.Generator
) -> np.ndarray:
    """What is around the windows: a frame, and beyond it a faceplate with marks."""
    face = np.full(plate.shape, rng.uniform(0, 255), np.uint8)
    for _ in range(rng.integers(0, 4)):
        mark = MARKS[rng.integers(len(MARKS))]
        x = int(rng.integers(-5, PLATE_WIDTH))
        y = layout.top - 4 if rng.random() < 0.5 else layout.bottom + 10
        gray = (int(face[0, 0]) + 130) % 255
        cv2.putText(face, mark, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.28, gray, 1, cv2.LINE_AA)
    if rng.random() < P_FRAME:
        x = X - (layout.left + layout.count * layout.pitch / 2)
        y = Y - (layout.top + layout.bottom) / 2
        margin_x, margin_y = rng.uniform(1, 14, 2)
        frame = _rounded_rectangles(
            x,
            y,
            layout.count * layout.pitch / 2 + margin_x,
            (layout.bottom - layout.top) / 2 + margin_y,
            rng.uniform(1, 8),
        )
        gray = rng.uniform(0, 70) if rng.random() < 0.7 else rng.uniform(120, 255)
        face = face + frame * (np.float32(gray) - face)
    return face + window * (plate - face)


def _add_glass(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, dust, and reflexes that are too weak to hide a digit."""
    grain = rng.normal(0, rng.uniform(0, 6), (16, 32)).astype(np.float32)
    plate = plate + cv2.resize(grain, (PLATE_WIDTH, PLATE_HEIGHT), interpolation=cv2.INTER_LINEAR)
    dust = rng.integers((PLATE_HEIGHT, PLATE_WIDTH), size=(rng.integers(0, 20), 2))
    plate[tuple(dust.T)] *= rng.uniform(0.6, 1)
    if rng.random() < P_GLARE:
        x, y = rng.uniform(0, PLATE_WIDTH), rng.uniform(0, PLATE_HEIGHT)
        angle = rng.uniform(0, np.pi)
        length, width = np.exp(rng.uniform(*np.log(GLARE_SIZES), 2)).tolist()
        cosine, sine = math.cos(angle), math.sin(angle)
        along, across = cosine * (X - x) + sine * (Y - y), cosine * (Y - y) - sine * (X - x)
        spot = np.exp(-((along / length) ** 2) - (across / width) ** 2)
        plate += rng.uniform(0.2, MAX_GLARE) * spot * (255 - plate)
    return plate
