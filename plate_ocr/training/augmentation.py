"""Data augmentation: a clean plate -> the same text as a camera might see it.

First the geometry: spacing, and one perspective warp. Then a panel, stroke weight, cuts, dirt,
lighting, blur, noise and compression, each on a fraction of the plates. Low or faint digits
are corrupted less, so that a person can still read every plate. The box of the digits is known
from the geometry. A plate depends on its seed alone, not on its batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import PLATE_SIZE, PLATE_WIDTH
from plate_ocr.training.styles import load_style
from plate_ocr.training.styles.row import INK_THRESHOLD, Drawing, pixel_grid, to_uint8
from plate_ocr.training.styles.surroundings import add_surroundings, crop_strip

cv2.setNumThreads(1)  # a plate is too small to be split among threads

P_CLEAN = 0.1  # nothing is changed
P_CORRUPT = 0.65  # of the others; the rest gets geometry and lighting only, which teaches shapes
P_PANEL = 0.2  # of the others; the background ends near the digits
P_INVERT = 0.2  # light digits on a dark background
P_INVERT_ON_PANEL = 0.5  # higher, because panels are rarer and vary as much
MIN_DIGIT_HEIGHT = 8.5  # pixels after scaling
MIN_TEXT_WIDTH = 30  # pixels after scaling
REFERENCE_HEIGHT = 16  # pixels of a digit that gets corruptions of strength 1
MIN_CONTRAST = 40  # gray levels between ink and background
MIN_CONTRAST_IN_SURROUNDINGS = 120  # of 255, because drawings use fewer levels
HEIGHT_IN_SURROUNDINGS = 0.5  # digits there are corrupted like ones of this fraction of the height
MIN_FILL_IN_SURROUNDINGS = 0.5  # of the plate by the digits, as in photographs cut to them
P_MORPHOLOGY, P_CUTS, P_SPECKS, P_SHARPEN = 0.25, 0.08, 0.2, 0.12  # of corrupted plates
P_COMPRESS = 0.15  # of all
P_STRIP = 0.3  # of plates with surroundings; they fill the width only, as after `letterbox`

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two lie outside

# Pixel coordinates from -1 to 1 along the longer side.
X, Y = np.moveaxis((2 * pixel_grid(*PLATE_SIZE) - PLATE_SIZE + 1) / PLATE_WIDTH, -1, 0).astype(
    np.float32
)


@dataclass(frozen=True)
class PlateAugmentation:
    """Augments batches of plates; can be sent to other processes."""

    styles: Mapping[str, float]  # of `STYLES`: probability of a plate to be drawn anew in it first
    surroundings_prob: float = 0.0  # of a plate to get rules, textures and other marks
    fonts: Path | str = FONT_DIRECTORY  # that the styles draw with

    def __call__(
        self, images: np.ndarray, texts: Sequence[str], seeds: Iterable[int | Sequence[int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment clean plates, uint8 (n, 64, 128, 1), each by the random numbers of its seed.

        Returns:
            The augmented plates, uint8 (n, 64, 128, 1), and the boxes of their digits, int (n, 4).
        """
        generators = map(np.random.default_rng, seeds)
        pairs = [
            augment(self._draw(image, text, rng), rng, len(text))
            for image, text, rng in zip(images[..., 0], texts, generators, strict=True)
        ]
        plates, boxes = map(np.stack, zip(*pairs, strict=True))
        return plates[..., None], boxes

    def _draw(self, image: np.ndarray, text: str, rng: np.random.Generator) -> Drawing:
        """The plate itself, or its text in a style; with or without surroundings."""
        value = rng.random()
        for style, probability in self.styles.items():
            value -= probability
            if value < 0:
                drawing = load_style(style, self.fonts)(text, rng)
                break
        else:
            drawing = Drawing(image, normalize_background(image))
        surrounded = rng.random() < self.surroundings_prob
        if surrounded and np.median(border_pixels(drawing.plate)) == 255:  # on white
            drawing = add_surroundings(drawing, rng, len(text))
        return drawing


