"""PlateReader: weights and any image -> the digits of the plate, with confidences."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from plate_ocr.network import checkpoint
from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.dataset import list_images
from plate_ocr.plates.images import ImageError, ImageSource, box_in_plate, letterbox, load_gray
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading import backends
from plate_ocr.reading.calibration import PlattScaling
from plate_ocr.reading.ctc import Predictions, decode_logits
from plate_ocr.reading.tta import decode_with_views
from plate_ocr.utils import cores, map_batches

BATCH_SIZE = 128  # plates that are loaded, run and decoded together
# Plates below this P(text) are read again in float32 if the backend computes in bfloat16. Of 44,500
# plates two above it were read differently.
FALLBACK_THRESHOLD = 0.8
# Plates below this P(text) get test-time augmentation: one in fifty, of damaged ones one in twenty.
TTA_THRESHOLD = 0.98


class Digit(NamedTuple):
    """One digit of a reading."""

    digit: str
    confidence: float  # the network's highest probability of this digit, 0 to 1
    x: float  # its center, in pixels from the left edge of the image after its EXIF rotation


@dataclass(frozen=True)
class Reading:
    """What was read on one plate."""

    text: str  # exactly `PlateReader.digits` digits: five with the shipped weights, by default
    confidence: float  # the probability that all digits are correct, 0 to 1
    digits: tuple[Digit, ...]  # from left to right
    greedy_text: str  # by greedy decoding, any number of digits

    def __str__(self) -> str:
        percent = 100 * self.confidence
        return f"{self.text} ({percent if percent == 100 else min(percent, 99.9):.1f}%)"


class PlateReader:
    """Reads plates with trained weights.

    >>> reading = PlateReader().read("data/test/32045.png")
    >>> reading.text, reading.confidence > 0.9
    ('32045', True)

    A reader can be pickled; the copy opens the weights again. Only one with ONNX Runtime works in
    a fork.

    Args:
        weights: the HDF5 file; beside it `<name>.json` with its hash and `<name>.onnx`, its export.
        backend: `"onnx"`; `"openvino"`, in bfloat16 where that is fast, with low-confidence plates
            read again in float32; or `"keras"`, which needs TensorFlow.
        num_threads: worker threads, ignored by Keras; 0 for one per core.
        tta: test-time augmentation of low-confidence plates, see `reading.tta`.
        digits: of a plate; by default as many as the weights were trained for.

    Raises:
        WeightsError: a file is missing, damaged, changed, or made for another network.
        ImportError: the backend is not installed.
    """

    def __init__(
        self,
        weights: Path | str = checkpoint.DEFAULT_WEIGHTS,
        backend: str = "onnx",
        num_threads: int = 0,
        tta: bool = False,
        digits: int | None = None,
    ) -> None:
        if num_threads < 0:
            raise ValueError(f"num_threads: must be 0 or more, not {num_threads}")
        weights = Path(weights)
        self._arguments = (weights.absolute(), backend, num_threads, tta, digits)
        self._process = os.getpid()  # the libraries wait for threads that a fork does not have
        metadata = checkpoint.load_metadata(weights)
        fitted = metadata.get("calibration")
        self.calibration = PlattScaling(**fitted) if fitted else None
        self.digits: int = metadata["digits"] if digits is None else digits  # of a plate
        if self.digits not in SUPPORTED_LENGTHS:
            raise ValueError(f"digits: must be 4 to 7, not {self.digits}")
        self.num_threads = num_threads or cores()
        self.tta = tta
        self._fallback: backends.Backend | None = None  # in float32
        self._threshold = TTA_THRESHOLD if tta else 0.0  # plates below it are read a second time
        if backend == "keras":
            model = checkpoint.load_model(weights, metadata)
            self.backend: backends.Backend = backends.KerasBackend(model)
            self.num_threads = 1  # Keras spreads one batch over the cores itself
        elif backend == "onnx":
            network = _load_export(weights, metadata)
            self.backend = backends.OnnxBackend(network, weights.with_suffix(".onnx"))
        elif backend == "openvino":
            network = _load_export(weights, metadata)
            self.backend = backends.OpenvinoBackend(network, self.num_threads)
            if self.backend.reduced_precision:
                self._fallback = backends.OpenvinoBackend(network, self.num_threads, float32=True)
                self._threshold = max(self._threshold, FALLBACK_THRESHOLD)
        else:
            raise ValueError(f"backend: must be keras, onnx or openvino, not {backend!r}")

    def __reduce__(self) -> tuple[type, tuple]:
        return PlateReader, self._arguments

    def forward(self, images: np.ndarray) -> backends.ModelOutput:
        """Run the network: uint8 (n, 64, 128, 1), n > 0 -> logits (n, 16, 11), crop (n, 4)."""
        if self._arguments[1] != "onnx" and os.getpid() != self._process:
            raise RuntimeError("a fork cannot use this reader: start processes with 'spawn'")
        return self.backend(images)

    def predict(self, images: np.ndarray) -> Predictions:
        """Decode plates, uint8 (n, 64, 128, 1), n > 0, with fallback and test-time augmentation."""
        output = self.forward(images)
        predictions = decode_output(output, self.digits)
        (rows,) = np.nonzero(predictions.text_probability < self._threshold)
        if not len(rows):
            return predictions
        images, backend = images[rows], self._fallback or self.backend
        output = backends.ModelOutput(output.logits[rows], output.crop[rows])
        if self._fallback:
            output = self._fallback(images)
        if self.tta:
            again = decode_with_views(backend, images, output, self.digits)
        else:
            again = decode_output(output, self.digits)
        for field, values in zip(predictions, again, strict=True):
            for row, value in zip(rows, values, strict=True):
                field[row] = value
        return predictions

    @overload
    def read(self, source: ImageSource) -> Reading: ...

    @overload
    def read(self, source: list[Any] | tuple[Any, ...]) -> list[Reading]: ...

    def read(self, source: ImageSource | list[Any] | tuple[Any, ...]) -> Reading | list[Reading]:
        """Read one image, in any form that `images.load_gray` takes, or a list of images.

        Raises:
            ImageError: an image cannot be read; it is named.
        """
        if not isinstance(source, list | tuple):
            return self.read([source])[0]
        readings = []
        one_batch = len(source) <= BATCH_SIZE  # needs no threads
        for reading in self._read_batch(source) if one_batch else self.stream(source):
            if isinstance(reading, ImageError):
                raise reading
            readings.append(reading)
        return readings

    def stream(self, sources: Iterable[ImageSource]) -> Iterator[Reading | ImageError]:
        """Read any number of images in order; only a few batches are in memory at a time.

        Yields:
            The reading of each, or, for an image that cannot be read, the error that names it.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"stream takes many images, not {sources!r:.50}; read takes one")
        yield from map_batches(
            self._read_batch, sources, num_threads=self.num_threads, size=BATCH_SIZE
        )

    def read_folder(self, directory: Path | str) -> Iterator[tuple[Path, Reading | ImageError]]:
        """Read the images of a folder in name order, as `stream` does.

        Raises:
            DatasetError: there is no such folder, or no image in it.
        """
        paths = list_images(directory)
        return zip(paths, self.stream(paths), strict=True)

    def _read_batch(self, sources: Sequence[ImageSource]) -> list[Reading | ImageError]:
        errors: list[ImageError | None] = []
        plates, shapes = [], []
        for source in sources:
            try:
                gray = load_gray(source)
                plates.append(letterbox(gray))
                shapes.append(gray.shape)
                errors.append(None)
            except ImageError as error:
                errors.append(error)
        if not plates:
            return errors
        predictions = self.predict(np.array(plates)[..., None])
        readings = iter(to_readings(predictions, self.calibration, shapes))
        return [error or next(readings) for error in errors]


