"""PlateReader: weights and any image -> the digits of a plate and how sure they are."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from plate_ocr.network.checkpoint import (
    DEFAULT_WEIGHTS,
    WeightsError,
    checked,
    load_metadata,
    restore,
)
from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.dataset import list_images
from plate_ocr.plates.images import ImageError, ImageSource, box_in_plate, letterbox, load_gray
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import (
    Backend,
    KerasBackend,
    ModelOutput,
    OnnxBackend,
    OpenvinoBackend,
    check_not_forked,
    load_library,
)
from plate_ocr.reading.calibration import PlattScaling
from plate_ocr.reading.ctc import Predictions, decode_logits
from plate_ocr.reading.tta import compose_affine, make_views, merge_views, x_affine
from plate_ocr.utils import cores, map_batches

if TYPE_CHECKING:
    import keras

AT_A_TIME = 128  # plates that are loaded, run and decoded together
SMALL_FILE = 20_000  # bytes; plates on noisy paper have half as many
# P(text) from which a reading of a rounded network stands. Its frames move too: of 44,500 plates
# two above this were read otherwise, in so much noise that the digits were found elsewhere.
SURE = 0.8
# P(text) from which a careful reader looks only once; one plate in fifty has less, of damaged ones
# one in twenty.
CERTAIN = 0.98

Plate = tuple[np.ndarray, tuple[int, int]]  # uint8 (64, 128), and the image's height and width


class Digit(NamedTuple):
    """One digit of a reading."""

    digit: str
    confidence: float  # the network's probability of this digit at its peak, 0 to 1
    x: float  # pixels from the left edge of the image, upright as its EXIF says, to its middle


@dataclass(frozen=True)
class Reading:
    """What the network reads on one plate."""

    text: str  # exactly as many digits as the weights were trained for: five, as shipped
    confidence: float  # the probability that all digits are right, 0 to 1
    digits: tuple[Digit, ...]  # from left to right
    greedy_text: str  # plain greedy decoding, any number of digits

    def __str__(self) -> str:
        percent = 100 * self.confidence
        return f"{self.text} ({percent if percent == 100 else min(percent, 99.9):.1f} %)"


class PlateReader:
    """Reads plates with trained weights.

    >>> reading = PlateReader().read("data/test/12891.png")
    >>> reading.text, reading.confidence > 0.9
    ('12891', True)
    >>> [digit.digit for digit in reading.digits]
    ['1', '2', '8', '9', '1']

    It can be copied and sent to another process, where it opens its weights again. In a forked one
    only ONNX Runtime reads, once the others have been used.

    Args:
        weights: the HDF5 file; `<name>.json` beside it holds its hash and what it was made for,
            `<name>.onnx` its export.
        engine: `"onnx"`; `"openvino"`, which reads in bfloat16 or 8-bit integers where those are
            fast, and what it is unsure of again in float32; or `"keras"`, which needs TensorFlow,
            to have the network itself.
        threads: of the engines but Keras, each reads a batch of its own; 0 takes all cores that
            this process may use.
        careful: look five times more, as `views.views_of` does, at plates that are not certain.

    Raises:
        WeightsError: a file is missing, damaged, changed, or made for another network.
        ImportError: the engine is not installed; the message says how to get it.
        RuntimeError: the engine does not work in this process, because it was forked.
    """

    def __init__(
        self,
        weights: Path | str = DEFAULT_WEIGHTS,
        backend: str = "onnx",
        num_threads: int = 0,
        tta: bool = False,
    ) -> None:
        if num_threads < 0:
            raise ValueError(f"threads: must be 0 or more, not {num_threads}")
        weights = Path(weights)
        self._arguments = (weights.absolute(), backend, num_threads, tta)
        description = load_metadata(weights)
        self.calibration = _calibration(weights, description)
        self.tta = tta
        self.sure = CERTAIN if tta else 0.0  # P(text) from which one look is enough
        self.digits: int = description["digits"]  # of a plate
        self.exact: Backend | None = None  # reads again what the other one is unsure of
        if backend == "keras":
            load_library("keras")
            check_not_forked("keras")
            self.backend: Backend = KerasBackend(restore(weights, description))
            checked(weights, description["sha256"][weights.name])  # Keras has opened the file anew
            self.num_threads = 1  # Keras spreads one batch over the cores itself
        elif backend in ("onnx", "openvino"):
            path = weights.with_suffix(".onnx")
            command = f"python -m plate_ocr export --weights {weights}"
            if description.get("onnx_source_sha256") != description["sha256"][weights.name]:
                raise WeightsError(f"{path}: not made from {weights}; run {command}")
            try:
                exported = checked(path, description["sha256"].get(path.name))
            except WeightsError as error:
                raise WeightsError(f"{error}; run {command}") from error
            self.num_threads = num_threads or cores()
            if backend == "onnx":
                self.backend = OnnxBackend(exported, path)
            else:
                largest = description.get("largest_features", ())
                self.backend = OpenvinoBackend(exported, self.num_threads, largest)
                if self.backend.rounds:
                    self.exact = OpenvinoBackend(exported, self.num_threads, exact=True)
                    self.sure = max(self.sure, SURE)
        else:
            raise ValueError(f"engine must be keras, onnx or openvino, not {backend!r}")

    def __reduce__(self) -> tuple[Callable, tuple]:
        return _opened, self._arguments

    @property
    def model(self) -> "keras.Model":
        """The network, to measure or to train on; only the Keras engine has it."""
        if not isinstance(self.backend, KerasBackend):
            raise AttributeError('only a reader with engine="keras" has the network')
        return self.backend.model

    def logits(self, images: np.ndarray) -> np.ndarray:
        """What the network says of uint8 (n, 64, 128, 1): float32 logits (n, 16, 11)."""
        return self.forward(images).logits

    def forward(self, images: np.ndarray) -> ModelOutput:
        """Run the network: uint8 (n, 64, 128, 1) -> logits (n, 16, 11), frames (n, 4)."""
        if not len(images):  # no engine takes none
            return self.backend(np.zeros((1, *images.shape[1:]), np.uint8)).of(slice(0))
        return self.backend(images)

    def predict(self, images: np.ndarray) -> Predictions:
        """What the network says of plates, uint8 (n, 64, 128, 1), by all that the reader does."""
        look = self.forward(images)
        decoded = decode_output(look, self.digits)
        (unsure,) = (decoded.text_probability < self.sure).nonzero()
        for start in range(0, len(unsure), AT_A_TIME):
            part = unsure[start : start + AT_A_TIME]
            decoded = decoded.with_rows(part, self._decode_again(images[part], look.of(part)))
        return decoded

    def _decode_again(self, images: np.ndarray, look: ModelOutput) -> Predictions:
        """The same of plates that one look left unsure."""
        backend = self.backend
        if self.exact is not None:
            backend = self.exact
            look = backend(images)
        if not self.tta:
            return decode_output(look, self.digits)
        views, places = make_views(images)
        again = backend(views.reshape(-1, *images.shape[1:]))
        within = x_affine(again.crop).reshape(places.shape)
        logits = again.logits.reshape(-1, *look.logits.shape)
        return merge_views(
            np.concatenate([look.logits[None], logits]),
            np.concatenate([x_affine(look.crop)[None], compose_affine(within, places)]),
            self.digits,
        )

    @overload
    def read(self, source: ImageSource) -> Reading: ...

    @overload
    def read(self, source: list[Any] | tuple[Any, ...]) -> list[Reading]: ...

    def read(self, source: ImageSource | list[Any] | tuple[Any, ...]) -> Reading | list[Reading]:
        """Read one image, or a list of images.

        Args:
            source: what `images.load_gray` takes, or a list or tuple of such.

        Returns:
            One reading, or a list of them in the same order.

        Raises:
            UnreadableImage: an image cannot be read; it is named.
        """
        if not isinstance(source, list | tuple):
            return self._read_plates([_load(source)])[0]
        readings = []
        # So few are not worth a thread of their own.
        short = len(source) <= AT_A_TIME
        for reading in self._read_batch(list(source)) if short else self.stream(source):
            if isinstance(reading, ImageError):
                raise reading
            readings.append(reading)
        return readings

    def stream(self, sources: Iterable[ImageSource]) -> Iterator[Reading | ImageError]:
        """Read any number of images in their order; only a few batches are in memory at a time.

        Args:
            sources: what `images.load_gray` takes, each. A thread of its own goes through them, a
                few batches ahead; an error that they raise comes after what was read before.

        Yields:
            A reading of each as soon as it is read, or, where an image cannot be read, the error
            that names it.

        Raises:
            TypeError: it is one image, or the name of one.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"stream takes many images, not {sources!r:.50}; read takes one")
        yield from map_batches(
            self._read_batch, map(_fetch, sources), num_threads=self.num_threads, size=AT_A_TIME
        )

    def read_folder(self, directory: Path | str) -> Iterator[tuple[Path, Reading | ImageError]]:
        """Read the images of a folder in name order, as `stream` does.

        >>> [reading.text for path, reading in PlateReader().read_folder("data/test")][:3]
        ['07303', '12891', '13082']

        Raises:
            DatasetError: there is no such folder, or no image in it.
        """
        paths = list_images(directory)
        return zip(paths, self.stream(paths), strict=True)

    def _read_batch(self, sources: list[ImageSource]) -> list[Reading | ImageError]:
        plates: list[Plate | ImageError] = []
        for source in sources:
            try:
                plates.append(_load(source))
            except ImageError as error:
                plates.append(error)
        readable = [plate for plate in plates if not isinstance(plate, ImageError)]
        readings = iter(self._read_plates(readable) if readable else [])
        return [plate if isinstance(plate, ImageError) else next(readings) for plate in plates]

    def _read_plates(self, plates: list[Plate]) -> list[Reading]:
        images, shapes = zip(*plates, strict=True)
        return _readings(self.predict(np.array(images)[..., None]), self.calibration, shapes)


