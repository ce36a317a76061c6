"""The trained weights as ONNX, for reading without TensorFlow."""

import hashlib
import warnings
from pathlib import Path

import numpy as np

from plate_ocr.engines import KerasEngine, OnnxEngine, WeightsError
from plate_ocr.files import replacing
from plate_ocr.reader import check_weights, write_description
from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH

TOLERANCE = 1e-4  # largest difference of a logit between the two engines


def export_onnx(weights: Path | str) -> Path:
    """Write `<name>.onnx` beside the weights and add its hash to `<name>.json`.

    The new file must give the logits of Keras before it takes its place.

    Raises:
        WeightsError: the weights cannot be used, or the export reads otherwise than they do.
    """
    weights = Path(weights)
    description = check_weights(weights)
    model = KerasEngine.restore(weights, use_cudnn=False).model  # a cuDNN LSTM cannot be exported
    noise = np.random.default_rng(0).integers(0, 256, (8, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    expected = model.predict(noise, verbose=0)
    path = weights.with_suffix(".onnx")
    with replacing(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # tf2onnx on NumPy 2
            model.export(temporary, format="onnx", verbose=False)
        exported = temporary.read_bytes()
        difference = float(np.abs(OnnxEngine(exported, path)(noise) - expected).max())
        if difference > TOLERANCE:
            raise WeightsError(f"{path}: the export differs by {difference:.2g} in a logit")
        description["sha256"][path.name] = hashlib.sha256(exported).hexdigest()
        description["onnx_made_from"] = description["sha256"][weights.name]
        write_description(weights, description)
    return path