def augment(
    drawing: Drawing, rng: np.random.Generator, digits: int = NUM_DIGITS
) -> tuple[np.ndarray, Box]:
    """Augment one drawing; returns the plate, uint8 (64, 128), and the box of its digits."""
    if rng.random() < P_CLEAN or drawing.ink.min() == 255:  # a blank plate stays blank
        return drawing.plate, bounding_box(drawing.ink)
    plate, ink, height = random_geometry(drawing, rng, digits)
    box = bounding_box(ink)
    if drawing.has_surroundings:
        if rng.random() < P_STRIP:
            plate = crop_strip(plate, box, rng)
        height *= HEIGHT_IN_SURROUNDINGS
        return random_photometry(plate, height, rng, P_INVERT, MIN_CONTRAST_IN_SURROUNDINGS), box
    if rng.random() < P_PANEL:
        plate = add_panel(plate, box, rng)
        return random_photometry(plate, height, rng, P_INVERT_ON_PANEL), box
    return random_photometry(plate, height, rng), box


def digit_boxes(images: np.ndarray) -> np.ndarray:
    """The boxes of the digits of clean plates, uint8 (n, 64, 128, 1) -> int (n, 4)."""
    return np.array([bounding_box(normalize_background(image)) for image in images[..., 0]])


def bounding_box(plate: np.ndarray) -> Box:
    """The box of dark ink on 255, uint8 (64, 128)."""
    x, y, width, height = cv2.boundingRect((plate < INK_THRESHOLD).astype(np.uint8))
    return x, y, x + width, y + height


def normalize_background(plate: np.ndarray) -> np.ndarray:
    """Dark ink on 255, as plates are drawn, from ink on a background of any other gray.

    Later steps treat every pixel below 255 as ink. Most of the border must be background.
    """
    border = border_pixels(plate)
    if border.min() == 255 or (background := int(np.median(border))) == 255:
        return plate
    if int(plate.max()) - background > background - int(plate.min()):  # light digits
        plate, border = 255 - plate, 255 - border
    darkest = int(plate.min())
    brightest_noise = np.percentile(border, 5)  # darker pixels of the background are noise too
    stretched = to_uint8((plate - darkest) * (255 / max(brightest_noise - darkest, 1)))
    # Isolated dark pixels are left; ink lies beside what is darker than any noise.
    near_ink = cv2.dilate((stretched < 170).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(near_ink, stretched, np.uint8(255))


def random_geometry(
    drawing: Drawing, rng: np.random.Generator, digits: int = NUM_DIGITS
) -> tuple[np.ndarray, np.ndarray, float]:
    """Space, scale, rotate, slant, tilt, bend and move the digits with their surroundings.

    Returns:
        The plate and the ink of its digits, uint8 (64, 128), and the digits' height in pixels.
    """
    ink = drawing.ink
    if not drawing.has_surroundings and rng.random() < 0.3:
        ink = _jitter_spacing(ink, rng, digits)
    x, y, width, height = cv2.boundingRect(255 - ink)
    right, bottom = x + width, y + height
    box = np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float32)
    corners, stretch = _distort_corners(box, rng)
    size = width * stretch, height / stretch
    min_fill = MIN_FILL_IN_SURROUNDINGS if drawing.has_surroundings else 0.0
    corners, scale = _scale_and_place(corners, size, min_fill, rng)
    matrix = cv2.getPerspectiveTransform(box, corners.astype(np.float32))
    source = _source_of_pixels(matrix, rng) if rng.random() < 0.25 else None
    sharpening = scale if scale > 1.2 and rng.random() < 0.7 else 1.0
    ink = plate = _warp(ink, matrix, source, sharpening, background=255)
    if drawing.has_surroundings:
        background = int(np.median(border_pixels(drawing.plate)))
        plate = _warp(drawing.plate, matrix, source, 1.0, background)
    return plate, ink, size[1] * scale


