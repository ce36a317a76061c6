"""Our network in OpenVINO; images and decoding as in our reader."""

from functools import cache

import numpy as np
import openvino

from benchmarks.readers import Reader
from plate_ocr.images import load_plate
from plate_ocr.reader import WEIGHTS, readings_from_logits
from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH


def load(variant: str) -> Reader:
    """Load the exported weights for one thread.

    Args:
        variant: the precision asked for, `f32` or `bf16`.
    """
    path = WEIGHTS.with_suffix(".onnx")
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": variant,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
    }

    @cache
    def compiled(plates: int) -> openvino.CompiledModel:
        # For every batch size anew: with an open one it takes up to four times as long.
        network = core.read_model(path)
        network.reshape([plates, PLATE_HEIGHT, PLATE_WIDTH, 1])
        return core.compile_model(network, "CPU", settings)

    def read(images: np.ndarray) -> list[str]:
        plates = np.stack([load_plate(image) for image in images])[..., None]
        return [reading.text for reading in readings_from_logits(compiled(len(plates))(plates)[0])]

    used = compiled(1).get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Reader(read, (path,), f"computes in {used}")
