"""Training-time distortions: a clean plate -> the same number as a camera might see it.

One warp moves, scales, turns, slants and bends the plate; then come stroke weight, gaps, light,
blur, noise and compression, each on a share of the plates. Everything is drawn from one generator,
so a batch is a pure function of its seed. OpenCV does the work: the whole chain costs about as
much as one of Keras' preprocessing layers.
"""

import cv2
import numpy as np

from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH

CLEAN_SHARE = 0.1  # of the plates stays as it is
EDGE = 2  # background pixels kept between the digits' box and the frame
SMALLEST_SCALE = 0.75
LOWEST_CONTRAST = 40  # grey levels between ink and paper


def augment_batch(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Distort every plate of a batch in its own way.

    Args:
        images: clean plates, uint8 (n, 64, 128, 1).
        random: decides everything.

    Returns:
        A new array of the same shape and dtype.
    """
    distorted = np.empty_like(images)
    for row, image in enumerate(images):
        distorted[row, :, :, 0] = augment(image[:, :, 0], random)
    return distorted


def augment(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Distort one clean plate, uint8 (64, 128) with dark ink on 255, into one of the same kind."""
    if random.random() < CLEAN_SHARE:
        return plate
    plate = _warp(plate, random)
    if random.random() < 0.25:
        plate = _change_stroke_weight(plate, random)
    if random.random() < 0.08:
        plate = _cut_gaps(plate, random)
    plate = _light(plate, random)
    if random.random() < 0.35:
        plate = _blur(plate, random)
    if random.random() < 0.4:
        plate = _add_noise(plate, random)
    if random.random() < 0.2:
        plate = _compress(plate, random)
    return plate


def _warp(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Scale, turn, slant, tilt, bend and move the digits, all in one resampling."""
    ink = cv2.boundingRect(255 - plate)
    x, y, width, height = ink
    box = np.float32([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    centre = box.mean(axis=0)

    turn = np.deg2rad(np.clip(random.normal(0, 3), -8, 8))
    slant = np.clip(random.normal(0, 0.12), -0.35, 0.35)
    uneven = np.exp(random.normal(0, 0.12))
    cosine, sine = np.cos(turn), np.sin(turn)
    shape = np.array([[cosine, -sine], [sine, cosine]]) @ [[uneven, slant], [0, 1 / uneven]]
    corners = (box - centre) @ shape.T
    corners *= 1 + random.uniform(-0.06, 0.06, corners.shape)  # perspective

    size = np.ptp(corners, axis=0)
    largest = ((PLATE_WIDTH, PLATE_HEIGHT) - np.array(2 * EDGE)) / size
    largest = max(largest.min(), 1e-3)
    smallest = min(SMALLEST_SCALE, largest)
    # Most plates a little larger or smaller, some as large as the frame allows.
    scale = np.exp(random.uniform(np.log(smallest), np.log(largest)))
    corners *= scale
    free = (PLATE_WIDTH, PLATE_HEIGHT) - np.ptp(corners, axis=0) - 2 * EDGE
    corners += EDGE + random.uniform(0, 1, 2) * np.maximum(free, 0) - corners.min(axis=0)

    matrix = cv2.getPerspectiveTransform(box, corners.astype(np.float32))
    frame = (PLATE_WIDTH, PLATE_HEIGHT)
    if random.random() < 0.25:
        warped = _warp_elastically(plate, matrix, random)
    else:
        warped = cv2.warpPerspective(plate, matrix, frame, flags=cv2.INTER_LINEAR, borderValue=255)
    if scale > 1.2 and random.random() < 0.7:
        # Enlarged strokes have soft edges; a face drawn at that size has sharp ones.
        warped = cv2.convertScaleAbs(
            np.clip(warped.astype(np.float32) * scale - 127 * (scale - 1), 0, 255)
        )
    return warped


def _warp_elastically(
    plate: np.ndarray, matrix: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The warp with a smooth random displacement added: bent, uneven digits."""
    columns, rows = np.meshgrid(np.arange(PLATE_WIDTH), np.arange(PLATE_HEIGHT))
    points = np.stack([columns, rows], axis=-1).astype(np.float32)
    source = cv2.perspectiveTransform(points, np.linalg.inv(matrix))
    grid = random.normal(0, random.uniform(0.3, 1.0), (5, 9, 2)).astype(np.float32)
    source += cv2.resize(grid, (PLATE_WIDTH, PLATE_HEIGHT), interpolation=cv2.INTER_CUBIC)
    return cv2.remap(plate, source, None, cv2.INTER_LINEAR, borderValue=255)


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
        start, end = random.uniform(0, 1, (2, 2)) * (PLATE_WIDTH, PLATE_HEIGHT)
        if random.random() < 0.5:  # level, through all digits
            start[0], end[0], end[1] = 0, PLATE_WIDTH, start[1]
        points = [tuple(map(int, point)) for point in (start, end)]
        cv2.line(plate, *points, color=255, thickness=1)
    return plate


def _light(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Grey levels of ink and paper, inversion, and a gradient across the plate."""
    if random.random() < 0.3:
        return plate
    contrast = random.uniform(LOWEST_CONTRAST, 255)
    dark = random.uniform(0, 255 - contrast)
    lit = plate.astype(np.float32) * (contrast / 255) + dark
    if random.random() < 0.2:
        lit = 2 * dark + contrast - lit
    if random.random() < 0.3:
        across = np.linspace(-1, 1, PLATE_WIDTH, dtype=np.float32)
        down = np.linspace(-1, 1, PLATE_HEIGHT, dtype=np.float32)[:, None]
        slope = random.normal(0, contrast / 5, 2).astype(np.float32)
        lit += slope[0] * across + slope[1] * down
    return np.clip(lit, 0, 255).astype(np.uint8)


def _blur(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Out of focus, or moved while the shutter was open."""
    if random.random() < 0.7:
        return cv2.GaussianBlur(plate, (0, 0), random.uniform(0.3, 1.4))
    length = int(random.integers(3, 6))
    kernel = np.zeros((length, length), np.float32)
    cosine, sine = np.cos(angle := random.uniform(0, np.pi)), np.sin(angle)
    reach = (length - 1) / 2 * np.array([cosine, sine])
    ends = [tuple(map(round, (length - 1) / 2 + sign * reach)) for sign in (-1, 1)]
    cv2.line(kernel, *ends, color=1.0)
    return cv2.filter2D(plate, -1, kernel / kernel.sum())


def _add_noise(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Sensor noise, or single pixels gone black or white."""
    if random.random() < 0.75:
        noise = random.standard_normal(plate.shape, np.float32) * random.uniform(2, 22)
        return np.clip(plate + noise, 0, 255).astype(np.uint8)
    chance = random.random(plate.shape, np.float32)
    share = random.uniform(0.002, 0.03)
    plate = plate.copy()
    plate[chance < share] = 0
    plate[chance > 1 - share] = 255
    return plate


def _compress(plate: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The blocks and ringing of JPEG."""
    quality = int(random.integers(20, 90))
    _, encoded = cv2.imencode(".jpg", plate, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
