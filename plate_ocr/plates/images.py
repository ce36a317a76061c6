"""Any image from outside -> uint8 (64, 128); the only place that does it."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import shown

# No other parser is ever opened; a DIB is a BMP without its file header.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF")
# What Pillow registers for these formats; to ask it would import all of its parsers.
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .bmp .dib .webp .tif .tiff".split()  # noqa: SIM905
)
UNREAD_SUFFIXES = frozenset(  # of images that are not read
    ".avif .gif .heic .heif .ico .j2k .jp2 .jxl .mpo .pbm .pgm .ppm .psd .svg .tga".split()  # noqa: SIM905
)
MAX_PIXELS = 24_000_000  # what a camera makes of a plate; more would cost 150 MB to decode
MAX_SIDE = 65_535  # pixels, as of a JPEG; to scale longer ones takes hundreds of megabytes
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
SIXTEEN_BITS = 2**16 - 1  # the lightest of them
DARK = 2**14 - 1  # of 16 bits; an image without a lighter pixel may well use fewer
COMPRESSION, PLANES, TILE_WIDTH, TILE_LENGTH = 259, 284, 322, 323  # tags of TIFF
TILE = 1024  # pixels a side: what is flattened to gray at a time
# Pillow brings a PNG's values of 2, 4 and 16 bits to 8, but not the value that is transparent.
TRANSPARENT_VALUES = {
    "L;2": lambda value: value * 85,
    "L;4": lambda value: value * 17,
    "RGB;16B": lambda values: tuple(value >> 8 for value in values),
}

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray


class ImageError(ValueError):
    """An image cannot be read; the message names the source and the reason."""


class _Decoding:
    """What the threads that decode share."""

    def __init__(self) -> None:
        self._takes_cut_files = False  # what another library has asked of Pillow
        self.start_anew()

    def start_anew(self) -> None:
        """As a forked child must: threads that held a lock or decoded are not in it."""
        self.one_large_image = Lock()  # at a time, however many threads read
        self._counting = Lock()
        self._count = 0
        self._put_back()

    @contextmanager
    def whole_files(self) -> Iterator[None]:
        """Let Pillow refuse files that end early, whatever another library has asked of it.

        Its flag is one for all threads: it is put back when no thread of ours decodes, and until
        then other libraries decode without it too.
        """
        with self._counting:
            self._takes_cut_files = self._takes_cut_files or ImageFile.LOAD_TRUNCATED_IMAGES
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._count += 1
        try:
            yield
        finally:
            with self._counting:
                self._count -= 1
                if not self._count:
                    self._put_back()

    def _put_back(self) -> None:
        ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES or self._takes_cut_files
        self._takes_cut_files = False


_decoding = _Decoding()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoding.start_anew)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image and is not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def is_unread_image_name(name: str) -> bool:
    """Whether a file name ends like an image of a format that is not read."""
    return not name.startswith(".") and Path(name).suffix.lower() in UNREAD_SUFFIXES


def load_plate(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
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
    return letterbox(load_gray(source, max_pixels))


def load_gray(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image in its own size.

    Rotation by EXIF is applied, transparency is flattened on white, 12 or 16 bits become 8, of
    several frames the first is taken. A file that ends early is refused, though another library
    has set Pillow's `LOAD_TRUNCATED_IMAGES`.

    Args:
        source: a path, the bytes of a file, an open binary file, a Pillow image, or an array of
            shape (height, width), (height, width, 1), (..., 3) RGB or (..., 4) RGBA, of dtype
            uint8, uint16, bool, or floats from 0 to 1, in any byte order.
        max_pixels: of a file or Pillow image; a larger one is refused before it is decoded.

    Returns:
        uint8 array of shape (height, width), grayscale, 255 is white.

    Raises:
        UnreadableImage: the source is no image of these kinds, is broken or too large.
    """
    with _named_errors(type(source).__name__):  # an object of somebody's own can raise anything
        if isinstance(source, np.ndarray):
            return _array_to_gray(source)
        if isinstance(source, Image.Image):
            name = f"image {source.mode} {source.size[0]} x {source.size[1]}"
            with _named_errors(name), _decoding.whole_files():
                return _decode(source, name, max_pixels)
        if isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)
            return _open(BytesIO(content), _name_of(content), max_pixels)
        if isinstance(source, str | os.PathLike):
            path = os.fsdecode(source)
            return _open(path, shown(path), max_pixels)
        if hasattr(source, "read"):
            return _open(source, shown(str(getattr(source, "name", "open file"))), max_pixels)
        raise ImageError(f"{type(source).__name__}: not a path, bytes, image or array")


def letterbox(gray: np.ndarray) -> np.ndarray:
    """Scale a gray image of another size into the plate's frame, keeping its proportions.

    The rest is filled with the median grey of the image's own border, because white would frame an
    inverted plate.

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
    """Where `letterbox` puts an image: left, top, width and height in the plate's frame."""
    scale = min(PLATE_HEIGHT / height, PLATE_WIDTH / width)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    return (PLATE_WIDTH - columns) // 2, (PLATE_HEIGHT - rows) // 2, columns, rows


def border_pixels(gray: np.ndarray) -> np.ndarray:
    """The pixels around an image (height, width), most of which are paper on a plate."""
    return np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])


def _name_of(content: bytes) -> str:
    """The content of a file as messages name it; it may have been meant as a path."""
    name = f"{len(content):,} bytes"
    if len(content) <= 100 and b"\0" not in content:
        name += f", the content of a file and not the path {content!r}"
    return name


