import json
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from conftest import run_python

from plate_ocr import utils
from plate_ocr.network.checkpoint import WeightsError, load_metadata, load_model
from plate_ocr.network.crnn import NUM_TIME_STEPS
from plate_ocr.plates.alphabet import NUM_CLASSES, decode, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.training import fit
from plate_ocr.training.config import CONFIGS, TrainingError
from plate_ocr.training.distributed import Distributed
from plate_ocr.training.fit import (
    PlateBatches,
    ResumableCheckpoint,
    best_dtype_policy,
    in_process_pool,
    load_runs,
    make_augmentation,
    make_targets,
    save_model,
    save_run,
    train,
    warmup_cosine,
)

# With everything a configuration can ask for.
TINY = replace(CONFIGS["robust"], name="tiny", batch_size=16, epochs=4, warmup_steps=3, dropout=0.2)
PROBES = [0, 2, 5, 8, 11]  # of 12 steps
PLAIN_KERAS = """
import sys
import keras, numpy
path, arrays = sys.argv[1:]
model = keras.models.load_model(path, compile=False)
numpy.save(arrays, model.predict(numpy.load(arrays), verbose=0))
assert "plate_ocr" not in sys.modules
"""


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(48))


@pytest.fixture(scope="module")
def validation():
    return render_plates(range(90_000, 90_008))


@pytest.fixture(scope="module", autouse=True)
def probes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "PROBE_STEPS", PROBES)
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


def test_every_epoch_takes_every_plate_once_in_its_own_order(plates):
    batches = PlateBatches(plates, 20, seed=1)

    def plates_of(epoch):
        batches.shuffle(epoch)
        loaded = [batches[batch] for batch in range(len(batches))]
        assert [len(targets["logits"]) for _, targets in loaded] == [20, 20, 8]
        return [
            (image.tobytes(), label)
            for images, targets in loaded
            for image, label in zip(images, decode(targets["logits"]), strict=True)
        ]

    first, second = plates_of(0), plates_of(1)
    assert first != second == plates_of(1)
    expected = zip(map(np.ndarray.tobytes, plates.images), plates.labels, strict=True)
    assert sorted(first) == sorted(second) == sorted(expected)


def test_targets_are_labels_and_edges_in_plate_widths_and_heights():
    labels = encode(["00123", "98765"])
    targets = make_targets(labels, np.array([[0, 16, 128, 48], [32, 0, 64, 64]]))
    assert targets["logits"] is labels and targets["box"].dtype == np.float32
    assert targets["box"].tolist() == [[0, 1, 0.25, 0.75], [0.25, 0.5, 0, 1]]


def assert_equal_batches(actual, expected):
    assert np.array_equal(actual[0], expected[0]) and actual[1].keys() == expected[1].keys()
    for name, target in actual[1].items():
        assert np.array_equal(target, expected[1][name])


def test_processes_augment_as_threads_do(plates):
    augment = make_augmentation(TINY)
    with in_process_pool(augment, processes=3) as in_processes:
        assert in_processes is not augment
        assert_equal_batches(*(PlateBatches(plates, 20, 1, a)[2] for a in (augment, in_processes)))


def test_every_host_takes_its_own_shard_of_a_batch(plates):
    augment = make_augmentation(TINY)
    images, targets = PlateBatches(plates, 12, 1, augment)[0]
    shards = [
        PlateBatches(plates, 12, 1, augment, Distributed(index, 3, 3))[0] for index in range(3)
    ]
    joined = {name: np.concatenate([shard[1][name] for shard in shards]) for name in targets}
    assert_equal_batches(
        (np.concatenate([shard[0] for shard in shards]), joined), (images, targets)
    )
    with pytest.raises(TrainingError, match="5 devices"):
        PlateBatches(plates, 12, 0, host=Distributed(0, 5, 5))


class Killed(BaseException):
    pass


def test_a_resumed_run_equals_an_uninterrupted_one(
    plates, validation, uninterrupted, tmp_path, monkeypatch
):
    """Killed between the weights of epoch 3 and the state that names them; then run again."""
    write_text = fit.write_text

    def write(path, text):
        if json.loads(text)["epoch"] == 3:
            raise Killed
        write_text(path, text)

    monkeypatch.setattr(fit, "write_text", write)
    with pytest.raises(Killed):
        train(plates, validation, TINY, tmp_path, validation.images[:2])
    monkeypatch.setattr(fit, "write_text", write_text)
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


