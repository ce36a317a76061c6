"""The exported networks; whether ONNX reads as Keras does, tests/test_reader.py tells too."""

import itertools
import shutil

import keras
import numpy as np
import onnx
import pytest
from conftest import PROJECT

from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.network.spatial_transformer import CELL, FILTERS
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.backends import KerasBackend, OnnxBackend
from plate_ocr.reading.reader import to_readings
from plate_ocr.training.export import (
    CHANNELS,
    TOLERANCE,
    _compare,
    export_litert,
    litert_engine,
    to_onnx,
)


def shapes_of_kernels(exported):
    graph = onnx.load_from_string(exported).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return [shapes[node.input[1]] for node in graph.node if node.op_type == "Conv"]


def test_the_first_convolutions_of_the_export_have_channels_to_multiply_with():
    assert FILTERS[:2] == (12, 16) and CHANNELS == 16
    first, second, *_ = shapes_of_kernels((PROJECT / "dr_model.onnx").read_bytes())
    assert first == [16, CELL, 5, 2] and second == [16, 16, 3, 3]


@pytest.mark.parametrize("sign", [1, -1])
def test_normalisation_is_part_of_the_convolutions_of_the_export(sign, tmp_path):
    """But of those whose strongest answers it would turn into the weakest."""
    random = np.random.default_rng(0)
    model = build_model(use_cudnn=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            filters = layer.gamma.shape
            layer.gamma.assign(sign * random.uniform(0.5, 2, filters))
            layer.beta.assign(random.normal(size=filters))
            layer.moving_mean.assign(random.normal(size=filters))
            layer.moving_variance.assign(random.uniform(0.5, 2, filters))
    exported = to_onnx(model, tmp_path / "network.onnx")
    kinds = [node.op_type for node in onnx.load_from_string(exported).graph.node]
    behind_pools = [kind for pool, kind in itertools.pairwise(kinds) if pool == "MaxPool"]
    assert behind_pools.count("Mul") == (0 if sign > 0 else 2)
    plates = random.integers(0, 256, (16, 64, 128, 1), np.uint8)
    logits = OnnxBackend(exported, "network.onnx")(plates).logits
    np.testing.assert_allclose(logits, model.predict(plates, verbose=0), atol=TOLERANCE)


def test_an_export_that_gives_no_numbers_is_refused():
    model = build_model(use_cudnn=False)

    def backend(plates):
        look = KerasBackend(model)(plates)
        return look._replace(logits=look.logits * np.nan)

    with pytest.raises(WeightsError, match=r"mine\.onnx: the export differs by nan in a logit"):
        _compare(backend, model, "mine.onnx")


@pytest.mark.slow
def test_litert_reads_what_keras_reads(shipped, tmp_path):
    """Without TensorFlow's own operations: the interpreter would refuse those."""
    for name in ("dr_model.h5", "dr_model.json"):
        shutil.copy(PROJECT / name, tmp_path)
    path = export_litert(tmp_path / "dr_model.h5")
    conditions = load_benchmark("corruptions")
    harsh = np.flatnonzero(conditions.tags["severity"] >= 4)[::8]
    images = np.concatenate(
        [
            load_folder(PROJECT / "data" / "test").images,
            conditions.images[harsh],
            load_benchmark("held_out_fonts").sample(250).images,
        ]
    )
    assert len(images) == 560
    before, after = (
        to_readings(backend(images), shipped.calibration)
        for backend in (shipped.forward, litert_engine(path.read_bytes()))
    )
    assert [one.text for one in after] == [one.text for one in before]
    differences = [
        one.confidence - other.confidence for one, other in zip(after, before, strict=True)
    ]
    assert np.abs(differences).max() < 1e-4
    told = f"`dr_model.tflite`, {path.stat().st_size / 1e6:.1f} MB"
    assert told in (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
