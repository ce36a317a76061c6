"""Training-time distortions: a clean plate -> the same number as a camera might see it.

Digits are set closer, then one warp moves, scales, turns, slants and bends the plate; then come
stroke weight, gaps, dirt, light, shadow, blur, noise and compression, each on a share of the
plates. How strong the damage may be depends on the height of the digits and on their contrast,
so that every plate stays readable by a person. Where its digits stand is told as well: it is known
before any damage is done. Everything is drawn from one generator: a batch is
a pure function of its seed. OpenCV does the work: the whole chain costs little more than one of
Keras' preprocessing layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.fonts import FONT_DIRECTORY, load_fonts
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.synthetic_fonts.interpolation import (
    FAINTEST,
    FontInterpolator,
    points_of,
    to_gray,
)

cv2.setNumThreads(1)  # one plate is too little to share among threads

SIZE = (PLATE_WIDTH, PLATE_HEIGHT)  # of a plate
CLEAN_SHARE = 0.1  # of the plates stays as it is
DAMAGED_SHARE = 0.65  # of the others; the rest is moved, bent and lit, which teaches shapes best
LABELLED_SHARE = 0.2  # of the others; their paper ends near the digits
LIGHT_DIGITS = 0.2  # share of the plates that are lit whose digits are lighter than the paper
LIGHT_DIGITS_ON_LABELS = 0.5  # of those on labels: they vary as much and are rarer
LOWEST_DIGITS = 8.5  # pixels high after scaling
NARROWEST_ROW = 30  # pixels of all digits together after scaling
USUAL_HEIGHT = 16  # pixels of a digit that bears the usual damage
LOWEST_CONTRAST = 40  # grey levels between ink and paper

Box = tuple[int, int, int, int]  # left, top, right, bottom

# Coordinates of every pixel: in pixels, and from -1 to 1 along the longer side.
POINTS = points_of(*SIZE)
ACROSS, DOWN = np.moveaxis((2 * POINTS - SIZE + 1) / PLATE_WIDTH, -1, 0).astype(np.float32)


@dataclass(frozen=True)
class PlateAugmentation:
    """What training does to a batch of plates; processes can be given it.

    Args:
        blended_share: of the plates, redrawn in blended faces first.
        written_share: of the plates, written with a pen first.
        fonts: whose faces are blended.
    """

    font_interpolation_prob: float
    handwriting_prob: float
    fonts: Path | str = FONT_DIRECTORY

    def __call__(
        self, images: np.ndarray, texts: Sequence[str], random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distort plates, uint8 (n, 64, 128, 1); the same as `augment_batch` returns."""
        if self.font_interpolation_prob or self.handwriting_prob:
            images = _blender(self.fonts).redraw(
                images, texts, self.font_interpolation_prob, self.handwriting_prob, random
            )
        return augment_batch(images, random, len(texts[0]))


@lru_cache(maxsize=1)
def _blender(fonts: Path | str) -> FontInterpolator:
    return FontInterpolator(load_fonts(fonts))


def augment_batch(
    images: np.ndarray, random: np.random.Generator, digits: int = NUM_DIGITS
) -> tuple[np.ndarray, np.ndarray]:
    """Distort every plate of a batch in its own way.

    Args:
        images: clean plates, uint8 (n, 64, 128, 1).
        random: decides everything.
        digits: how many a plate shows.

    Returns:
        New plates of the same shape and dtype; and the boxes of their digits, int (n, 4).
    """
    distorted = np.empty_like(images)
    boxes = np.empty((len(images), 4), int)
    for row, image in enumerate(images):
        distorted[row, :, :, 0], boxes[row] = augment(image[:, :, 0], random, digits)
    return distorted, boxes


def augment(
    plate: np.ndarray, random: np.random.Generator, digits: int = NUM_DIGITS
) -> tuple[np.ndarray, Box]:
    """Distort one clean plate, uint8 (64, 128), into one of the same kind; and its digits' box."""
    clean = random.random() < CLEAN_SHARE
    inked = normalize_background(plate)
    if clean or inked.min() == 255:  # nothing to distort
        return plate, bounding_box(inked)
    inked, height = random_geometry(inked, random, digits)
    box = bounding_box(inked)
    light_digits = LIGHT_DIGITS
    if random.random() < LABELLED_SHARE:
        inked = add_label_background(inked, box, random)
        light_digits = LIGHT_DIGITS_ON_LABELS
    return random_photometry(inked, height, random, light_digits), box