def add_panel(plate: np.ndarray, box: Box, rng: np.random.Generator) -> np.ndarray:
    """Put the digits, dark ink on 255, on a panel, some framed, in front of another gray."""
    left, top, right, bottom = box
    margins = rng.integers((2, 2), (17, 10), (2, 2)).tolist()  # x, y of the start and of the end
    start = (left - margins[0][0], top - margins[0][1])
    end = (right - 1 + margins[1][0], bottom - 1 + margins[1][1])
    panel = np.zeros_like(plate)
    cv2.rectangle(panel, start, end, 255, -1)
    plate = np.where(panel, plate, np.uint8(rng.integers(0, 235)))
    if rng.random() < 0.4:
        gray = int(rng.integers(0, 160))
        cv2.rectangle(plate, start, end, gray, int(rng.integers(1, 3)))
    return plate


def random_photometry(
    plate: np.ndarray,
    height: float,
    rng: np.random.Generator,
    p_invert: float = P_INVERT,
    min_contrast: float = MIN_CONTRAST,
) -> np.ndarray:
    """Change strokes, dirt, lighting, blur, noise and compression of dark ink, uint8 (64, 128).

    `height` is that of the digits in pixels: lower ones get fewer and weaker corruptions.
    """
    strength = min(height / REFERENCE_HEIGHT, 2.0)
    corrupt = rng.random() < P_CORRUPT * strength
    if corrupt and rng.random() < P_MORPHOLOGY:
        plate = _random_morphology(plate, rng)
    if corrupt and rng.random() < P_CUTS:
        plate = _random_cuts(plate, rng)
    if corrupt and rng.random() < P_SPECKS:
        plate = _add_specks_and_scratches(plate, rng)
    plate, contrast = _random_lighting(plate, rng, p_invert, min_contrast)
    kind = rng.random() if corrupt else 1.0  # below 0.35 blur, from 0.25 to 0.7 noise: some both
    if kind < 0.35:
        plate = _random_blur(plate, strength, rng)
    if corrupt and rng.random() < P_SHARPEN:
        plate = _sharpen(plate, rng)
    if 0.25 < kind < 0.7:
        with_blur = 0.4 if kind < 0.35 else 1.0
        plate = _add_noise(plate, with_blur * strength * contrast / 255, rng)
    if rng.random() < P_COMPRESS:
        plate = _compress(plate, rng)
    return plate


def _jitter_spacing(plate: np.ndarray, rng: np.random.Generator, digits: int) -> np.ndarray:
    """Set the digits closer or unevenly, unless they overlap or break."""
    ink_columns = np.pad(plate.min(axis=0) < 128, 1)
    edges = np.flatnonzero(ink_columns[1:] != ink_columns[:-1])
    if len(edges) != 2 * digits or edges[0] < 1 or edges[-1] >= PLATE_WIDTH:
        return plate
    starts, ends = edges[::2], edges[1::2]
    if rng.random() < 0.7:
        gaps = np.full(digits - 1, rng.integers(0, 3))
    else:
        gaps = np.maximum(starts[1:] - ends[:-1] + rng.integers(-2, 3, digits - 1), 1)
    shifts = rng.integers(-1, 2, digits) * (rng.random() < 0.3)  # up or down
    width = (ends - starts).sum() + gaps.sum()
    if width > PLATE_WIDTH - 4:
        return plate
    spaced = np.full_like(plate, 255)
    x = max(2, min(starts[0], PLATE_WIDTH - 2 - width))
    for start, end, gap, shift in zip(starts, ends, [*gaps, 0], shifts, strict=True):
        digit = np.roll(plate[:, start - 1 : end + 1], shift, axis=0)  # with its soft edges
        target = spaced[:, x - 1 : x + 1 + end - start]
        np.minimum(target, digit, out=target)
        x += end - start + gap
    return spaced


