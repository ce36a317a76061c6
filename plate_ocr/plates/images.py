"""Any image from outside -> uint8 (64, 128); the only place that does it."""

import os
import reprlib
import stat
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops, ImageOps
from PIL.ExifTags import Base

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_SIZE, PLATE_WIDTH
from plate_ocr.utils import printable

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF")  # no other parser is ever opened
SUFFIXES = frozenset(  # as Pillow registers them; asking Pillow would import all its parsers
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".tif", ".tiff")
)
MAX_PIXELS = 24_000_000  # a photograph; decoding it in colors takes 160 MB
MAX_SIDE = 65_535  # pixels, as of a JPEG; resizing longer images takes hundreds of megabytes

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray


class ImageError(ValueError):
    """An image cannot be read; the message names the source and the reason."""


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of a supported format and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def load_plate(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Load an image as the network takes it, uint8 (64, 128), by `load_gray` and `letterbox`.

    >>> load_plate(Image.new("RGB", (300, 100), "white")).shape
    (64, 128)
    """
    return letterbox(load_gray(source, max_pixels))


def load_gray(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Load an image in its own size.

    EXIF orientation is applied, transparency becomes white, 16 bits become 8, and only the first
    frame is read.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array of
            shape (height, width), (height, width, 1), (..., 3) RGB or (..., 4) RGBA, of dtype
            uint8, uint16, bool, or floats from 0 to 1.
        max_pixels: larger images are rejected; files, before they are decoded.

    Returns:
        uint8 array of shape (height, width), grayscale, 255 is white.

    Raises:
        ImageError: the source is not a supported image, is damaged or too large.
    """
    file = source
    try:
        if isinstance(source, np.ndarray):
            file = _array_to_image(source)
        elif isinstance(source, str | os.PathLike):
            file = os.fsdecode(source)
            if not stat.S_ISREG(Path(file).stat().st_mode):
                raise ValueError("not a file")  # opening a pipe would block
        elif isinstance(source, bytes | bytearray | memoryview):
            file = BytesIO(bytes(source))
        elif not hasattr(source, "read") and not isinstance(source, Image.Image):
            raise TypeError("not a path, bytes, image or array")
        if isinstance(file, Image.Image):
            return _decode(file, max_pixels)
        with Image.open(file, formats=FORMATS) as image:
            return _decode(image, max_pixels)
    except Image.UnidentifiedImageError as error:
        reason = "not a PNG, JPEG, BMP, WebP or TIFF image"
        raise ImageError(f"{_source_name(source)}: {reason}") from error
    except Exception as error:  # damaged files raise anything, such as SyntaxError
        reason = printable(str(getattr(error, "strerror", None) or error)) or type(error).__name__
        raise ImageError(f"{_source_name(source)}: {reason}") from error


def _source_name(source: ImageSource) -> str:
    """What an error message calls the source."""
    if isinstance(source, np.ndarray):
        return f"array {source.dtype} {source.shape}"
    if isinstance(source, Image.Image):
        return f"image {source.mode} {source.size[0]} x {source.size[1]}"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"bytes {reprlib.repr(bytes(source))}"  # it may be a path by mistake
    if isinstance(source, str | os.PathLike):
        return printable(os.fsdecode(source))
    return printable(str(getattr(source, "name", type(source).__name__)))


def letterbox(gray: np.ndarray) -> np.ndarray:
    """Scale a gray image, uint8 (height, width), to uint8 (64, 128), keeping its aspect ratio.

    The padding has the median gray of the image's border: white would frame an inverted plate.
    """
    if gray.shape == (PLATE_HEIGHT, PLATE_WIDTH):
        return gray
    left, top, *size = box_in_plate(*gray.shape)
    scaled = Image.fromarray(gray).resize(tuple(size), Image.Resampling.BICUBIC)
    plate = Image.new("L", PLATE_SIZE, int(np.median(border_pixels(gray))))
    plate.paste(scaled, (left, top))
    return np.asarray(plate)


def box_in_plate(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of an image of this size after `letterbox`."""
    scale = min(PLATE_HEIGHT / height, PLATE_WIDTH / width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    return (PLATE_WIDTH - columns) // 2, (PLATE_HEIGHT - rows) // 2, columns, rows


def border_pixels(gray: np.ndarray) -> np.ndarray:
    """The outermost pixels of an image (height, width), which are mostly background."""
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _decode(image: Image.Image, max_pixels: int) -> np.ndarray:
    """Decode a Pillow image to upright gray, uint8 (height, width)."""
    width, height = image.size
    if not 0 < width * height <= max_pixels or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"{width} x {height} pixels; 1 to {max_pixels:,} are read, at most {MAX_SIDE:,} a side"
        )
    image.load()
    if image.mode in ("I", "F"):
        raise ValueError("has 32-bit or signed values; 8 and 16 bits are read")
    if image.mode.startswith("I;16"):
        gray = Image.fromarray(_to_8_bits(np.asarray(image)))
    else:
        gray = image.convert("L")
        if image.has_transparency_data:
            alpha = image.convert("RGBA").getchannel("A")
            gray.paste(255, mask=ImageChops.invert(alpha))
    orientation = image.getexif().get(Base.Orientation, 1)
    if orientation != 1:  # transposing gray takes less memory than colors
        gray.getexif()[Base.Orientation] = orientation
        ImageOps.exif_transpose(gray, in_place=True)
    return np.asarray(gray)


def _array_to_image(array: np.ndarray) -> Image.Image:
    """Scale the values of an array to uint8; Pillow refuses shapes that are no image."""
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # not a number is neither
            raise ValueError("floats must lie between 0 and 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = _to_8_bits(array)
    elif array.dtype not in (np.uint8, np.bool_):
        raise ValueError("must be uint8, uint16, bool, or floats from 0 to 1")
    return Image.fromarray(array[:, :, 0] if array.shape[2:] == (1,) else array)


def _to_8_bits(array: np.ndarray) -> np.ndarray:
    """Round 16-bit values to uint8."""
    return np.rint(array / np.float32(257)).astype(np.uint8)