def bounding_box(plate: np.ndarray) -> Box:
    """Where ink is on 255: left, top, right and bottom in pixels; the last two lie outside.

    Args:
        plate: uint8 (64, 128).
    """
    x, y, width, height = cv2.boundingRect((plate < FAINTEST).astype(np.uint8))
    return x, y, x + width, y + height


def normalize_background(plate: np.ndarray) -> np.ndarray:
    """Dark ink on 255, as plates are drawn, from ink on paper of any other grey.

    What follows takes all that is not 255 for ink.

    Args:
        plate: uint8 (64, 128); most of its border is paper.
    """
    border = border_pixels(plate)
    if border.min() == 255 or (paper := int(np.median(border))) == 255:
        return plate
    if int(plate.max()) - paper > paper - int(plate.min()):  # light digits
        plate, border, paper = 255 - plate, 255 - border, 255 - paper
    darkest = int(plate.min())
    grain = np.percentile(border, 5)  # noise of the paper is paper
    stretched = (plate - darkest) * (255 / max(grain - darkest, 1))
    white = to_gray(stretched)
    # The darkest grain is left; ink lies beside what is darker than any.
    beside_ink = cv2.dilate((white < 170).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(beside_ink, white, np.uint8(255))


def random_geometry(
    plate: np.ndarray, random: np.random.Generator, digits: int = NUM_DIGITS
) -> tuple[np.ndarray, float]:
    """Where the digits stand and how they are bent.

    Returns:
        The plate, and how high its digits are now, in pixels.
    """
    if random.random() < 0.3:
        plate = _respace(plate, random, digits)
    return _warp(plate, random)


def add_label_background(plate: np.ndarray, box: Box, random: np.random.Generator) -> np.ndarray:
    """The paper is a label, some with a line around it; beyond is another ground.

    Args:
        plate: ink on 255, uint8 (64, 128).
        box: of the digits.
        random: decides where the label ends and what is beyond.
    """
    left, top, right, bottom = box
    ends = random.integers((2, 2), (17, 10), (2, 2))  # pixels of paper beside, and above and below
    start = (left - int(ends[0, 0]), top - int(ends[0, 1]))
    end = (right - 1 + int(ends[1, 0]), bottom - 1 + int(ends[1, 1]))
    label = np.zeros_like(plate)
    cv2.rectangle(label, start, end, 255, -1)
    plate = np.where(label, plate, np.uint8(random.integers(0, 235)))
    if random.random() < 0.4:
        line = random.integers(0, 160)
        cv2.rectangle(plate, start, end, int(line), int(random.integers(1, 3)))
    return plate


def random_photometry(
    plate: np.ndarray,
    height: float,
    random: np.random.Generator,
    light_digits: float = LIGHT_DIGITS,
) -> np.ndarray:
    """Strokes, dirt, light, blur, noise and compression, as digits of this height bear it."""
    strength = min(height / USUAL_HEIGHT, 2.0)
    damaged = random.random() < DAMAGED_SHARE * strength  # small digits bear less, less often
    if damaged and random.random() < 0.25:
        plate = _change_stroke_weight(plate, random)
    if damaged and random.random() < 0.08:
        plate = _cut_gaps(plate, random)
    if damaged and random.random() < 0.2:
        plate = _add_dirt(plate, random)
    plate, contrast = _light(plate, random, light_digits)
    kind = random.random() if damaged else 1.0
    if kind < 0.35:
        plate = _blur(plate, strength, random)
    if 0.25 < kind < 0.7:
        both = 0.4 if kind < 0.35 else 1.0
        plate = _add_noise(plate, both * strength * contrast / 255, random)
    if random.random() < 0.15:
        plate = _compress(plate, random)
    return plate


def _respace(plate: np.ndarray, random: np.random.Generator, digits: int) -> np.ndarray:
    """Set the digits close or unevenly; plates whose digits overlap or break stay as they are."""
    inked = np.zeros(PLATE_WIDTH + 2, dtype=bool)
    inked[1:-1] = plate.min(axis=0) < 128
    edges = np.flatnonzero(inked[1:] != inked[:-1])
    if len(edges) != 2 * digits or edges[0] < 1 or edges[-1] >= PLATE_WIDTH:
        return plate
    starts, ends = edges[::2], edges[1::2]
    if random.random() < 0.7:
        gaps = np.full(digits - 1, random.integers(0, 3))
    else:
        gaps = np.maximum(starts[1:] - ends[:-1] + random.integers(-2, 3, digits - 1), 1)
    rises = random.integers(-1, 2, digits) * (random.random() < 0.3)
    width = (ends - starts).sum() + gaps.sum()
    if width > PLATE_WIDTH - 4:
        return plate
    spaced = np.full_like(plate, 255)
    x = max(2, min(starts[0], PLATE_WIDTH - 2 - width))
    for start, end, gap, rise in zip(starts, ends, [*gaps, 0], rises, strict=True):
        digit = plate[:, start - 1 : end + 1]  # with its soft edges
        if rise:
            digit = np.roll(digit, rise, axis=0)
        target = spaced[:, x - 1 : x + 1 + end - start]
        np.minimum(target, digit, out=target)
        x += end - start + gap
    return spaced


def _warp(plate: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, float]:
    """Scale, turn, slant, tilt, bend and move the digits, all in one resampling.

    Returns:
        The plate, and how high its digits are now, in pixels.
    """
    x, y, width, height = cv2.boundingRect(255 - plate)
    right, bottom = x + width, y + height
    box = np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float32)
    centre = np.add.reduce(box) / 4

    turn = math.radians(_within(random.normal(0, 3.5), 9))
    slant = _within(random.normal(0, 0.12), 0.35)
    uneven = np.exp(_within(random.normal(0, 0.13), 0.35))
    cosine, sine = np.cos(turn), np.sin(turn)
    shape = np.array([[cosine, -sine], [sine, cosine]]) @ [[uneven, slant], [0, 1 / uneven]]
    corners = (box - centre) @ shape.T
    corners *= 1 + random.uniform(-0.06, 0.06, corners.shape)  # perspective

    height /= uneven
    largest = float((SIZE / _extent(corners)).min())
    smallest = max(LOWEST_DIGITS / height, NARROWEST_ROW / (width * uneven))
    smallest = min(smallest, 0.99 * largest)
    scale = np.exp(random.uniform(np.log(smallest), np.log(largest)))
    corners *= scale
    free = np.maximum(SIZE - _extent(corners), 0)
    place = random.uniform(-0.15, 1.15, 2).clip(0, 1)  # a share at the very edges
    corners += place * free - np.minimum.reduce(corners)

    matrix = cv2.getPerspectiveTransform(box, corners.astype(np.float32))
    if random.random() < 0.25:
        warped = _warp_elastically(plate, matrix, random)
    else:
        warped = cv2.warpPerspective(plate, matrix, SIZE, flags=cv2.INTER_LINEAR, borderValue=255)
    if scale > 1.2 and random.random() < 0.7:
        # Enlarged strokes have soft edges; a face drawn at that size has sharp ones.
        warped = cv2.addWeighted(warped, scale, warped, 0, -127 * (scale - 1))
    return warped, height * scale


