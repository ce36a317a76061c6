"""Any image from outside -> uint8 (64, 128); the only place that does it."""

import math
import os
import reprlib
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import printable

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF")  # no other parser is ever opened
SUFFIXES = frozenset(  # as Pillow registers them; asking Pillow would import all its parsers
    ".png .apng .jpg .jpeg .jpe .jfif .bmp .dib .webp .tif .tiff".split()  # noqa: SIM905
)
UNREAD_SUFFIXES = frozenset(  # of images in other formats
    ".avif .gif .heic .heif .ico .j2k .jp2 .jxl .mpo .pbm .pgm .ppm .psd .svg .tga".split()  # noqa: SIM905
)
MAX_PIXELS = 24_000_000  # a photograph; decoding it takes up to 150 MB
MAX_SIDE = 65_535  # pixels, as of a JPEG; resizing longer images takes hundreds of megabytes
STRIP_PIXELS = 2**20  # converted to gray at a time: a color image takes 3 to 12 bytes per pixel
DARK = 2**14  # brighter pixels are expected in an image that uses all of its 16 bits

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray


class ImageError(ValueError):
    """An image cannot be read; the message names the source and the reason."""


def is_image_name(name: str) -> bool:
    """Whether a file name has the suffix of a supported format and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def load_plate(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Load an image as the network takes it, uint8 (64, 128): `load_gray`, then `letterbox`.

    Arguments and errors are those of `load_gray`.

    >>> load_plate(Image.new("RGB", (300, 100), "white")).shape
    (64, 128)
    """
    return letterbox(load_gray(source, max_pixels))


def load_gray(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Load an image in its own size.

    EXIF orientation is applied, transparency becomes white, 16 bits become 8, and only the first
    frame is read. A truncated file is an error, unless the program sets Pillow's
    `LOAD_TRUNCATED_IMAGES`.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array of
            shape (height, width), (height, width, 1), (..., 3) RGB or (..., 4) RGBA, of dtype
            uint8, uint16, bool, or floats from 0 to 1, in any byte order.
        max_pixels: larger files and Pillow images are rejected before they are decoded.

    Returns:
        uint8 array of shape (height, width), grayscale, 255 is white.

    Raises:
        ImageError: the source is not a supported image, is damaged or too large.
    """
    try:
        return _read_gray(source, max_pixels)
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
    plate = Image.new("L", (PLATE_WIDTH, PLATE_HEIGHT), int(np.median(border_pixels(gray))))
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


def _read_gray(source: ImageSource, max_pixels: int) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return _array_to_gray(source)
    if isinstance(source, Image.Image):
        return _decode(source, max_pixels)
    if isinstance(source, str | os.PathLike):
        source = os.fsdecode(source)
        status = Path(source).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")  # opening a pipe would block
        if not status.st_size:
            raise ValueError("is empty")
    elif isinstance(source, bytes | bytearray | memoryview):
        source = BytesIO(bytes(source))
    elif not hasattr(source, "read"):
        raise TypeError("not a path, bytes, image or array")
    with Image.open(source, formats=FORMATS) as image:
        return _decode(image, max_pixels)


def _decode(image: Image.Image, max_pixels: int) -> np.ndarray:
    """Decode a Pillow image to upright gray, uint8 (height, width)."""
    tags = getattr(image, "tag_v2", {})
    tile_sides = [int(tags.get(tag, 0)) for tag in (Base.TileWidth, Base.TileLength)]
    _check_size(*image.size, max_pixels, tile=math.prod(tile_sides))  # may exceed the image
    image.load()
    gray = _to_gray(image)
    orientation = image.getexif().get(Base.Orientation, 1)
    if orientation != 1:
        upright = Image.fromarray(gray)  # transposing gray takes less memory than colors
        upright.getexif()[Base.Orientation] = orientation
        ImageOps.exif_transpose(upright, in_place=True)
        gray = np.asarray(upright)
    return gray


def _check_size(width: int, height: int, max_pixels: int, tile: int = 0) -> None:
    if not width * height or max(width * height, tile) > max_pixels:
        raise ValueError(f"{width} x {height} pixels; 1 to {max_pixels:,} are read")
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{width} x {height} pixels; at most {MAX_SIDE:,} a side are read")


def _to_gray(image: Image.Image) -> np.ndarray:
    if image.mode == "L" and "transparency" not in image.info:
        return np.array(image)
    if image.mode in ("I", "F"):
        raise ValueError("has 32-bit or signed values; 8 and 16 bits are read")
    is_sixteen_bits = image.mode.startswith("I;16")
    if is_sixteen_bits:
        _warn_if_dark(image.getextrema()[1])
    width, height = image.size
    gray = np.empty((height, width), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if is_sixteen_bits:
            strip = np.rint(np.asarray(strip) / 257)
        else:
            if strip.has_transparency_data:
                paper = Image.new("RGBA", strip.size, "white")
                strip = Image.alpha_composite(paper, strip.convert("RGBA"))
            strip = strip.convert("L")
        gray[top : top + rows] = strip
    return gray


def _warn_if_dark(brightest: int) -> None:
    if 0 < brightest < DARK:
        warnings.warn(
            f"a 16-bit image has no value above {brightest:,} and is read as dark; "
            "if it uses fewer bits, scale its values to 16 bits",
            stacklevel=1,
        )


def _array_to_gray(array: np.ndarray) -> np.ndarray:
    """Convert the values of an array to uint8 and its colors to gray."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise ValueError("not (height, width) with 1, 3 or 4 channels")
    _check_size(array.shape[1], array.shape[0], MAX_PIXELS)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("floats must be finite and lie between 0 and 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        _warn_if_dark(int(array[..., :3].max() if array.ndim == 3 else array.max()))
        array = np.rint(array / 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError("must be uint8, uint16, bool, or floats from 0 to 1")
    if array.ndim == 3:
        return _decode(Image.fromarray(array), MAX_PIXELS)
    return np.ascontiguousarray(array)