class _Unopened:
    """What stands for a reader whose weights could not be opened: any use of it raises why.

    Raised while a task is taken from its queue, the error would end the process of a pool.
    """

    def __init__(self, error: Exception):
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def _opened(*arguments: Any) -> "PlateReader | _Unopened":
    """A copy of a reader, in whatever process it is needed."""
    try:
        return PlateReader(*arguments)
    except Exception as error:
        return _Unopened(error)


def _load(source: ImageSource) -> Plate:
    gray = load_gray(source)
    return letterbox(gray), gray.shape


def _fetch(source: ImageSource) -> ImageSource:
    """A small file as its content, under its name: threads that open files wait for one another.

    All else stays as it is; `_load` reports what is wrong with it, or decodes it in parallel.
    """
    if not isinstance(source, str | os.PathLike):
        return source
    try:
        status = Path(source).stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > SMALL_FILE:
            return source
        file = BytesIO(Path(source).read_bytes())
        file.name = os.fspath(source)
    except Exception:  # an object of somebody's own can raise anything
        return source
    return file


def to_readings(
    look: ModelOutput, calibration: PlattScaling | None = None, digits: int = NUM_DIGITS
) -> list[Reading]:
    """What the network says of n plates -> n readings; without a calibration, P(text) is told.

    Digits stand in the columns of the plates.
    """
    return _readings(decode_output(look, digits), calibration)


