"""Exports read as Keras does; tests/reading/test_reader.py compares backends on more plates."""

import shutil

import keras
import numpy as np
import onnx
import pytest
from conftest import PROJECT

from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.backends import KerasBackend, OnnxBackend
from plate_ocr.reading.reader import decode_output, to_readings
from plate_ocr.training.export import (
    TOLERANCE,
    LitertBackend,
    check_export,
    export_litert,
    to_onnx,
)


def test_onnx_gives_the_logits_of_keras_by_two_one_way_lstms(tmp_path):
    rng = np.random.default_rng(0)
    model = build_model(use_cudnn=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    network = to_onnx(model, tmp_path / "network.onnx")
    plates = rng.integers(0, 256, (16, 64, 128, 1), np.uint8)
    logits = OnnxBackend(network, "network.onnx")(plates).logits
    np.testing.assert_allclose(logits, model.predict(plates, verbose=0), atol=TOLERANCE)
    lstms = [node for node in onnx.load_from_string(network).graph.node if node.op_type == "LSTM"]
    directions = [item.s for node in lstms for item in node.attribute if item.name == "direction"]
    assert len(lstms) == 2 and b"bidirectional" not in directions


@pytest.mark.parametrize(
    "damage",
    [
        lambda output: output._replace(logits=output.logits * np.nan),
        lambda output: output._replace(logits=output.logits + 0.01),
        lambda output: output._replace(crop=output.crop + 1),
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
    path = export_litert(tmp_path / "dr_model.h5")
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
