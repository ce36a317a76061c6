"""Networks with fresh weights, in the engine of our reader: their speed, nothing else."""

import numpy as np

from benchmarks.peers import NETWORKS
from benchmarks.readers import Reader
from plate_ocr.engines import OnnxEngine


def load(variant: str) -> Reader:
    """Load what `benchmarks.networks` exported under this name."""
    path = NETWORKS / f"{variant}.onnx"
    engine = OnnxEngine(path.read_bytes(), path)

    def read(images: np.ndarray) -> list[str]:
        engine(images[..., None])  # the bare graph: its answers mean nothing
        return [""] * len(images)

    return Reader(read, (path,))
