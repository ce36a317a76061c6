"""Rolling counters as of odometers and of water, gas and electricity meters.

Every digit is printed on a wheel behind a window, which may also show parts of the digits before
and after it. The last wheel may stand between two digits, and from 9 to 0 it turns the wheel
before. The label is then the digit nearer to the middle; close to half a turn it is either of both,
as in the labels of photographs, so that the network learns a low confidence there.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from plate_ocr.plates.alphabet import DIGITS, NUM_DIGITS
from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_SIZE, PLATE_WIDTH
from plate_ocr.training.styles.row import (
    SDF_CLIP,
    SDF_PADDING,
    Drawing,
    GlyphFields,
    GlyphSource,
    to_uint8,
)

WHEEL_PITCHES = (19.0, 24.6)  # pixels between the centers of neighboring wheels
DIGIT_HEIGHTS = (0.7, 1.35)  # in wheel pitches
MAX_DIGIT_WIDTH = 0.8  # of the widest digit, in wheel pitches
TURN_PITCHES = (1.18, 1.6)  # between the digits of a wheel, in digit heights
MIN_WINDOW = 1.12  # height of the windows, in digit heights
MAX_NEIGHBOR = 0.4  # visible part of the digits before and after a centered one
MAX_EMBOLDEN = 0.03  # added to half a stroke, in digit heights
P_NEXT_BELOW = 0.7  # the next digit of a wheel is below, else above
P_TURNING = 0.5  # the last wheel stands between two digits
HALF_TURN = 0.12  # digit heights from half a turn within which the label is either digit
P_CARRY = 0.8  # a wheel turns with the next one from 9 to 0
P_SEPARATE_WINDOWS = 0.25  # one for each wheel
P_CUT_WHEEL, MAX_CUT_WHEEL = 0.5, 0.4  # the left part of one more wheel, cut off at the edge
P_LIGHT_DIGITS = 0.15  # on dark wheels
P_OTHER_COLORS = 0.2  # of the last one or two wheels
P_FRAME = 0.6  # around the windows; else the faceplate begins there
P_GLARE, MAX_GLARE = 0.3, 0.45  # weight of white in a reflex, which must not hide a digit
GLARE_SIZES = (2, 60)  # pixels
MARKS = ("m3", "kWh", "km", "No", "Nr.", "gal", "m", "TYPE", "Qn", "imp/kWh", "x")

# Centers of pixels: x of all columns (128,), y of all rows (64, 1).
X = np.arange(0.5, PLATE_WIDTH, dtype=np.float32)
Y = np.arange(0.5, PLATE_HEIGHT, dtype=np.float32)[:, None]


class Layout(NamedTuple):
    """Where the wheels are; lengths in pixels."""

    count: int  # of labeled wheels
    left: float  # edge of the first wheel
    pitch: float  # from a wheel to the next one
    top: int  # of the windows
    bottom: int  # of the windows, outside
    digit_height: float
    turn_pitch: float  # from a digit of a wheel down (negative: up) to the next one


def render_counter(source: GlyphSource, text: str, rng: np.random.Generator) -> Drawing:
    """Draw a text on the wheels of a counter, in the shapes of a source."""
    digits = [DIGITS.index(digit) for digit in text]
    glyphs = source(range(len(DIGITS)), rng)
    boldest = min(0.4 * glyphs.counter_radius, MAX_EMBOLDEN)
    weight, stretch = rng.uniform(-0.3 * glyphs.half_stroke, boldest), rng.lognormal(0, 0.15)
    glyphs = glyphs._replace(
        fields=glyphs.fields + np.float32(weight), boxes=glyphs.boxes * [stretch, 1, 1]
    )
    layout = _sample_layout(glyphs.boxes, len(digits), rng)
    shifts = _sample_shifts(digits, layout, rng)
    windows = _draw_windows(layout, rng)
    labels, others = _draw_digits(digits, shifts, glyphs, layout, rng) * windows
    plate = _paint_wheels(np.maximum(labels, others), layout, rng)
    _draw_dividers(plate, layout, rng)
    faceplate = _draw_faceplate(layout, rng)
    plate = _add_glass(faceplate + windows * (plate - faceplate), rng)
    return Drawing(to_uint8(plate), to_uint8(255 - 255 * labels), has_surroundings=True)


def _sample_layout(boxes: np.ndarray, count: int, rng: np.random.Generator) -> Layout:
    """A size and position at which all windows fit the plate."""
    pitch = rng.uniform(*WHEEL_PITCHES) * NUM_DIGITS / count
    height = min(rng.uniform(*DIGIT_HEIGHTS), MAX_DIGIT_WIDTH / float(boxes[:, 0].max())) * pitch
    turn_pitch = rng.uniform(*TURN_PITCHES) * height
    tallest = 2 * turn_pitch + (2 * MAX_NEIGHBOR - 1) * height
    lowest = MIN_WINDOW * height
    window = lowest + (tallest - lowest) * rng.beta(1, 2.5)
    window = round(min(window, PLATE_HEIGHT - 2 * MARGIN))
    left = MARGIN + (PLATE_WIDTH - 2 * MARGIN - count * pitch) * rng.beta(0.7, 1)
    top = int(rng.integers(MARGIN, PLATE_HEIGHT - MARGIN - window + 1))
    direction = 1 if rng.random() < P_NEXT_BELOW else -1
    return Layout(count, left, pitch, top, top + window, height, direction * turn_pitch)


def _sample_shifts(digits: Sequence[int], layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """How far every digit is below (negative: above) the middle of its window, in pixels."""
    height, turn_pitch = layout.digit_height, abs(layout.turn_pitch)
    window = layout.bottom - layout.top
    largest = (window - height) / 2 + 0.04 * height  # hides next to nothing of a digit
    shifts = rng.normal(0, 0.08 * height) + rng.normal(0, 0.05 * height, len(digits))
    shifts = shifts.clip(-largest, largest)
    if rng.random() > P_TURNING:
        return shifts
    if window > turn_pitch:  # a second digit comes into view
        largest = min(
            0.5 * turn_pitch + HALF_TURN * height,
            0.5 * window + HALF_TURN * height,  # about half of the label is visible
            turn_pitch + 0.5 * height - 0.5 * window,  # and at most all of the other digit
        )
    shifts[-1] = rng.choice([-1, 1]) * largest * rng.random()
    turning_digit = 0 if shifts[-1] * layout.turn_pitch > 0 else 9  # shows a part of 9 or of 0
    for wheel in range(len(digits) - 1, 0, -1):
        if digits[wheel] != turning_digit or rng.random() > P_CARRY:
            break
        shifts[wheel - 1] = shifts[-1]
    return shifts


def _draw_digits(
    digits: Sequence[int],
    shifts: np.ndarray,
    glyphs: GlyphFields,
    layout: Layout,
    rng: np.random.Generator,
) -> np.ndarray:
    """Coverage by the labeled digits and by all others, float32 (2, 64, 128), 0 to 1."""
    ascent = glyphs.boxes[:, 2].max()
    extent = ascent + (glyphs.boxes[:, 1] - glyphs.boxes[:, 2]).max()
    scale = layout.digit_height / float(extent)  # pixels per height of a typical digit
    sizes = np.rint((glyphs.boxes[:, :2] + 2 * SDF_PADDING) * scale).astype(int).tolist()
    tops = ((ascent - glyphs.boxes[:, 2] - extent / 2 - SDF_PADDING) * scale).tolist()
    distances = np.full((2, PLATE_HEIGHT, PLATE_WIDTH), -SDF_CLIP, np.float32)
    labels, others = distances
    wheels = [*zip(digits, shifts.tolist(), strict=True), (int(rng.integers(len(DIGITS))), 0.0)]
    for wheel, (digit, shift) in enumerate(wheels):
        x = layout.left + (wheel + 0.5) * layout.pitch
        middle = (layout.bottom - layout.top) / 2 + shift
        for step in (-1, 0, 1):
            shown = (digit + step) % len(DIGITS)
            corner = x - sizes[shown][0] / 2, middle + step * layout.turn_pitch + tops[shown]
            canvas = labels if step == 0 and wheel < layout.count else others
            window = canvas[layout.top : layout.bottom]
            _draw_field(window, glyphs.fields[shown], corner, sizes[shown])
    return (distances * np.float32(scale) + np.float32(0.5)).clip(0, 1)


def _draw_field(
    window: np.ndarray, field: np.ndarray, corner: tuple[float, float], size: Sequence[int]
) -> None:
    """Join a field, resized to a box in pixels, to the distances in a window."""
    x, y = map(round, corner)
    left, top = max(x, 0), max(y, 0)
    target = window[top : max(y + size[1], 0), left : x + size[0]]
    if target.size:
        height, width = target.shape
        resized = cv2.resize(field, size)[top - y :, left - x :]
        np.maximum(target, resized[:height, :width], out=target)


def _draw_windows(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Coverage by one window for all wheels or one for each, float32 (64, 128), 0 to 1."""
    top, bottom, radius = layout.top, layout.bottom, rng.uniform(0.5, 4)
    width = layout.count * layout.pitch
    if rng.random() < P_SEPARATE_WINDOWS:
        gap = rng.uniform(0.04, 0.94 - MAX_DIGIT_WIDTH) * layout.pitch / 2
        wheel = ((X - layout.left) // layout.pitch).clip(0, layout.count - 1)
        x = X - layout.left - wheel * layout.pitch
        return _rounded_rectangle(x, (gap, top, layout.pitch - gap, bottom), radius)
    room = PLATE_WIDTH - layout.left - width
    cut_wheel = room < MAX_CUT_WHEEL * layout.pitch and rng.random() < P_CUT_WHEEL
    width += room + radius + 1 if cut_wheel else rng.uniform(0, 2)
    return _rounded_rectangle(X - layout.left, (0, top, width, bottom), radius)


def _rounded_rectangle(
    x: np.ndarray, box: tuple[float, float, float, float], radius: float
) -> np.ndarray:
    """Coverage of pixels at these x, (128,), by a box with round corners, (64, 128), 0 to 1."""
    left, top, right, bottom = box
    outside_x = np.maximum(np.maximum(left - x, x - right) + radius, 0)
    outside_y = np.maximum(np.maximum(top - Y, Y - bottom) + radius, 0)
    return (radius + 0.5 - np.sqrt(outside_x**2 + outside_y**2)).clip(0, 1)


def _paint_wheels(digits: np.ndarray, layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Gray levels of all wheels, float32 (64, 128), from the coverage by digits."""
    is_light = rng.random() < P_LIGHT_DIGITS
    levels = np.array([_sample_levels(is_light, rng)] * (layout.count + 1), np.float32)
    if rng.random() < P_OTHER_COLORS:
        is_light ^= rng.random() < 0.6
        levels[layout.count - rng.integers(1, 3) :] = _sample_levels(is_light, rng)
    levels[:, 0] += rng.normal(0, 5, len(levels))
    wheels = ((X - layout.left) // layout.pitch).clip(0, layout.count).astype(int)
    face, ink = levels[wheels].T
    height = (2 * Y - layout.top - layout.bottom) / (layout.bottom - layout.top)  # -1 to 1
    shading = rng.uniform(0, 0.4) * np.abs(height) ** rng.uniform(1.5, 5)  # of a cylinder
    return (face + digits * (ink - face)) * (1 - shading.clip(0, 1))


def _sample_levels(is_light: bool, rng: np.random.Generator) -> tuple[float, float]:
    """The gray levels of a wheel and of its digits, which may be light."""
    dark = rng.uniform(5, 80)
    light = rng.uniform(dark + 140, 250)
    return (dark, light) if is_light else (light, dark)


def _draw_dividers(plate: np.ndarray, layout: Layout, rng: np.random.Generator) -> None:
    """Draw nothing, lines, bars or ratchet teeth between the wheels."""
    thickest = (1 - MAX_DIGIT_WIDTH) * layout.pitch - 0.5
    line, bar = (1.0, 1.0), (thickest, thickest)
    teeth = (rng.uniform(0, 1.5), rng.uniform(1.5, thickest))
    narrow, wide = ((0.0, 0.0), line, line, bar, teeth, teeth)[rng.integers(6)]
    position = (X - layout.left) / layout.pitch
    edge = np.rint(position).astype(int)
    distance = np.abs(position - edge) * layout.pitch
    columns = np.flatnonzero(distance < wide / 2)
    phases = (Y / rng.uniform(5, 13) + rng.random(PLATE_WIDTH)[edge[columns]]) % 1
    thickness = np.where(phases < rng.uniform(0.3, 0.7), wide, narrow)
    is_divider = distance[columns] < thickness / 2
    plate[:, columns] = np.where(is_divider, rng.uniform(0, 120), plate[:, columns])


def _draw_faceplate(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """What is around the windows, float32 (64, 128): marks on a plate, and a frame."""
    gray = int(rng.integers(256))
    faceplate = np.full((PLATE_HEIGHT, PLATE_WIDTH), gray, np.uint8)
    for mark in rng.integers(len(MARKS), size=rng.integers(4)):
        x = int(rng.integers(PLATE_WIDTH))
        y = layout.top - 4 if rng.random() < 0.5 else layout.bottom + 10
        font, mark_gray = cv2.FONT_HERSHEY_SIMPLEX, (gray + 128) % 256
        cv2.putText(faceplate, MARKS[mark], (x, y), font, 0.28, mark_gray)
    if rng.random() > P_FRAME:
        return faceplate.astype(np.float32)
    left, top, right, bottom = rng.uniform(1, 14, 4).tolist()  # margins
    right += layout.count * layout.pitch
    box = (-left, layout.top - top, right, layout.bottom + bottom)
    frame = _rounded_rectangle(X - layout.left, box, rng.uniform(1, 8))
    frame_gray = rng.uniform(0, 70) if rng.random() < 0.7 else rng.uniform(120, 255)
    return faceplate + frame * (frame_gray - faceplate.astype(np.float32))


def _add_glass(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, dust, and reflexes that are too weak to hide a digit."""
    unevenness = rng.normal(0, rng.uniform(0, 6), (16, 32)).astype(np.float32)
    plate = plate + cv2.resize(unevenness, PLATE_SIZE)
    dust = rng.integers(plate.shape, size=(rng.integers(20), 2))
    plate[tuple(dust.T)] *= rng.uniform(0.6, 1)
    if rng.random() < P_GLARE:
        x, y = X - rng.uniform(0, PLATE_WIDTH), Y - rng.uniform(0, PLATE_HEIGHT)
        angle = rng.uniform(0, math.pi)
        length, width = np.exp(rng.uniform(*np.log(GLARE_SIZES), 2)).tolist()
        along = (math.cos(angle) * x + math.sin(angle) * y) / length
        across = (math.cos(angle) * y - math.sin(angle) * x) / width
        plate += rng.uniform(0.2, MAX_GLARE) * np.exp(-(along**2) - across**2) * (255 - plate)
    return plate
