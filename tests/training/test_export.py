"""Exports read as Keras does; tests/reading/test_reader.py compares backends on more plates."""

import numpy as np
import pytest

from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.reading.backends import KerasBackend
from plate_ocr.training.export import check_export


@pytest.mark.parametrize(
    "damage",
    [
        lambda output: output._replace(logits=output.logits * np.nan),
        lambda output: output._replace(crop=output.crop + 0.01),
    ],
)
def test_an_export_that_differs_from_keras_is_refused(damage):
    model = build_model(use_cudnn=False)
    backend = KerasBackend(model)
    check_export(backend, model, "mine.onnx")
    with pytest.raises(WeightsError, match=r"mine\.onnx"):
        check_export(lambda plates: damage(backend(plates)), model, "mine.onnx")
