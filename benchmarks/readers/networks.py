"""Networks with fresh weights, in the engine of our reader: their speed, nothing else."""

import numpy as np

from benchmarks.peers import NETWORKS
from benchmarks.readers import Reader
from plate_ocr.decoding import greedy_decode
from plate_ocr.reader import OnnxEngine


def load(variant: str) -> Reader:
    """Load what `benchmarks.networks` exported under this name."""
    path = NETWORKS / f"{variant}.onnx"
    engine = OnnxEngine(path, threads=1)

    def read(images: np.ndarray) -> list[str]:
        return greedy_decode(engine(images[..., None]))

    return Reader(read, (path,))