def _within(value: float, reach: float) -> float:
    """The nearest value that is not beyond this reach; NumPy takes ten times as long for one."""
    return max(-reach, min(value, reach))


def _extent(points: np.ndarray) -> np.ndarray:
    """Of points, (n, 2), from the first to the last along both axes."""
    return np.maximum.reduce(points) - np.minimum.reduce(points)


def _warp_elastically(
    plate: np.ndarray, matrix: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The warp with a smooth random displacement added: bent, uneven digits."""
    source = cv2.perspectiveTransform(POINTS, np.linalg.inv(matrix))
    grid = random.normal(0, random.uniform(0.3, 1.0), (5, 9, 2)).astype(np.float32)
    source = cv2.add(source, cv2.resize(grid, SIZE, interpolation=cv2.INTER_CUBIC))
    # The stub asks for a second map; OpenCV takes none where the first holds points.
    return cv2.remap(plate, source, None, cv2.INTER_LINEAR, borderValue=255)  # type: ignore[call-overload]


def _change_stroke_weight(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Thicker or thinner strokes; mixed with the plate, so that no hairline vanishes."""
    kernel = np.ones((2, 2) if random.random() < 0.7 else (3, 3), np.uint8)
    change = cv2.erode if random.random() < 0.5 else cv2.dilate  # eroding paper thickens ink
    share = random.uniform(0.3, 0.8)
    return cv2.addWeighted(change(plate, kernel), share, plate, 1 - share, 0)


def _cut_gaps(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One or two thin lines of paper across the digits, as stencils and scratches have."""
    plate = plate.copy()
    for _ in range(random.integers(1, 3)):
        start, end = random.uniform(0, 1, (2, 2)) * SIZE
        if random.random() < 0.5:  # level, through all digits
            start[0], end[0], end[1] = 0, PLATE_WIDTH, start[1]
        cv2.line(plate, start.astype(int).tolist(), end.astype(int).tolist(), 255, 1)
    return plate


def _add_dirt(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Dark specks and scratches, some of them over the digits."""
    plate = plate.copy()
    for x, y in random.integers(0, SIZE, (random.integers(3, 40), 2)).tolist():
        cv2.circle(plate, (x, y), int(random.integers(0, 2)), int(random.integers(0, 160)), -1)
    for _ in range(random.integers(0, 4)):
        x, y = random.integers(0, SIZE).tolist()
        length, angle = random.uniform(8, 50), random.uniform(0, 2 * np.pi)
        end = int(x + length * np.cos(angle)), int(y + length * np.sin(angle))
        cv2.line(plate, (x, y), end, int(random.integers(0, 160)), 1, cv2.LINE_AA)
    return plate


def _light(
    plate: np.ndarray, random: np.random.Generator, light_digits: float
) -> tuple[np.ndarray, float]:
    """Grey levels of ink and paper, inversion, and a gradient or the edge of a shadow.

    Returns:
        The plate, and the grey levels between its ink and its paper where they are fewest.
    """
    contrast = 255.0
    if random.random() < 0.3:
        return plate, contrast
    if random.random() < 0.6:
        contrast = random.uniform(LOWEST_CONTRAST, 255)
    dark = random.uniform(0, 255 - contrast)
    lit = plate.astype(np.float32)
    lit *= contrast / 255
    lit += dark
    if random.random() < light_digits:
        lit = 2 * dark + contrast - lit
    kind = random.random()
    if kind < 0.2:
        slope = random.normal(0, contrast / 4, 2).astype(np.float32)
        lit += slope[0] * ACROSS + slope[1] * DOWN
    elif kind < 0.4:
        angle = random.uniform(0, 2 * np.pi)
        light = np.cos(angle) * ACROSS  # first the distance from the edge
        light += np.sin(angle) * DOWN
        light += random.uniform(-0.8, 0.8)
        shade = random.uniform(0.25, 0.8)
        light *= random.uniform(1, 12)
        light += 0.5
        light.clip(0, 1, out=light)
        light *= 1 - shade
        light += shade
        lit *= light
        contrast *= shade
    return to_gray(lit), contrast


def _blur(plate: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Out of focus, of few pixels, or moved while the shutter was open."""
    kind = random.random()
    if kind < 0.55:
        return cv2.GaussianBlur(plate, (0, 0), random.uniform(0.3, 0.3 + 1.1 * strength))
    if kind < 0.7:
        share = max(1 / random.uniform(1.2, 1.2 + 1.2 * strength), 0.3)
        few = cv2.resize(plate, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        way = cv2.INTER_NEAREST if random.random() < 0.5 else cv2.INTER_LINEAR
        return cv2.resize(few, SIZE, interpolation=way)
    length = int(random.integers(3, 4 + int(4 * strength)))
    kernel = np.zeros((length, length), np.float32)
    cosine, sine = np.cos(angle := random.uniform(0, np.pi)), np.sin(angle)
    reach = (length - 1) / 2 * np.array([cosine, sine])
    start, end = (tuple(map(round, (length - 1) / 2 + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(plate, -1, kernel / kernel.sum())


def _add_noise(plate: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Sensor noise, or single pixels gone black or white."""
    strength = min(strength, 1.3)
    kind = random.random()
    if kind < 0.7:
        deviation = random.uniform(2, max(65 * strength, 3))
        noise = random.standard_normal(plate.shape, np.float32) * deviation
        if kind < 0.25:  # shot noise: strong where there is light
            noise *= np.sqrt(plate / np.float32(255))
        noise += plate
        return to_gray(noise)
    chance = random.random(plate.shape, np.float32)
    share = random.uniform(0.002, max(0.06 * strength, 0.004))
    plate = plate.copy()
    plate[chance < share] = 0
    plate[chance > 1 - share] = 255
    return plate


def _compress(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The blocks and ringing of JPEG."""
    quality = int(random.integers(15, 90))
    _, encoded = cv2.imencode(".jpg", plate, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
