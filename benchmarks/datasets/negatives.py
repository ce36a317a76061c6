"""Images that show no plate: empty, noisy or textured ones, letters, other counts of digits."""

import cv2
import numpy as np

from benchmarks.datasets.fonts import DIGITS, Face
from benchmarks.datasets.layout import HEIGHT, WIDTH, render_plate

# Letters that no face draws like a digit: without O, I, l, S, Z, B and their like.
LETTERS = "ACEFHJKLMNPRTUVWXYadefhkmnprtuvwxy"
COUNTS = {"three digits": 3, "four digits": 4, "six digits": 6, "seven digits": 7}
KINDS = ("blank", "noise", "texture", "letters", *COUNTS)

Random = np.random.Generator


def _grey(random: Random) -> float:
    return 255.0 if random.random() < 0.3 else random.uniform(0, 255)


def _ramp(random: Random) -> np.ndarray:
    """Light that falls off to one side: -1 to 1."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle = random.uniform(0, 2 * np.pi)
    return (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)


def blank(random: Random) -> np.ndarray:
    """An empty ground, evenly lit or not."""
    return _grey(random) + _ramp(random) * random.choice((0, 20, 60))


def noise(random: Random) -> np.ndarray:
    """Noise, fine to coarse."""
    shape = HEIGHT, WIDTH
    kind = random.integers(3)
    if kind == 0:
        grains = random.normal(0, random.uniform(5, 60), shape)
    elif kind == 1:
        grains = np.where(random.random(shape) < random.uniform(0.02, 0.3), -255, 0)
    else:
        sigma = random.uniform(0.7, 4)
        grains = cv2.GaussianBlur(random.normal(0, 1, shape), (0, 0), sigma)
        grains *= random.uniform(20, 80) / grains.std()
    return _grey(random) + grains


def texture(random: Random) -> np.ndarray:
    """Stripes, checks, bricks, loose strokes or shapes."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    angle, pitch = random.uniform(0, np.pi), random.uniform(4, 24)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    paper = random.uniform(120, 255)
    ink = random.uniform(0, paper - 60)
    kind = random.integers(5)
    if kind == 0:
        pattern = 0.5 + 0.5 * np.sin(2 * np.pi * along / pitch)
    elif kind == 1:
        pattern = (along // pitch + across // pitch) % 2
    elif kind == 2:
        row = y // pitch
        joint = (x + row % 2 * pitch) % (2 * pitch)
        pattern = (y % pitch > 1.5) & (joint > 1.5)
    else:
        canvas = np.full((HEIGHT, WIDTH), 255, np.uint8)
        for _ in range(int(random.integers(3, 14))):
            points = random.uniform(-10, (WIDTH + 10, HEIGHT + 10), (3, 2)).astype(np.int32)
            width = int(random.integers(1, 4))
            if kind == 3:
                cv2.polylines(canvas, [points], bool(random.integers(2)), 0, width, cv2.LINE_AA)
            else:
                axes = [int(side) for side in random.integers(8, 50, 2)]
                centre = [int(value) for value in points[0]]
                start = random.uniform(0, 360)
                cv2.ellipse(
                    canvas, centre, axes, start, 0, random.uniform(60, 300), 0, width, cv2.LINE_AA
                )
        pattern = canvas / 255
    return ink + (paper - ink) * pattern


def draw(kind: str, face: Face, random: Random) -> tuple[np.ndarray, str]:
    """An image of a kind and the text on it, empty where there is none."""
    if kind in ("blank", "noise", "texture"):
        image = {"blank": blank, "noise": noise, "texture": texture}[kind](random)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), ""
    letters = LETTERS if kind == "letters" else DIGITS
    count = COUNTS.get(kind) or int(random.integers(3, 8))
    text = "".join(letters[index] for index in random.integers(len(letters), size=count))
    return render_plate(face, text, random).image, text
