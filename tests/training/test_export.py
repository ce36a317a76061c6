"""Exports read as Keras does; tests/reading/test_reader.py compares backends on more plates."""

import shutil

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.backends import KerasBackend
from plate_ocr.reading.reader import decode_output, to_readings
from plate_ocr.training.export import LitertBackend, check_export, export_weights


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


@pytest.mark.slow
def test_litert_reads_what_keras_reads(shipped, tmp_path):
    for name in ("dr_model.h5", "dr_model.json"):
        shutil.copy(PROJECT / name, tmp_path)
    path = export_weights(tmp_path / "dr_model.h5", "litert")
    corruptions = load_benchmark("corruptions")
    severe = np.flatnonzero(corruptions.tags["severity"] >= 4)[::8]
    images = np.concatenate(
        [
            load_folder(PROJECT / "data" / "test").images,
            corruptions.images[severe],
            load_benchmark("held_out_fonts").sample(250).images,
        ]
    )
    expected, actual = (
        to_readings(decode_output(backend(images)))
        for backend in (shipped.forward, LitertBackend(path.read_bytes()))
    )
    assert [reading.text for reading in actual] == [reading.text for reading in expected]
    confidences = [[reading.confidence for reading in readings] for readings in (expected, actual)]
    np.testing.assert_allclose(*confidences, atol=1e-4)
