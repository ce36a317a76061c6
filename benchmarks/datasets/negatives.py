"""Images without a plate: blank, noise, texture, letters, other numbers of digits."""

import cv2
import numpy as np

from benchmarks.datasets.fonts import DIGITS, Face
from benchmarks.datasets.layout import HEIGHT, WIDTH, render_plate

# Letters that no face draws like a digit: without O, I, l, S, Z, B and others.
LETTERS = "ACEFHJKLMNPRTUVWXYadefhkmnprtuvwxy"
NUM_DIGITS = {"three digits": 3, "four digits": 4, "six digits": 6, "seven digits": 7}

Generator = np.random.Generator


def _gray_level(rng: Generator) -> float:
    return 255.0 if rng.random() < 0.3 else rng.uniform(0, 255)


def blank(rng: Generator) -> np.ndarray:
    """An empty background, sometimes lit from one side."""
    level = _gray_level(rng)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    gradient = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)
    return level + gradient * rng.choice((0, 20, 60))


def noise(rng: Generator) -> np.ndarray:
    """Noise: Gaussian, black pixels, or coarse."""
    shape, kind = (HEIGHT, WIDTH), rng.integers(3)
    if kind == 0:
        pixels = rng.normal(0, rng.uniform(5, 60), shape)
    elif kind == 1:
        pixels = np.where(rng.random(shape) < rng.uniform(0.02, 0.3), -255, 0)
    else:
        sigma = rng.uniform(0.7, 4)
        pixels = cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), sigma)
        pixels *= rng.uniform(20, 80) / pixels.std()
    return _gray_level(rng) + pixels


def texture(rng: Generator) -> np.ndarray:
    """Stripes, checks, bricks, strokes or arcs."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(4, 24)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    background = rng.uniform(120, 255)
    ink, kind = rng.uniform(0, background - 60), rng.integers(5)
    if kind == 0:
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * along / pitch)
    elif kind == 1:
        pattern = (along // pitch + across // pitch) % 2
    elif kind == 2:
        joint = (x + y // pitch % 2 * pitch) % (2 * pitch)
        pattern = (y % pitch > 1.5) & (joint > 1.5)
    else:
        pattern = _lines(rng, arcs=kind == 4) / 255
    return ink + (background - ink) * pattern


def _lines(rng: Generator, arcs: bool) -> np.ndarray:
    """Black strokes or arcs on white, uint8."""
    canvas = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for _ in range(int(rng.integers(3, 14))):
        points = rng.uniform(-10, (WIDTH + 10, HEIGHT + 10), (3, 2)).astype(np.int32)
        width = int(rng.integers(1, 4))
        if arcs:
            axes = rng.integers(8, 50, 2).tolist()
            start, end = rng.uniform(0, 360), rng.uniform(60, 300)
            cv2.ellipse(canvas, points[0].tolist(), axes, start, 0, end, 0, width, cv2.LINE_AA)
        else:
            cv2.polylines(canvas, [points], bool(rng.integers(2)), 0, width, cv2.LINE_AA)
    return canvas


TEXTLESS = {"blank": blank, "noise": noise, "texture": texture}
KINDS = (*TEXTLESS, "letters", *NUM_DIGITS)


def draw_negative(kind: str, face: Face, rng: Generator) -> tuple[np.ndarray, str]:
    """An image of one of `KINDS`, uint8 (64, 128), and the text on it, if any."""
    if kind in TEXTLESS:
        return np.clip(np.rint(TEXTLESS[kind](rng)), 0, 255).astype(np.uint8), ""
    characters = LETTERS if kind == "letters" else DIGITS
    count = NUM_DIGITS.get(kind) or int(rng.integers(3, 8))
    text = "".join(characters[index] for index in rng.integers(len(characters), size=count))
    return render_plate(face, text, rng)[0], text
