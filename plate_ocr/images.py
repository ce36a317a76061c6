"""Any image from outside -> uint8 (64, 128); the only place that does it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from itertools import product
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image

from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")  # no other parser is ever opened
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
LARGEST_PIXELS = 24_000_000  # what a camera makes of a plate; more would cost 150 MB to decode
# Orientation in EXIF -> rows and columns exchanged, then the steps through both.
UPRIGHT = (False, 1, 1)
TURNS = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
TILE = 1024  # pixels a side: what is flattened to gray at a time

_one_large_image = Lock()  # at a time, however many threads read

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray


class UnreadableImage(ValueError):
    """An image cannot be read; the message names the source and the reason."""


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def load_plate(source: ImageSource, max_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Turn an image into what the reader takes.

    As `load_gray`, and another size is letterboxed.

    >>> load_plate(Image.new("RGB", (300, 100), "white")).shape
    (64, 128)

    Args:
        source: what `load_gray` takes.
        max_pixels: of a file or Pillow image; a larger one is refused before it is decoded.

    Returns:
        uint8 array of shape (64, 128), grayscale, 255 is white.

    Raises:
        UnreadableImage: the source is no image of these kinds, is broken or too large.
    """
    gray = load_gray(source, max_pixels)
    return gray if gray.shape == (PLATE_HEIGHT, PLATE_WIDTH) else letterbox(gray)


def load_gray(source: ImageSource, max_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Read an image in its own size.

    Rotation by EXIF is applied, transparency is flattened on white, 16 bits become 8, of several
    frames the first is taken.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array of
            shape (height, width), (height, width, 1), (..., 3) RGB or (..., 4) RGBA, of dtype
            uint8, uint16, bool, or floats from 0 to 1.
        max_pixels: of a file or Pillow image; a larger one is refused before it is decoded.

    Returns:
        uint8 array of shape (height, width), grayscale, 255 is white.

    Raises:
        UnreadableImage: the source is no image of these kinds, is broken or too large.
    """
    if isinstance(source, np.ndarray):
        gray = _array_to_gray(source)
    elif isinstance(source, Image.Image):
        name = f"image {source.mode} {source.size[0]} x {source.size[1]}"
        with _named_errors(name):
            gray = _decode(source, name, max_pixels)
    elif isinstance(source, bytes | bytearray | memoryview):
        gray = _open(BytesIO(source), f"{len(source):,} bytes", max_pixels)
    elif isinstance(source, str | os.PathLike):
        gray = _open(os.fspath(source), os.fspath(source), max_pixels)
    elif hasattr(source, "read"):
        gray = _open(source, str(getattr(source, "name", "open file")), max_pixels)
    else:
        raise UnreadableImage(f"{type(source).__name__}: not a path, bytes, image or array")
    return gray


def letterbox(gray: np.ndarray) -> np.ndarray:
    """Scale a gray image of any size into the plate's frame, keeping its proportions.

    The rest is filled with the median grey of the image's own border, because white would frame an
    inverted plate.

    Args:
        gray: uint8 array of shape (height, width).

    Returns:
        uint8 array of shape (64, 128).
    """
    height, width = gray.shape
    scale = min(PLATE_HEIGHT / height, PLATE_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC)
    plate = Image.new("L", (PLATE_WIDTH, PLATE_HEIGHT), int(np.median(border_of(gray))))
    plate.paste(scaled, ((PLATE_WIDTH - size[0]) // 2, (PLATE_HEIGHT - size[1]) // 2))
    return np.asarray(plate)


def border_of(gray: np.ndarray) -> np.ndarray:
    """The pixels around an image (height, width), most of which are paper on a plate."""
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _open(file: str | BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    with _named_errors(name):
        if isinstance(file, str) and not stat.S_ISREG(Path(file).stat().st_mode):
            raise UnreadableImage(f"{name}: not a file")  # opening a pipe would wait for ever
        with Image.open(file, formats=FORMATS) as image:
            return _decode(image, name, max_pixels)


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises for a bad image into one line that names it."""
    try:
        yield
    except UnreadableImage:
        raise
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(f"{name}: not a PNG, JPEG, BMP, WebP or TIFF image") from error
    except Exception as error:  # a damaged file can bring its decoder to raise anything
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImage(f"{name}: {reason}") from error


def _decode(image: Image.Image, name: str, max_pixels: int = LARGEST_PIXELS) -> np.ndarray:
    """Flatten a Pillow image to uint8 gray of its own size."""
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        most = f"at most {max_pixels // 10**6} million are"
        raise UnreadableImage(f"{name}: {width} x {height} pixels is not a size we read; {most}")
    with _one_large_image if width * height > TILE**2 else nullcontext():
        image.load()
        gray = _flatten(image, name)
    transposed, down, right = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), UPRIGHT)
    return (gray.T if transposed else gray)[::down, ::right]


def _flatten(image: Image.Image, name: str) -> np.ndarray:
    """Gray of a loaded image, tile by tile: copies of a large one in colour would not be small."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.array(image)
    if image.mode in ("I", "F"):
        raise UnreadableImage(f"{name}: has 32 bits a pixel; we read 8 and 16")
    width, height = image.size
    gray = np.empty((height, width), np.uint8)
    for top, left in product(range(0, height, TILE), range(0, width, TILE)):
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        tile = image.crop((left, top, right, bottom))
        if image.mode.startswith("I;16"):
            pixels = _array_to_gray(np.asarray(tile).astype(np.uint16), name)
        elif image.has_transparency_data:
            white = Image.new("RGBA", tile.size, "white")
            pixels = np.asarray(Image.alpha_composite(white, tile.convert("RGBA")).convert("L"))
        else:
            pixels = np.asarray(tile.convert("L"))
        gray[top:bottom, left:right] = pixels
    return gray


def _array_to_gray(array: np.ndarray, name: str | None = None) -> np.ndarray:
    """Bring an array's values to uint8 and its colours to gray."""
    if array.dtype == np.uint8 and array.ndim == 2 and 0 < array.size <= LARGEST_PIXELS:
        return np.ascontiguousarray(array)  # as most are: no name, no further question
    name = name or f"array {array.dtype} {array.shape}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UnreadableImage(f"{name}: not (height, width) with 1, 3 or 4 channels")
    if not 0 < array.shape[0] * array.shape[1] <= LARGEST_PIXELS:
        raise UnreadableImage(f"{name}: not a size we read")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise UnreadableImage(f"{name}: floats must be finite and lie between 0 and 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = np.rint(array / 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UnreadableImage(f"{name}: must be uint8, uint16, bool, or floats from 0 to 1")
    if array.ndim == 2:
        return np.ascontiguousarray(array)
    return _decode(Image.fromarray(array), name)