def _distort_corners(box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Rotate, slant, stretch and tilt a box; corners (4, 2) and the stretch of its width."""
    angle = math.radians(np.clip(rng.normal(0, 3.5), -9, 9))
    slant = np.clip(rng.normal(0, 0.12), -0.35, 0.35)
    stretch = np.exp(np.clip(rng.normal(0, 0.13), -0.35, 0.35))
    cosine, sine = np.cos(angle), np.sin(angle)
    shape = np.array([[cosine, -sine], [sine, cosine]]) @ [[stretch, slant], [0, 1 / stretch]]
    corners = (box - box.mean(axis=0)) @ shape.T
    return corners * (1 + rng.uniform(-0.06, 0.06, corners.shape)), stretch  # perspective


def _scale_and_place(
    corners: np.ndarray, size: tuple[float, float], min_fill: float, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Scale the corners (4, 2) of a text of this width and height, and place them in the plate.

    The text stays legible, and fills `min_fill` of the plate or more. Returns also the scale.
    """
    width, height = size
    max_scale = (PLATE_SIZE / np.ptp(corners, axis=0)).min()
    min_scale = max(MIN_DIGIT_HEIGHT / height, MIN_TEXT_WIDTH / width, min_fill * max_scale)
    scale = np.exp(rng.uniform(np.log(min(min_scale, 0.99 * max_scale)), np.log(max_scale)))
    corners = corners * scale
    free = np.maximum(PLATE_SIZE - np.ptp(corners, axis=0), 0)
    position = rng.uniform(-0.15, 1.15, 2).clip(0, 1)  # some touch the edges of the plate
    return corners + (position * free - corners.min(axis=0)), scale


def _source_of_pixels(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where every pixel comes from: the perspective warp with a smooth random displacement."""
    source = cv2.perspectiveTransform(pixel_grid(*PLATE_SIZE), np.linalg.inv(matrix))
    grid = rng.normal(0, rng.uniform(0.3, 1.0), (5, 9, 2)).astype(np.float32)
    return source + cv2.resize(grid, PLATE_SIZE, interpolation=cv2.INTER_CUBIC)


def _warp(
    image: np.ndarray,
    matrix: np.ndarray,
    source: np.ndarray | None,
    sharpening: float,
    background: int,
) -> np.ndarray:
    """Warp by the source of every pixel, or else by a perspective matrix."""
    if source is None:
        warped = cv2.warpPerspective(image, matrix, PLATE_SIZE, borderValue=background)
    else:
        # The stub asks for a second map; OpenCV takes none where the first holds points.
        warped = cv2.remap(image, source, None, cv2.INTER_LINEAR, borderValue=background)  # type: ignore[call-overload]
    if sharpening > 1:
        # Enlarged strokes have soft edges; digits drawn at that size have sharp ones.
        warped = cv2.addWeighted(warped, sharpening, warped, 0, -127 * (sharpening - 1))
    return warped


def _random_morphology(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thicker or thinner strokes, blended with the plate, so that no hairline vanishes."""
    kernel = np.ones((2, 2) if rng.random() < 0.7 else (3, 3), np.uint8)
    operation = cv2.erode if rng.random() < 0.5 else cv2.dilate  # eroding white thickens ink
    weight = rng.uniform(0.3, 0.8)
    return cv2.addWeighted(operation(plate, kernel), weight, plate, 1 - weight, 0)


def _random_cuts(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two thin white lines across the digits, as stencils and scratches have."""
    plate = plate.copy()
    for _ in range(rng.integers(1, 3)):
        start, end = rng.uniform(0, 1, (2, 2)) * PLATE_SIZE
        if rng.random() < 0.5:  # horizontal, through all digits
            start[0], end[0], end[1] = 0, PLATE_WIDTH, start[1]
        cv2.line(plate, start.astype(int).tolist(), end.astype(int).tolist(), 255, 1)
    return plate


def _add_specks_and_scratches(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    plate = plate.copy()
    for center in rng.integers(0, PLATE_SIZE, (rng.integers(3, 40), 2)).tolist():
        cv2.circle(plate, center, int(rng.integers(0, 2)), int(rng.integers(0, 160)), -1)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, PLATE_SIZE).tolist()
        length, angle = rng.uniform(8, 50), rng.uniform(0, 2 * np.pi)
        end = int(x + length * np.cos(angle)), int(y + length * np.sin(angle))
        cv2.line(plate, (x, y), end, int(rng.integers(0, 160)), 1, cv2.LINE_AA)
    return plate


def _random_lighting(
    plate: np.ndarray, rng: np.random.Generator, p_invert: float, min_contrast: float
) -> tuple[np.ndarray, float]:
    """Change gray levels and polarity, add a gradient or a shadow; returns also the contrast."""
    contrast = 255.0
    if rng.random() < 0.3:
        return plate, contrast
    if rng.random() < 0.6:
        contrast = rng.uniform(min_contrast, 255)
    darkest = rng.uniform(0, 255 - contrast)
    lit = plate * np.float32(contrast / 255) + np.float32(darkest)
    if rng.random() < p_invert:
        lit = 2 * darkest + contrast - lit
    kind = rng.random()
    if kind < 0.2:
        slope = rng.normal(0, contrast / 4, 2).astype(np.float32)
        lit += slope[0] * X + slope[1] * Y
    elif kind < 0.4:
        angle = rng.uniform(0, 2 * np.pi)
        distance = np.cos(angle) * X + np.sin(angle) * Y + rng.uniform(-0.8, 0.8)  # from the edge
        shade = rng.uniform(0.25, 0.8)
        light = (distance * rng.uniform(1, 12) + 0.5).clip(0, 1)
        lit *= light * (1 - shade) + shade
        contrast *= shade
    elif kind < 0.6:  # a highlight or a local shadow
        center, radii = rng.uniform((-1, -0.5), (1, 0.5)), rng.uniform(0.1, 0.8, 2)
        spot = np.exp(-(((X - center[0]) / radii[0]) ** 2) - ((Y - center[1]) / radii[1]) ** 2)
        amount = rng.uniform(0.1, 0.4)
        lit += amount * spot * ((255 if rng.random() < 0.6 else 0) - lit)
        contrast *= 1 - amount
    elif kind < 0.65:  # vignetting
        lit *= 1 - rng.uniform(0.1, 0.5) * (X**2 + Y**2)
    return to_uint8(lit), contrast


def _random_blur(plate: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Defocus, low resolution, or motion."""
    kind = rng.random()
    if kind < 0.55:
        return cv2.GaussianBlur(plate, (0, 0), rng.uniform(0.3, 0.3 + 1.1 * strength))
    if kind < 0.7:
        factor = max(1 / rng.uniform(1.2, 1.2 + 1.2 * strength), 0.3)
        small = cv2.resize(plate, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        interpolation = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_LANCZOS4)[rng.integers(3)]
        return cv2.resize(small, PLATE_SIZE, interpolation=interpolation)
    if kind < 0.73:  # every second row of an interlaced video shows another moment
        plate = plate.copy()
        plate[1::2] = np.roll(plate[1::2], rng.integers(1, 2 + int(strength)), axis=1)
        return plate
    length = int(rng.integers(3, 4 + int(4 * strength)))
    angle = rng.uniform(0, np.pi)
    center = (length - 1) / 2
    reach = center * np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((length, length), np.float32)
    start, end = (tuple(map(round, center + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(plate, -1, kernel / kernel.sum())


def _sharpen(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The halos of unsharp masking."""
    amount = rng.uniform(0.5, 2.5)
    soft = cv2.GaussianBlur(plate, (0, 0), rng.uniform(0.6, 2))
    return cv2.addWeighted(plate, 1 + amount, soft, -amount, 0)


def _add_noise(plate: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian, shot, or salt-and-pepper noise."""
    strength = min(strength, 1.3)
    kind = rng.random()
    if kind < 0.7:
        deviation = rng.uniform(2, max(65 * strength, 3))
        noise = rng.standard_normal(plate.shape, np.float32) * deviation
        if kind < 0.25:  # shot noise: stronger where there is more light
            noise *= np.sqrt(plate / np.float32(255))
        return to_uint8(plate + noise)
    values = rng.random(plate.shape, np.float32)
    fraction = rng.uniform(0.002, max(0.06 * strength, 0.004))
    plate = plate.copy()
    plate[values < fraction] = 0
    plate[values > 1 - fraction] = 255
    return plate


def _compress(plate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The blocks and ringing of JPEG; many photographs are larger, and reduced afterwards."""
    quality = int(rng.integers(15, 90))
    scale = rng.uniform(1, 2) if rng.random() < 0.5 else 1.0
    photograph = cv2.resize(plate, None, fx=scale, fy=scale)
    _, encoded = cv2.imencode(".jpg", photograph, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
    return cv2.resize(decoded, PLATE_SIZE, interpolation=cv2.INTER_AREA)
