"""Any image from outside -> uint8 (64, 128); the only place that does it."""

import os
import reprlib
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import fork_safe_lock, shown

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF")  # no other parser is ever opened
SUFFIXES = frozenset(  # as Pillow registers them; asking Pillow would import all its parsers
    ".png .apng .jpg .jpeg .jpe .jfif .bmp .dib .webp .tif .tiff".split()  # noqa: SIM905
)
UNREAD_SUFFIXES = frozenset(  # of images in other formats
    ".avif .gif .heic .heif .ico .j2k .jp2 .jxl .mpo .pbm .pgm .ppm .psd .svg .tga".split()  # noqa: SIM905
)
MAX_PIXELS = 24_000_000  # a photograph; decoding it takes up to 150 MB
MAX_SIDE = 65_535  # pixels, as of a JPEG; resizing longer images takes hundreds of megabytes
STRIP_PIXELS = 2**20  # converted to gray at a time: a colour image takes 3 to 12 bytes per pixel
TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of a TIFF file
DARK = 2**14  # brighter pixels are expected in an image that uses all of its 16 bits
LARGE_IMAGE_LOCK = fork_safe_lock()  # one large image at a time, however many threads read

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
    if isinstance(source, np.ndarray):
        return _array_to_gray(source)
    if isinstance(source, Image.Image):
        with _named_errors(f"image {source.mode} {source.size[0]} x {source.size[1]}"):
            return _decode(source, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
        # The content is quoted because it may be a path by mistake.
        return _open(BytesIO(content), f"bytes {reprlib.repr(content)}", max_pixels)
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        return _open(path, shown(path), max_pixels)
    if hasattr(source, "read"):
        return _open(source, shown(str(getattr(source, "name", "open file"))), max_pixels)
    raise ImageError(f"{type(source).__name__}: not a path, bytes, image or array")


def letterbox(gray: np.ndarray) -> np.ndarray:
    """Scale a gray image to the size of a plate, keeping its aspect ratio.

    The padding has the median gray of the image's border: white would frame an inverted plate.

    Args:
        gray: uint8 array of shape (height, width).

    Returns:
        uint8 array of shape (64, 128).
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


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn any error of a decoder into an `ImageError` of one line that names the image."""
    try:
        yield
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a PNG, JPEG, BMP, WebP or TIFF image") from error
    except Exception as error:  # damaged files raise anything, such as SyntaxError
        reason = shown(str(getattr(error, "strerror", None) or error)) or type(error).__name__
        raise ImageError(f"{name}: {reason}") from error


def _open(file: str | BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    with _named_errors(name):
        if isinstance(file, str):
            status = Path(file).stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a file")  # opening a pipe would block
            if not status.st_size:
                raise ValueError("is empty")
        with Image.open(file, formats=FORMATS) as image:
            return _decode(image, max_pixels)


def _decode(image: Image.Image, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a Pillow image to upright gray, uint8 (height, width)."""
    width, height = image.size
    tags = getattr(image, "tag_v2", {})
    tile = int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_LENGTH, 0))  # may exceed the image
    pixels = max(width * height, tile)
    if not width * height or pixels > max_pixels or max(width, height) > MAX_SIDE:
        raise ValueError(_size_error(width, height, max_pixels))
    with LARGE_IMAGE_LOCK if pixels > STRIP_PIXELS else nullcontext():
        image.load()
        gray = _to_gray(image)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation != 1:
        upright = Image.fromarray(gray)  # transposing gray takes less memory than colours
        upright.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(upright, in_place=True)
        gray = np.asarray(upright)
    return gray


def _size_error(width: int, height: int, max_pixels: int) -> str:
    return f"{width} x {height} pixels; at most {max_pixels:,} and {MAX_SIDE:,} a side are read"


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
    """Convert the values of an array to uint8 and its colours to gray."""

    def error(reason: str) -> ImageError:
        return ImageError(f"array {array.dtype} {array.shape}: {reason}")

    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise error("not (height, width) with 1, 3 or 4 channels")
    height, width = array.shape[:2]
    if not 0 < height * width <= MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise error(_size_error(width, height, MAX_PIXELS))
    values = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    elif values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise error("floats must be finite and lie between 0 and 1")
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype.kind == "u" and values.dtype.itemsize == 2:
        _warn_if_dark(int(values[..., :3].max() if values.ndim == 3 else values.max()))
        values = np.rint(values / 257).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise error("must be uint8, uint16, bool, or floats from 0 to 1")
    if values.ndim == 3:
        return _decode(Image.fromarray(values))
    return np.ascontiguousarray(values)
