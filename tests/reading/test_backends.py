import numpy as np
import onnx
import pytest
from conftest import PROJECT

from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading import backends
from plate_ocr.reading.backends import NETWORK_BATCH, KerasBackend, OnnxBackend
from plate_ocr.reading.reader import FALLBACK_THRESHOLD, PlateReader
from plate_ocr.training.export import TOLERANCE, check_export


def test_backends_read_hard_plates_alike():
    images = list(load_benchmark("tuning").sample(500).images)
    expected = PlateReader(backend="keras").read(images)
    for backend in ("onnx", "openvino"):
        reader = PlateReader(backend=backend, num_threads=2)
        readings = reader.read(images)
        assert [reading.text for reading in readings] == [reading.text for reading in expected]
        changes = np.subtract(*([one.confidence for one in read] for read in (readings, expected)))
        # In bfloat16 OpenVINO crops some plates a little differently.
        reduced_precision = getattr(reader.backend, "reduced_precision", False)
        assert np.abs(changes).max() < (0.2 if reduced_precision else 0.05)


def test_onnx_gives_the_output_of_keras():
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 128, 1), np.uint8)
    images = np.concatenate([render_plates(range(90_000, 90_200)).images, noise])
    expected, output = (
        PlateReader(backend=backend).forward(images) for backend in ("keras", "onnx")
    )
    np.testing.assert_allclose(output.crop, expected.crop, atol=TOLERANCE)
    np.testing.assert_allclose(output.logits, expected.logits, atol=TOLERANCE)


def test_openvino_reads_any_number_of_plates(random_weights):
    images = np.random.default_rng(0).integers(0, 256, (70, 64, 128, 1), np.uint8)
    expected = PlateReader(random_weights).forward(images)
    backend = PlateReader(random_weights, backend="openvino").backend
    for count in (1, NETWORK_BATCH // 2, NETWORK_BATCH + 1, 70):
        output = backend(images[:count])
        assert output.logits.shape == (count, 16, 11) and output.crop.shape == (count, 4)
        assert np.median(np.abs(output.logits - expected.logits[:count])) < 0.1


def test_low_confidence_plates_are_read_again_in_float32(monkeypatch):
    """On a processor with bfloat16, which is simulated by noise."""
    plates = load_benchmark("captcha").images[:60]
    low = PlateReader().predict(plates).text_probability < FALLBACK_THRESHOLD - 0.1

    class ReducedPrecision(OnnxBackend):
        def __init__(self, network, num_threads, float32=False):
            super().__init__(network, "dr_model.onnx")
            self.reduced_precision = not float32

        def __call__(self, images):
            output = super().__call__(images)
            if self.reduced_precision:
                output.logits[:] += np.random.default_rng(0).normal(0, 0.1, output.logits.shape)
            return output

    monkeypatch.setattr(backends, "OpenvinoBackend", ReducedPrecision)
    for tta in (False, True):
        expected = PlateReader(tta=tta).predict(plates)
        predictions = PlateReader(backend="openvino", tta=tta).predict(plates)
        same = np.isclose(predictions.text_probability, expected.text_probability, atol=1e-6)
        assert low.sum() > 10 and same[low].all() and not same.all()


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


def test_an_export_of_another_version_is_named():
    network = onnx.load(PROJECT / "dr_model.onnx")
    del network.graph.output[1]
    with pytest.raises(WeightsError, match=r"old\.onnx"):
        OnnxBackend(network.SerializeToString(), "old.onnx")