def _open(file: str | BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    with _named_errors(name), _decoding.whole_files():
        if isinstance(file, str):
            status = Path(file).stat()
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{name}: not a file")  # opening a pipe would wait for ever
            if not status.st_size:
                raise ImageError(f"{name}: is empty")
        with Image.open(file, formats=FORMATS) as image:
            return _decode(image, name, max_pixels)


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises for a bad image into one line that names it."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        kinds = "a PNG, JPEG, BMP, WebP or TIFF image that Pillow opens"
        raise ImageError(f"{name}: not {kinds}") from error
    except Exception as error:  # a damaged file can bring its decoder to raise anything
        reason = shown(str(getattr(error, "strerror", None) or error)) or type(error).__name__
        raise ImageError(f"{name}: {reason}") from error


def _decode(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Flatten a Pillow image to uint8 gray of its own size."""
    width, height = image.size
    decoded = max(width * height, _tile_pixels(image))
    if not width * height or decoded > max_pixels or max(width, height) > MAX_SIDE:
        most = f"at most {max_pixels // 10**6} million are"
        raise ImageError(f"{name}: {width} x {height} pixels is not a size we read; {most}")
    if _tag(image, PLANES) == 2 and _bits(image) == 16 and _tag(image, COMPRESSION) in (None, 1):
        raise ImageError(f"{name}: has colours of 16 bits in planes, which Pillow takes apart")
    with _decoding.one_large_image if decoded > TILE**2 else nullcontext():
        if image.format == "PNG" and image.tile and "transparency" in image.info:
            to_eight_bits = TRANSPARENT_VALUES.get(image.tile[0][3], lambda value: value)
            image.info["transparency"] = to_eight_bits(image.info["transparency"])
        image.load()
        gray = _flatten(image, name)
    transposed, down, right = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), UPRIGHT)
    return (gray.T if transposed else gray)[::down, ::right]


def _flatten(image: Image.Image, name: str) -> np.ndarray:
    """Gray of a loaded image, tile by tile: copies of a large one in colour would not be small."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.array(image)
    if image.mode in ("I", "F"):
        raise ImageError(f"{name}: has values of 32 or of signed bits; 8 and 16 are read")
    width, height = image.size
    gray = np.empty((height, width), np.uint8)
    white = 2 ** _bits(image) - 1
    largest = 0
    for top, left in product(range(0, height, TILE), range(0, width, TILE)):
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        tile = image.crop((left, top, right, bottom))
        if image.mode.startswith("I;16"):
            values = np.asarray(tile).astype(np.uint16)
            largest = max(largest, int(values.max()))
            pixels = _sixteen_to_gray(values, white, image)
        elif image.has_transparency_data:
            paper = Image.new("RGBA", tile.size, "white")
            pixels = np.asarray(Image.alpha_composite(paper, tile.convert("RGBA")).convert("L"))
        else:
            pixels = np.asarray(tile.convert("L"))
        gray[top:bottom, left:right] = pixels
    if white == SIXTEEN_BITS:
        _warn_if_dark(largest)
    return gray


def _sixteen_to_gray(values: np.ndarray, white: int, image: Image.Image) -> np.ndarray:
    """Gray of uint16, in which Pillow leaves the values of the file as they are."""
    transparent = values == image.info.get("transparency")
    if _tag(image, ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
        values = white - values
    return np.where(transparent, 255, np.rint(values / (white / 255))).astype(np.uint8)


def _tag(image: Image.Image, tag: int) -> Any:
    """What a TIFF file says of its pixels; None of another one."""
    return getattr(image, "tag_v2", {}).get(tag)


def _bits(image: Image.Image) -> int:
    """How many bits of a value a TIFF file uses; 16 of another one."""
    return (_tag(image, ExifTags.Base.BitsPerSample) or (16,))[0]


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of a tile of a TIFF file, which may be larger than the image; 0 of another one."""
    width, height = (_tag(image, tag) for tag in (TILE_WIDTH, TILE_LENGTH))
    return int(width or 0) * int(height or 0)


def _warn_if_dark(largest: int) -> None:
    """Say once that 16 bits are taken for 16, where an image may use fewer of them."""
    if 0 < largest <= DARK:
        warnings.warn(
            f"an image of 16 bits has no value above {DARK:,} and is read as dark; "
            "where it uses fewer bits, scale them to 16",
            stacklevel=1,
        )


def _array_to_gray(array: np.ndarray, name: str | None = None) -> np.ndarray:
    """Bring an array's values to uint8 and its colours to gray."""
    small = 0 < array.size <= MAX_PIXELS and max(array.shape, default=0) <= MAX_SIDE
    if array.dtype == np.uint8 and array.ndim == 2 and small:
        return np.ascontiguousarray(array)  # as most are: no name, no further question
    name = name or f"array {array.dtype} {array.shape}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(f"{name}: not (height, width) with 1, 3 or 4 channels")
    pixels = array.shape[0] * array.shape[1]
    if not 0 < pixels <= MAX_PIXELS or max(array.shape) > MAX_SIDE:
        raise ImageError(f"{name}: not a size we read")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError(f"{name}: floats must be finite and lie between 0 and 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.newbyteorder("=") == np.uint16:
        _warn_if_dark(int(array[:, :, :3].max() if array.ndim == 3 else array.max()))
        array = np.rint(array / 257).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{name}: must be uint8, uint16, bool, or floats from 0 to 1")
    if array.ndim == 2:
        return np.ascontiguousarray(array)
    return _decode(Image.fromarray(array), name)
