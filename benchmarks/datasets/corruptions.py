"""Fifteen corruptions at five severities, after ImageNet-C, for black digits on white.

Each takes the plate as floats (0 ink, 1 paper), its strength from the table below and a
generator, and gives floats back. At severity 5 a person still reads nearly every plate.
"""

from collections.abc import Callable

import cv2
import numpy as np

Array = np.ndarray
Random = np.random.Generator


def _filter(plate: Array, kernel: Array) -> Array:
    return cv2.filter2D(plate, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _grey(plate: Array) -> Array:
    """Dark grey on light grey, so that noise shows on both."""
    return 0.12 + 0.76 * plate


def gaussian_noise(plate: Array, sigma: float, random: Random) -> Array:
    """Sensor noise, equal everywhere."""
    return _grey(plate) + random.normal(0, sigma, plate.shape)


def shot_noise(plate: Array, photons: float, random: Random) -> Array:
    """Few photons: noise that grows with the light."""
    return random.poisson(_grey(plate) * photons) / photons


def impulse_noise(plate: Array, share: float, random: Random) -> Array:
    """Black and white pixels at random."""
    hit = random.random(plate.shape) < share
    return np.where(hit, random.integers(2, size=plate.shape), plate)


def defocus_blur(plate: Array, radius: float, random: Random) -> Array:
    """A lens out of focus: a disc, drawn eight times as large and shrunk."""
    side = 2 * int(np.ceil(radius)) + 1
    y, x = np.mgrid[: 8 * side, : 8 * side] - (8 * side - 1) / 2
    disc = (np.hypot(x, y) <= 8 * radius + 2).astype(np.float64)
    return _filter(plate, disc.reshape(side, 8, side, 8).mean((1, 3)))


def gaussian_blur(plate: Array, sigma: float, random: Random) -> Array:
    """A soft image."""
    return cv2.GaussianBlur(plate, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def motion_blur(plate: Array, length: float, random: Random) -> Array:
    """The camera moves along a line while the shutter is open."""
    angle, kernel = random.uniform(0, np.pi), np.zeros((11, 11))
    for step in np.linspace(-length / 2, length / 2, 64):
        x, y = 5 + step * np.cos(angle), 5 + step * np.sin(angle)
        column, row = int(x), int(y)
        right, down = x - column, y - row
        kernel[row : row + 2, column : column + 2] += np.outer((1 - down, down), (1 - right, right))
    return _filter(plate, kernel)


def zoom_blur(plate: Array, reach: float, random: Random) -> Array:
    """The camera comes nearer while the shutter is open."""
    rows, columns = plate.shape
    zoomed = []
    for factor in np.linspace(1 - reach, 1, 13):
        matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), 0, factor)
        zoomed.append(
            cv2.warpAffine(plate, matrix, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        )
    return np.mean(zoomed, 0)


def low_contrast(plate: Array, difference: float, random: Random) -> Array:
    """Ink and paper nearly alike, around any grey."""
    return random.uniform(0, 1 - difference) + difference * plate


def brightness(plate: Array, shift: float, random: Random) -> Array:
    """Too much light or too little; what leaves the range is cut."""
    return plate + (shift if random.random() < 0.5 else -shift)


def shadow(plate: Array, darkest: float, random: Random) -> Array:
    """Light that falls off to one side, and the edge of a shadow across the plate."""
    rows, columns = plate.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64)

    def along(angle: float) -> Array:
        line = x * np.cos(angle) + y * np.sin(angle)
        return (line - line.min()) / (line.max() - line.min())

    fall = along(random.uniform(0, 2 * np.pi))
    edge = along(random.uniform(0, 2 * np.pi)) - random.uniform(0.3, 0.7)
    covered = 1 / (1 + np.exp(-edge / random.uniform(0.005, 0.05)))
    return plate * darkest ** (0.5 * fall + 0.5 * covered)


def inversion(plate: Array, difference: float, random: Random) -> Array:
    """Light digits on a darker ground."""
    return random.uniform(0, 1 - difference) + difference * (1 - plate)


def dirt(plate: Array, amount: float, random: Random) -> Array:
    """Scratches down to the paper, dark hairs and specks over the digits."""
    rows, columns = plate.shape
    ys, xs = np.nonzero(plate < 0.5)
    image = np.clip(plate * 255, 0, 255).astype(np.uint8)

    def point() -> tuple[int, int]:
        index = int(random.integers(len(xs)))
        return int(xs[index]) * 16, int(ys[index]) * 16  # OpenCV takes sixteenths of a pixel

    for _ in range(round(amount)):
        (x, y), angle = point(), random.uniform(0, np.pi)
        reach = 16 * random.uniform(6, 40)
        step = int(reach * np.cos(angle)), int(reach * np.sin(angle))
        grey = 255 if random.random() < 0.5 else int(random.integers(0, 120))
        ends = (x - step[0], y - step[1]), (x + step[0], y + step[1])
        cv2.line(image, *ends, grey, 1, cv2.LINE_AA, shift=4)
    for _ in range(round(4 * amount)):
        centre = int(random.uniform(0, 16 * columns)), int(random.uniform(0, 16 * rows))
        radius, grey = int(16 * random.uniform(0.4, 1.4)), int(random.integers(0, 160))
        cv2.circle(image, centre, radius, grey, cv2.FILLED, cv2.LINE_AA, shift=4)
    return image / 255


def jpeg(plate: Array, quality: float, random: Random) -> Array:
    """Strong compression."""
    image = np.clip(plate * 255, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(code, cv2.IMREAD_GRAYSCALE) / 255


def pixelation(plate: Array, factor: float, random: Random) -> Array:
    """Few pixels, blown up again."""
    rows, columns = plate.shape
    small = cv2.resize(
        plate, (round(columns * factor), round(rows * factor)), interpolation=cv2.INTER_AREA
    )
    way = cv2.INTER_NEAREST if random.random() < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(small, (columns, rows), interpolation=way)


def tilt(plate: Array, degrees: float, random: Random) -> Array:
    """Seen from the side: turned and in perspective; all ink stays in the frame."""
    rows, columns = plate.shape
    ys, xs = np.nonzero(plate < 0.9)
    box = np.array([(x, y) for y in (ys.min(), ys.max()) for x in (xs.min(), xs.max())], np.float64)
    centre = box.mean(0)
    angle = np.deg2rad(random.choice((-1, 1)) * random.uniform(0.6, 1) * degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bend = random.uniform(-1, 1, 2) * degrees / 15 * (0.004, 0.006)
    seen = (box - centre) @ turn.T
    seen /= 1 + (box - centre) @ bend[:, None]
    low, high = seen.min(0), seen.max(0)
    limits = np.array((columns - 4, rows - 4))
    scale = min(1.0, *(limits / (high - low)))
    middle = np.clip(centre, 2 - scale * low, limits + 2 - scale * high)
    matrix = cv2.getPerspectiveTransform(
        box.astype(np.float32), (scale * seen + middle).astype(np.float32)
    )
    return cv2.warpPerspective(
        plate, matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderValue=1.0
    )


Corruption = Callable[[Array, float, Random], Array]

# Family -> corruption -> its strength at severities 1 to 5.
FAMILIES: dict[str, dict[Corruption, tuple[float, ...]]] = {
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


def corrupt(image: Array, name: str, severity: int, random: Random) -> Array:
    """A corrupted copy of a uint8 plate."""
    corruption, strengths = CORRUPTIONS[name]
    plate = corruption(image / 255, strengths[severity - 1], random)
    return np.clip(np.rint(plate * 255), 0, 255).astype(np.uint8)