def decode_output(look: ModelOutput, digits: int = NUM_DIGITS) -> Predictions:
    """The same as `decode_plates`, with the places of the digits in their plates."""
    return decode_logits(look.logits, digits).placed(x_affine(look.crop))


def _readings(
    decoded: Predictions,
    calibration: PlattScaling | None,
    shapes: Sequence[tuple[int, int]] = (),
) -> list[Reading]:
    """Readings, with the digits in the columns of plates, or of images of these shapes."""
    columns = decoded.digit_position * PLATE_WIDTH
    for row, (height, width) in enumerate(shapes):
        if (height, width) != (PLATE_HEIGHT, PLATE_WIDTH):
            left, _, shown, _ = box_in_plate(height, width)
            columns[row] = ((columns[row] - left) * width / shown).clip(0, width)
    confidences = decoded.text_probability
    if calibration is not None:
        confidences = calibration(confidences, decoded.length_probability)
    return [
        Reading(text, confidence, tuple(map(Digit, text, *of_digits)), greedy)
        for text, confidence, *of_digits, greedy in zip(
            decoded.texts,
            confidences.tolist(),
            decoded.digit_confidence.tolist(),
            columns.tolist(),
            decoded.greedy_texts,
            strict=True,
        )
    ]


def _calibration(weights: Path, description: dict) -> PlattScaling | None:
    found = description.get("calibration")
    try:
        return None if found is None else PlattScaling(**found)
    except TypeError as error:
        raise WeightsError(f"{weights.with_suffix('.json')}: its calibration is damaged") from error
