"""Networks with fresh weights, in ONNX Runtime as our reader uses it: their speed, nothing else."""

import numpy as np

from benchmarks.baselines import NETWORKS
from benchmarks.readers import Reader
from plate_ocr.reading.backends import NETWORK_BATCH, onnx_session


def load(variant: str) -> Reader:
    """Load what `benchmarks.reference_models` exported under this name."""
    path = NETWORKS / f"{variant}.onnx"
    session = onnx_session(path.read_bytes())

    def read(images: np.ndarray) -> list[str]:
        plates = images[..., None]
        for start in range(0, len(plates), NETWORK_BATCH):  # the outputs mean nothing
            session.run(None, {"plates": plates[start : start + NETWORK_BATCH]})
        return [""] * len(images)

    return Reader(read, (path,))
