"""Plates of seven-segment displays, photographed with little blur, noise and uneven light."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.datasets.layout import HEIGHT, WIDTH

# Upper left and lower right end of each segment a to g, in digit widths and half heights.
SEGMENTS = {
    "a": (0, 0, 1, 0), "b": (1, 0, 1, 1), "c": (1, 1, 1, 2), "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2), "f": (0, 0, 0, 1), "g": (0, 1, 1, 1),
}  # fmt: skip
LIT = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcfgd")
FOUR_SEGMENT_7, TAILLESS_6, TAILLESS_9 = "fabc", "fgedc", "abcfg"
KINDS = ("usual", "wide gaps", "four-segment 7", "no tails", "all three")
ENLARGED = 8  # drawn so many times larger, then averaged

Generator = np.random.Generator


def choose_kind(text: str, rng: Generator) -> str:
    """One of `KINDS` that shows on this text, rather a rare one."""
    has_7, has_6_or_9 = "7" in text, "6" in text or "9" in text
    shows = dict.fromkeys(KINDS[:2], True)
    shows |= zip(KINDS[2:], (has_7, has_6_or_9, has_7 and has_6_or_9), strict=True)
    return str(rng.choice([kind for kind in KINDS if shows[kind]][-3:]))


def draw_display(text: str, kind: str, rng: Generator) -> tuple[np.ndarray, int, str]:
    """Draw a text on a display of one of `KINDS` and photograph it.

    Returns the plate, uint8 (64, 128), the height of its digits in pixels, and their polarity.
    """
    is_wide = kind in ("wide gaps", "all three")
    aspect, slant = rng.uniform(0.45, 0.6), rng.uniform(0, 0.15)  # in digit heights, as all below
    thickness = rng.uniform(0.09, 0.12) if is_wide else rng.uniform(0.09, 0.15)
    gap = rng.uniform(0.045, 0.065) if is_wide else rng.uniform(0.005, 0.025)
    bevel = thickness * rng.uniform(0.2, 0.5)
    pitch = aspect + thickness + rng.uniform(0.15, 0.4)
    row = pitch * (len(text) - 1) + aspect + thickness + slant
    height = min(rng.uniform(12, 32), (WIDTH - 8) / row)
    free = np.array([WIDTH - 8 - height * row, HEIGHT - 8 - height])
    origin = 4 + rng.uniform(0, 1, 2) * np.maximum(free, 0)

    contrast, unlit = rng.uniform(100, 220), rng.choice([0, 0, rng.uniform(0.05, 0.14)])
    levels = Image.new("L", (ENLARGED * WIDTH, ENLARGED * HEIGHT))
    pen = ImageDraw.Draw(levels)
    for index, digit in enumerate(text):
        lit = LIT[int(digit)]
        if kind in ("four-segment 7", "all three") and digit == "7":
            lit = FOUR_SEGMENT_7
        if kind in ("no tails", "all three") and digit in "69":
            lit = TAILLESS_6 if digit == "6" else TAILLESS_9
        for name, ends in sorted(SEGMENTS.items(), key=lambda item: item[0] in lit):
            x1, y1, x2, y2 = np.multiply(ends, (aspect, (1 - thickness) / 2) * 2) + thickness / 2
            upright = x1 == x2
            length, across = (y2 - y1 if upright else x2 - x1) - 2 * gap, thickness / 2
            along = np.array([0, bevel, length - bevel, length, length - bevel, bevel]) + gap
            tilt = across * np.array([0, 1, 1, 0, -1, -1])
            x, y = (x1 + tilt, y1 + along) if upright else (x1 + along, y1 + tilt)
            points = np.column_stack([x + index * pitch + slant * (1 - y), y]) * height + origin
            level = 1 if name in lit else unlit
            pen.polygon((ENLARGED * points).ravel().tolist(), int(255 * level))
    ink = np.asarray(levels.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) / 255
    polarity = str(rng.choice(["dark", "light"]))
    return _photograph(ink, contrast, polarity, rng), round(height), polarity


def _photograph(ink: np.ndarray, contrast: float, polarity: str, rng: Generator) -> np.ndarray:
    """A picture of ink, float (64, 128), 0 to 1; some are turned, unevenly lit or noisy."""
    if rng.random() < 0.4:
        turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), rng.uniform(-2, 2), 0.97)
        ink = cv2.warpAffine(ink, turn, (WIDTH, HEIGHT))
    ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.3, 0.8))
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    slope = rng.normal(0, 0.1 * contrast, 2) * (rng.random() < 0.3)
    image = rng.uniform(0, 255 - contrast) + slope[0] * x + slope[1] * y
    image += contrast * (ink if polarity == "light" else 1 - ink)
    if rng.random() < 0.05:
        image += rng.normal(0, 0.04 * contrast, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
