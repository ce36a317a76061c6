"""Fifteen corruptions at five severities, for black digits on white.

After ImageNet-C (Hendrycks and Dietterich 2019). Each takes the plate as floats (0 ink, 1
background), its strength from the table below and a generator, and returns floats. At severity 5
a person still reads nearly every plate.
"""

from collections.abc import Callable

import cv2
import numpy as np

Array = np.ndarray
Generator = np.random.Generator


def _filter(plate: Array, kernel: Array) -> Array:
    return cv2.filter2D(plate, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _reduce_contrast(plate: Array) -> Array:
    """Dark gray on light gray, so that noise shows on both."""
    return 0.12 + 0.76 * plate


def gaussian_noise(plate: Array, sigma: float, rng: Generator) -> Array:
    """Sensor noise, equal everywhere."""
    return _reduce_contrast(plate) + rng.normal(0, sigma, plate.shape)


def shot_noise(plate: Array, photons: float, rng: Generator) -> Array:
    """Few photons: noise that grows with the light."""
    return rng.poisson(_reduce_contrast(plate) * photons) / photons


def impulse_noise(plate: Array, fraction: float, rng: Generator) -> Array:
    """Some pixels replaced by black or white."""
    replaced = rng.random(plate.shape) < fraction
    return np.where(replaced, rng.integers(2, size=plate.shape), plate)


def defocus_blur(plate: Array, radius: float, rng: Generator) -> Array:
    """A lens out of focus: a disc, drawn eight times as large and reduced."""
    side = 2 * int(np.ceil(radius)) + 1
    y, x = np.mgrid[: 8 * side, : 8 * side] - (8 * side - 1) / 2
    disc = (np.hypot(x, y) <= 8 * radius + 2).astype(np.float64)
    return _filter(plate, disc.reshape(side, 8, side, 8).mean((1, 3)))


def gaussian_blur(plate: Array, sigma: float, rng: Generator) -> Array:
    """A soft image."""
    return cv2.GaussianBlur(plate, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def motion_blur(plate: Array, length: float, rng: Generator) -> Array:
    """The camera moves along a line while the shutter is open."""
    angle, kernel = rng.uniform(0, np.pi), np.zeros((11, 11))
    for step in np.linspace(-length / 2, length / 2, 64):
        x, y = 5 + step * np.cos(angle), 5 + step * np.sin(angle)
        column, row = int(x), int(y)
        right, down = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer((1 - down, down), (1 - right, right))
    return _filter(plate, kernel)


def zoom_blur(plate: Array, reach: float, rng: Generator) -> Array:
    """The camera comes nearer while the shutter is open."""
    rows, columns = plate.shape
    zoomed, center = [], ((columns - 1) / 2, (rows - 1) / 2)
    for factor in np.linspace(1 - reach, 1, 13):
        matrix, border = cv2.getRotationMatrix2D(center, 0, factor), cv2.BORDER_REPLICATE
        zoomed.append(cv2.warpAffine(plate, matrix, (columns, rows), borderMode=border))
    return np.mean(zoomed, 0)


def low_contrast(plate: Array, difference: float, rng: Generator) -> Array:
    """Little contrast, around any gray level."""
    return rng.uniform(0, 1 - difference) + difference * plate


def brightness(plate: Array, shift: float, rng: Generator) -> Array:
    """Too bright or too dark; values out of range are clipped."""
    return plate + (shift if rng.random() < 0.5 else -shift)


def shadow(plate: Array, factor: float, rng: Generator) -> Array:
    """Light that falls off to one side, and the edge of a shadow across the plate."""
    rows, columns = plate.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)

    def along(angle: float) -> Array:
        line = x * np.cos(angle) + y * np.sin(angle)
        return (line - line.min()) / (line.max() - line.min())

    fall = along(rng.uniform(0, 2 * np.pi))
    edge = along(rng.uniform(0, 2 * np.pi)) - rng.uniform(0.3, 0.7)
    covered = 1 / (1 + np.exp(-edge / rng.uniform(0.005, 0.05)))
    return plate * factor ** (0.5 * fall + 0.5 * covered)


def inversion(plate: Array, difference: float, rng: Generator) -> Array:
    """Light digits on a darker background."""
    return rng.uniform(0, 1 - difference) + difference * (1 - plate)


def dirt(plate: Array, amount: float, rng: Generator) -> Array:
    """White scratches, dark hairs and specks over the digits."""
    rows, columns = plate.shape
    ys, xs = np.nonzero(plate < 0.5)
    image = np.clip(plate * 255, 0, 255).astype(np.uint8)
    for _ in range(round(amount)):  # coordinates are sixteenths of a pixel
        index, angle = rng.integers(len(xs)), rng.uniform(0, np.pi)
        x, y, reach = 16 * int(xs[index]), 16 * int(ys[index]), 16 * rng.uniform(6, 40)
        right, down = int(reach * np.cos(angle)), int(reach * np.sin(angle))
        gray = 255 if rng.random() < 0.5 else int(rng.integers(0, 120))
        ends = (x - right, y - down), (x + right, y + down)
        cv2.line(image, *ends, gray, 1, cv2.LINE_AA, shift=4)
    for _ in range(round(4 * amount)):
        center = int(rng.uniform(0, 16 * columns)), int(rng.uniform(0, 16 * rows))
        radius, gray = int(16 * rng.uniform(0.4, 1.4)), int(rng.integers(0, 160))
        cv2.circle(image, center, radius, gray, cv2.FILLED, cv2.LINE_AA, shift=4)
    return image / 255


def jpeg(plate: Array, quality: float, rng: Generator) -> Array:
    """Strong compression."""
    image = np.clip(plate * 255, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(code, cv2.IMREAD_GRAYSCALE) / 255


def pixelation(plate: Array, factor: float, rng: Generator) -> Array:
    """Low resolution, enlarged again."""
    rows, columns = plate.shape
    size = round(columns * factor), round(rows * factor)
    small = cv2.resize(plate, size, interpolation=cv2.INTER_AREA)
    interpolation = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(small, (columns, rows), interpolation=interpolation)


def tilt(plate: Array, degrees: float, rng: Generator) -> Array:
    """Rotation and perspective; all ink stays in the image."""
    rows, columns = plate.shape
    ys, xs = np.nonzero(plate < 0.9)
    box = np.array([(x, y) for y in (ys.min(), ys.max()) for x in (xs.min(), xs.max())], np.float64)
    center = box.mean(0)
    angle = np.deg2rad(rng.choice((-1, 1)) * rng.uniform(0.6, 1) * degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bend = rng.uniform(-1, 1, 2) * degrees / 15 * (0.004, 0.006)
    seen = (box - center) @ turn.T
    seen /= 1 + (box - center) @ bend[:, None]
    low, high = seen.min(0), seen.max(0)
    limits = np.array((columns - 4, rows - 4))
    scale = min(1.0, *(limits / (high - low)))
    middle = np.clip(center, 2 - scale * low, limits + 2 - scale * high)
    source, target = np.float32(box), np.float32(scale * seen + middle)
    matrix, size = cv2.getPerspectiveTransform(source, target), (columns, rows)
    return cv2.warpPerspective(plate, matrix, size, flags=cv2.INTER_CUBIC, borderValue=1.0)


# Family -> corruption -> its strength at severities 1 to 5.
FAMILIES: dict[str, dict[Callable, tuple[float, ...]]] = {
    "noise": {
        gaussian_noise: (0.07, 0.12, 0.17, 0.23, 0.3),
        shot_noise: (40, 20, 12, 8, 5.5),
        impulse_noise: (0.02, 0.05, 0.09, 0.14, 0.2),
    },
    "blur": {
        defocus_blur: (0.8, 1.2, 1.6, 2.0, 2.4),
        gaussian_blur: (0.6, 0.9, 1.2, 1.5, 1.8),
        motion_blur: (2.5, 3.5, 4.5, 5.5, 6.5),
        zoom_blur: (0.03, 0.05, 0.07, 0.09, 0.11),
    },
    "light": {
        low_contrast: (0.5, 0.35, 0.25, 0.18, 0.13),
        brightness: (0.25, 0.4, 0.55, 0.66, 0.75),
        shadow: (0.6, 0.4, 0.25, 0.15, 0.08),
        inversion: (1.0, 0.75, 0.5, 0.33, 0.2),
    },
    "damage": {
        dirt: (1, 2, 3, 4, 5),
        jpeg: (30, 20, 13, 9, 6),
        pixelation: (0.75, 0.64, 0.55, 0.48, 0.42),
        tilt: (3, 6, 9, 12, 15),
    },
}
CORRUPTIONS = {
    corruption.__name__: (corruption, strengths)
    for family in FAMILIES.values()
    for corruption, strengths in family.items()
}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(image: Array, name: str, severity: int, rng: Generator) -> Array:
    """A corrupted copy of a uint8 plate."""
    corruption, strengths = CORRUPTIONS[name]
    plate = corruption(image / 255, strengths[severity - 1], rng)
    return np.clip(np.rint(plate * 255), 0, 255).astype(np.uint8)
