"""Our reader, as a user calls it."""

import numpy as np

from benchmarks.readers import Reader
from plate_ocr.network.checkpoint import DEFAULT_EXPORT
from plate_ocr.reading.reader import PlateReader


def load(variant: str) -> Reader:
    """Load the committed weights for one thread.

    Args:
        variant: the engine, `onnx` or `openvino`.
    """
    reader = PlateReader(backend=variant, num_threads=1)

    def read(images: np.ndarray) -> list[str]:
        return [reading.text for reading in reader.read(list(images))]

    return Reader(read, (DEFAULT_EXPORT,))