def _load_export(weights: Path, metadata: dict) -> bytes:
    """The content of `<name>.onnx`, if it is the export of these weights."""
    path = weights.with_suffix(".onnx")
    try:
        if metadata.get("onnx_source_sha256") != metadata["sha256"][weights.name]:
            raise checkpoint.WeightsError(f"{path}: not made from {weights}")
        return checkpoint.read_verified(path, metadata["sha256"].get(path.name))
    except checkpoint.WeightsError as error:
        command = f"run python -m plate_ocr export --weights {weights}"
        raise checkpoint.WeightsError(f"{error}; {command}") from error


def decode_output(output: backends.ModelOutput, digits: int = NUM_DIGITS) -> Predictions:
    """Decode logits, with positions as fractions of the plate's width."""
    return decode_logits(output.logits, digits).to_image_coordinates(backends.x_affine(output.crop))


def to_readings(
    predictions: Predictions,
    calibration: PlattScaling | None = None,
    shapes: Sequence[tuple[int, int]] = (),
) -> list[Reading]:
    """Readings with `x` in pixels of the plates, or of the images that have these shapes.

    Without a calibration, the confidence is P(text).
    """
    xs = predictions.digit_position * PLATE_WIDTH
    for row, (height, width) in enumerate(shapes):
        if (height, width) != (PLATE_HEIGHT, PLATE_WIDTH):
            left, _, scaled_width, _ = box_in_plate(height, width)
            xs[row] = ((xs[row] - left) * width / scaled_width).clip(0, width)
    probability = predictions.text_probability
    confidence = calibration(probability) if calibration else probability
    return [
        Reading(text, plate_confidence, tuple(map(Digit, text, digit_confidence, x)), greedy_text)
        for text, greedy_text, digit_confidence, x, plate_confidence in zip(
            predictions.texts, predictions.greedy_texts, predictions.digit_confidence.tolist(),
            xs.tolist(), confidence.tolist(), strict=True,
        )
    ]  # fmt: skip