class FakeModel:
    """Stands in for a network; its weights are the name of their file."""

    stop_training = False

    def count_params(self):
        return 1

    def save_weights(self, path):
        path.write_text(path.name, encoding="utf-8")


def run_epochs(folder, losses, patience=2):
    callback = ResumableCheckpoint(folder, {"name": "fake"}, patience)
    callback.set_model(FakeModel())
    for epoch, loss in enumerate(losses, start=callback.state["epoch"]):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {fit.MONITOR: loss})
    return callback


def test_early_stopping_is_patient_across_a_restart_and_keeps_the_best_epoch(tmp_path):
    assert not run_epochs(tmp_path, [3.0, 2.0, 2.5]).state["stopped"]
    callback = run_epochs(tmp_path, [2.1])
    assert callback.state["stopped"] and callback.model.stop_training
    assert callback.state["best_epoch"] == 2
    names = [path.name for path in sorted(tmp_path.glob("*.h5"))]
    assert names == ["epoch-002.weights.h5", "epoch-004.weights.h5"]


def test_a_diverged_loss_ends_the_run_and_keeps_the_last_good_state(tmp_path):
    run_epochs(tmp_path, [3.0])
    with pytest.raises(TrainingError, match="nan in epoch 2"):
        run_epochs(tmp_path, [float("nan")])
    assert run_epochs(tmp_path, []).state["epoch"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", b"{"),
        ("state.json", b"{}"),  # of another run
        ("epoch-002.weights.h5", b"changed"),  # the best
        ("epoch-004.weights.h5", b"changed"),  # the last
    ],
)
def test_damaged_checkpoints_are_refused_before_weights_are_opened(tmp_path, name, content):
    run_epochs(tmp_path, [3.0, 2.0, 2.5, 2.1], patience=9)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((TrainingError, OSError)) as error:
        run_epochs(tmp_path, [])
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


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
    with pytest.raises(WeightsError, match=r"none\.h5"):
        train(plates, validation, config, tmp_path, initial_weights="none.h5")


def test_saved_weights_restore_the_network_with_and_without_this_package(
    uninterrupted, validation, tmp_path
):
    model, path = uninterrupted[0], tmp_path / "saved.h5"
    assert model.get_layer("dropout").rate == TINY.dropout
    save_model(model, path)
    with h5py.File(path) as file:
        assert "optimizer_weights" not in file
    assert_equal_weights(load_model(path, load_metadata(path)), model)
    save_model(model, again := tmp_path / "again" / path.name)
    assert again.read_bytes() == path.read_bytes()
    expected = model.predict(validation.images, verbose=0)
    np.save(arrays := tmp_path / "arrays.npy", validation.images)
    assert run_python("-c", PLAIN_KERAS, path, arrays, cwd=tmp_path).returncode == 0
    np.testing.assert_allclose(np.load(arrays), expected, atol=1e-4)


def test_results_come_back_as_they_were_written(uninterrupted, tmp_path):
    model, state, _ = uninterrupted
    save_model(model, weights := tmp_path / "dr_model.h5")
    save_run(TINY, state, weights, {"held_out_correct": 3}, tmp_path)
    ((result, history),) = load_runs(tmp_path).values()
    assert result["measured"] == {"held_out_correct": 3} and result["epochs"] == 4
    assert result["origin"]["weights"] == load_metadata(weights)["sha256"][weights.name]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[0]["loss"] == pytest.approx(state["history"][0]["loss"], rel=1e-4)


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


@pytest.mark.parametrize(
    ("flags", "device", "precision"),
    [
        ("fma amx_bf16", "CPU", "mixed_bfloat16"),
        ("fma avx2", "CPU", "float32"),
        ("fma amx_bf16", "1 GPU", "float32"),
    ],
)
def test_bfloat16_is_used_where_the_processor_supports_it(monkeypatch, flags, device, precision):
    monkeypatch.setattr(utils, "cpuinfo", lambda field: flags)
    monkeypatch.setattr(fit, "device_name", lambda: device)
    assert best_dtype_policy() == precision
