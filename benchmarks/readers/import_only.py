"""No reader: what importing ONNX Runtime, NumPy and Pillow costs by itself."""

import numpy as np
import onnxruntime  # noqa: F401
from PIL import Image  # noqa: F401

from benchmarks.readers import Reader


def load(variant: str) -> Reader:
    """Read nothing."""

    def read(images: np.ndarray) -> list[str]:
        return [""] * len(images)

    return Reader(read)
