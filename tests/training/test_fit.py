import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from plate_ocr.network.checkpoint import load_metadata, load_model
from plate_ocr.network.crnn import NUM_TIME_STEPS
from plate_ocr.plates.alphabet import NUM_CLASSES
from plate_ocr.plates.dataset import render_plates
from plate_ocr.training import callbacks
from plate_ocr.training.config import CONFIGS, TrainingError
from plate_ocr.training.fit import train, warmup_cosine

# With everything a configuration can ask for.
TINY = replace(CONFIGS["robust"], name="tiny", batch_size=16, epochs=4, warmup_steps=3, dropout=0.2)
PROBES = [0, 2, 5, 8, 11]  # of 12 steps


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(48))


@pytest.fixture(scope="module")
def validation():
    return render_plates(range(90_000, 90_008))


@pytest.fixture(scope="module", autouse=True)
def probes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "PROBE_STEPS", PROBES)
        yield


@pytest.fixture(scope="module")
def uninterrupted(plates, validation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return *train(plates, validation, TINY, folder, validation.images[:2]), folder


def assert_equal_weights(actual, expected, **tolerance):
    for weight, other in zip(actual.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, **tolerance)


def test_the_learning_rate_warms_up_and_decays():
    schedule = warmup_cosine(1e-3, steps=1_000, warmup_steps=100)
    rates = [float(schedule(step)) for step in (0, 100, 500, 1_000)]
    assert rates == pytest.approx([1e-4, 1e-3, 0.6e-3, 1e-5], rel=0.1)
    assert warmup_cosine(1e-3, steps=1_000, warmup_steps=0) == 1e-3


class Killed(BaseException):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(
    plates, validation, uninterrupted, tmp_path, monkeypatch
):
    """Killed between the weights of epoch 3 and the state that names them; then run again."""
    write_text = callbacks.write_text

    def write(path, text):
        if json.loads(text)["epoch"] == 3:
            raise Killed
        write_text(path, text)

    monkeypatch.setattr(callbacks, "write_text", write)
    with pytest.raises(Killed):
        train(plates, validation, TINY, tmp_path, validation.images[:2])
    monkeypatch.setattr(callbacks, "write_text", write_text)
    assert json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))["epoch"] == 2
    model, state = train(plates, validation, TINY, tmp_path, validation.images[:2])
    expected_model, expected, _ = uninterrupted
    for name in ("epoch", "loss", "logits_loss", "box_loss", "val_loss"):
        assert [row[name] for row in state["history"]] == pytest.approx(
            [row[name] for row in expected["history"]], rel=1e-4
        )
    assert state["best_epoch"] == expected["best_epoch"]
    assert_equal_weights(model, expected_model, rtol=1e-4, atol=1e-5)
    for run in (state, expected):
        assert [probe["step"] for probe in run["probes"]] == PROBES
    logits, others = (
        np.array([probe["logits"] for probe in run["probes"]]) for run in (state, expected)
    )
    assert logits.shape == (len(PROBES), 2, NUM_TIME_STEPS, NUM_CLASSES)
    np.testing.assert_allclose(logits, others, atol=2e-3)
    assert np.abs(np.diff(logits, axis=0)).max(axis=(1, 2, 3)).min() > 1e-2  # it learns
    # The best and the last epoch are kept, nothing else and nothing half-written.
    names = {f"epoch-{epoch:03d}.weights.h5" for epoch in (4, state["best_epoch"])}
    assert {path.name for path in tmp_path.iterdir()} == names | {"state.json"}


def test_shared_plates_are_refused(plates, tmp_path):
    with pytest.raises(TrainingError):
        train(plates, plates, TINY, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_goes_on_from_initial_weights(plates, validation, random_weights, tmp_path):
    config = replace(TINY, learning_rate=1e-5, warmup_steps=0, epochs=1)
    model, _ = train(plates, validation, config, tmp_path, initial_weights=random_weights)
    given = load_model(random_weights, load_metadata(random_weights))
    for weight, expected in zip(model.trainable_weights, given.trainable_weights, strict=True):
        assert not np.array_equal(weight, expected)
        np.testing.assert_allclose(weight, expected, atol=1e-4)


@pytest.mark.slow
def test_mixed_precision_leaves_float32_weights_and_the_default_policy(
    plates, validation, tmp_path
):
    config = replace(TINY, epochs=1)
    model, state = train(plates, validation, config, tmp_path, precision="mixed_bfloat16")
    assert model.get_layer("convolution_2").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    assert state["run"]["precision"] == "mixed_bfloat16"
