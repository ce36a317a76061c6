import json
import os
import signal
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from plate_ocr import utils
from plate_ocr.network.checkpoint import WeightsError, load_metadata, load_model
from plate_ocr.network.crnn import build_model, localization_model
from plate_ocr.plates.dataset import PlateDataset, render_plates
from plate_ocr.training import fit
from plate_ocr.training.config import CONFIGS, TrainingError, get_config
from plate_ocr.training.distributed import Distributed, HostError, run_in_subprocess
from plate_ocr.training.fit import (
    CoverageBatches,
    PlateBatches,
    ResumableCheckpoint,
    best_dtype_policy,
    in_process_pool,
    load_runs,
    make_augmentation,
    save_model,
    save_run,
    train,
    train_localization,
    warmup_cosine,
)

# With everything a configuration can ask for.
TINY = replace(
    CONFIGS["default"], name="tiny", batch_size=16, epochs=4, warmup_steps=3, dropout=0.2
)


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(48))


@pytest.fixture(scope="module")
def validation():
    return render_plates(range(90_000, 90_008))


@pytest.fixture(scope="module")
def uninterrupted(plates, validation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return *train(plates, validation, TINY, folder, validation.images[:2]), folder


def assert_one_line(error, path=""):
    """The message of an error is one line and names a file."""
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 400 + len(str(path))


def assert_equal_weights(actual, expected, **tolerance):
    for weight, other in zip(actual.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, **tolerance)


def test_the_baseline_is_the_run_this_project_started_from():
    config = CONFIGS["baseline"]
    assert (config.learning_rate, config.batch_size, config.dropout) == (3e-4, 256, 0.5)
    assert (config.epochs, config.patience, config.plates) == (55, 5, 60_000)
    assert not config.warmup_steps and make_augmentation(config) is None


def test_an_unknown_configuration_is_refused_with_the_known_ones():
    assert get_config("quick") is CONFIGS["quick"]
    with pytest.raises(TrainingError, match=r"fast: .*quick"):
        get_config("fast")


def test_the_learning_rate_warms_up_and_decays():
    schedule = warmup_cosine(1e-3, steps=1_000, warmup_steps=100)
    rates = [float(schedule(step)) for step in (0, 100, 500, 1_000)]
    assert rates == pytest.approx([1e-4, 1e-3, 0.6e-3, 1e-5], rel=0.1)
    assert warmup_cosine(1e-3, steps=1_000, warmup_steps=0) == 1e-3


def test_every_epoch_takes_every_plate_once_in_its_own_order(plates):
    batches = PlateBatches(plates, 20, seed=1)

    def images_of(epoch):
        batches.shuffle(epoch)
        loaded = [batches[batch] for batch in range(len(batches))]
        assert [len(labels) for _, labels in loaded] == [20, 20, 8]
        return np.concatenate([images for images, _ in loaded])

    first, second = images_of(0), images_of(1)
    assert not np.array_equal(first, second) and np.array_equal(second, images_of(1))
    ordered = [sorted(map(np.ndarray.tobytes, images)) for images in (first, second, plates.images)]
    assert ordered[0] == ordered[1] == ordered[2]


def test_augmentation_starts_after_the_clean_epochs_and_is_reproducible(plates):
    augmented = PlateBatches(plates, 20, 1, make_augmentation(TINY), clean_epochs=1)
    clean = PlateBatches(plates, 20, 1)
    for epoch in range(3):
        augmented.shuffle(epoch)
        clean.shuffle(epoch)
        images, labels = augmented[0]
        assert np.array_equal(labels, clean[0][1])
        assert np.array_equal(images, clean[0][0]) == (epoch == 0)
        assert np.array_equal(images, augmented[0][0])


@pytest.mark.parametrize("config", [TINY, CONFIGS["baseline"]])
def test_coverage_targets_belong_to_the_same_plates(plates, config):
    augment = make_augmentation(config)
    images, coverage = CoverageBatches(plates, 20, 1, augment)[1]
    assert np.array_equal(images, PlateBatches(plates, 20, 1, augment)[1][0])
    assert coverage.shape == (20, 48) and ((coverage >= 0) & (coverage <= 1)).all()
    if augment is None:  # columns with ink are covered
        ink = (images[..., 0] < 200).reshape(20, 64, 32, 4).any(axis=(1, 3))
        assert (coverage[:, :32][ink] > 0).all()


def test_processes_augment_as_threads_do(plates):
    augment = make_augmentation(TINY)
    with in_process_pool(augment, processes=3) as in_processes:
        assert in_processes is not augment
        expected, actual = (PlateBatches(plates, 20, 1, a)[2] for a in (augment, in_processes))
    assert np.array_equal(expected[0], actual[0])


@pytest.mark.parametrize("kind", [PlateBatches, CoverageBatches])
def test_every_host_takes_its_own_shard_of_a_batch(plates, kind):
    whole = kind(plates, 12, 1)[0]
    shards = [kind(plates, 12, 1, host=Distributed(index, 3, 3))[0] for index in range(3)]
    for part, expected in enumerate(whole):
        assert np.array_equal(np.concatenate([shard[part] for shard in shards]), expected)
    with pytest.raises(TrainingError, match="5 devices"):
        kind(plates, 12, 0, host=Distributed(0, 5, 5))


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "moment",
    [
        *(pytest.param(moment, marks=pytest.mark.slow) for moment in ("localization", "weights")),
        "state",
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    plates, validation, uninterrupted, tmp_path, monkeypatch, moment
):
    """Killed in an epoch 3, before or after its weights are written; then run again."""
    write_text, save_weights = fit.write_text, keras.Model.save_weights
    killed = tmp_path / "localization" if moment == "localization" else tmp_path

    def write(path, text):
        if moment != "weights" and path.parent == killed and json.loads(text)["epoch"] == 3:
            raise Killed
        write_text(path, text)

    def save(model, path, **options):
        if moment == "weights" and path.parent == killed and "epoch-003" in path.name:
            raise Killed
        save_weights(model, path, **options)

    monkeypatch.setattr(fit, "write_text", write)
    monkeypatch.setattr(keras.Model, "save_weights", save)
    with pytest.raises(Killed):
        train(plates, validation, TINY, tmp_path, validation.images[:2])
    monkeypatch.undo()
    assert json.loads((killed / "state.json").read_text(encoding="utf-8"))["epoch"] == 2
    model, state = train(plates, validation, TINY, tmp_path, validation.images[:2])
    expected_model, expected, _ = uninterrupted
    for name in ("epoch", "loss", "val_loss"):
        assert [row[name] for row in state["history"]] == pytest.approx(
            [row[name] for row in expected["history"]], rel=1e-4
        )
    assert state["best_epoch"] == expected["best_epoch"]
    assert_equal_weights(model, expected_model, rtol=1e-4, atol=1e-5)
    # The best and the last epoch are kept, nothing else and nothing half-written.
    names = {f"epoch-{epoch:03d}.weights.h5" for epoch in (4, state["best_epoch"])}
    assert {path.name for path in tmp_path.iterdir()} == names | {"state.json", "localization"}


def test_a_finished_run_is_not_trained_again(plates, validation, uninterrupted, monkeypatch):
    expected, _, folder = uninterrupted
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    model, state = train(plates, validation, TINY, folder)
    assert len(state["history"]) == TINY.epochs
    assert_equal_weights(model, expected)


def test_localization_trains_without_a_checkpoint(plates):
    model = build_model()
    before = [weight.copy() for weight in model.get_weights()]
    train_localization(model, CoverageBatches(plates, 16, 1), epochs=1)
    localizer = localization_model(model)
    changed = [not np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    assert any(changed) and sum(changed) <= len(localizer.get_weights())


class FakeModel:
    """Stands in for a network; its weights are the name of their file, unless set."""

    stop_training = False

    def __init__(self, weights=None):
        self.weights = weights

    def count_params(self):
        return 1

    def save_weights(self, path):
        path.write_text(path.name, encoding="utf-8")

    def load_weights(self, path):
        self.weights = path.read_text(encoding="utf-8")


def run_epochs(folder, losses, patience=2, name="fake"):
    callback = ResumableCheckpoint(folder, {"name": name}, patience)
    callback.set_model(FakeModel())
    for epoch, loss in enumerate(losses, start=callback.state["epoch"]):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": loss})
    return callback


def test_early_stopping_is_patient_across_a_restart_and_keeps_the_best_epoch(tmp_path):
    callback = run_epochs(tmp_path, [3.0, 2.0, 2.5])
    assert not callback.state["stopped"]
    callback = run_epochs(tmp_path, [2.1])
    assert callback.state["stopped"] and callback.model.stop_training
    assert callback.state["best_epoch"] == 2
    names = [path.name for path in sorted(tmp_path.glob("*.h5"))]
    assert names == ["epoch-002.weights.h5", "epoch-004.weights.h5"]
    callback.restore(callback.model, 2)
    assert "epoch-002" in callback.model.weights


def test_a_diverged_loss_ends_the_run_and_keeps_the_last_good_state(tmp_path):
    run_epochs(tmp_path, [3.0])
    with pytest.raises(TrainingError, match="nan in epoch 2"):
        run_epochs(tmp_path, [float("nan")])
    assert run_epochs(tmp_path, []).state["epoch"] == 1


def test_checkpoints_of_another_run_are_refused(tmp_path):
    run_epochs(tmp_path, [3.0])
    with pytest.raises(TrainingError, match="another run") as error:
        run_epochs(tmp_path, [], name="other")
    assert_one_line(error, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "{}", "7", "[" * 100_000, None])
def test_a_state_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    path = tmp_path / "state.json"
    path.mkdir() if content is None else path.write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError) as error:
        run_epochs(tmp_path, [])
    assert_one_line(error, path)


@pytest.mark.parametrize("epoch", [2, 4])  # the best and the last
@pytest.mark.parametrize("content", [b"changed", None])
def test_damaged_weights_are_refused_before_they_are_opened(tmp_path, epoch, content):
    callback = run_epochs(tmp_path, [3.0, 2.0, 2.5, 2.1], patience=9)
    path = tmp_path / f"epoch-{epoch:03d}.weights.h5"
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(TrainingError) as error:
        run_epochs(tmp_path, [])
    assert_one_line(error, path)
    with pytest.raises(TrainingError) as error:
        callback.restore(FakeModel(), epoch)
    assert_one_line(error, path)


@pytest.mark.parametrize("name", ["taken", "taken/deeper"])
def test_a_directory_that_cannot_be_made_is_refused_before_the_first_epoch(tmp_path, name):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(TrainingError) as error:
        run_epochs(tmp_path / name, [])
    assert_one_line(error, tmp_path / "taken")


@pytest.mark.parametrize("fault", ["training", "validation", "7", "48 validation", "tiny"])
def test_plates_and_configurations_that_cannot_be_used_are_refused(
    plates, validation, tmp_path, fault
):
    empty, config = PlateDataset(plates.images[:0], [], []), TINY
    if fault == "training":
        plates = empty
    elif fault == "validation":
        validation = empty
    elif fault == "7":
        validation = render_plates(range(9_000_000, 9_000_004), digits=7)
    elif fault == "48 validation":
        validation = plates
    else:
        config = replace(TINY, localization_epochs=0)  # needs initial weights
    with pytest.raises(TrainingError, match=fault):
        train(plates, validation, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_starts_from_initial_weights(plates, validation, random_weights, tmp_path):
    config = replace(TINY, learning_rate=0.0, warmup_steps=0, epochs=1)
    model, _ = train(plates, validation, config, tmp_path, initial_weights=random_weights)
    given = load_model(random_weights, load_metadata(random_weights))
    localization_model(given).trainable = False  # as in training
    for weight, expected in zip(model.trainable_weights, given.trainable_weights, strict=True):
        assert np.array_equal(weight, expected)
    assert_equal_weights(localization_model(model), localization_model(given))
    with pytest.raises(TrainingError, match="another run"):
        train(plates, validation, config, tmp_path)
    with pytest.raises(WeightsError, match=r"none\.h5"):
        train(plates, validation, config, tmp_path, initial_weights="none.h5")


def test_saved_weights_carry_no_optimizer_and_load_both_ways(uninterrupted, tmp_path):
    model, path = uninterrupted[0], tmp_path / "saved.h5"
    assert model.get_layer("dropout").rate == TINY.dropout
    save_model(model, path)
    with h5py.File(path) as file:
        assert "optimizer_weights" not in file
    rebuilt = build_model()
    rebuilt.load_weights(path)
    for restored in (rebuilt, keras.models.load_model(path)):
        assert_equal_weights(restored, model)


def test_results_come_back_as_they_were_written(uninterrupted, tmp_path):
    _, state, _ = uninterrupted
    save_run(TINY, state, {"held_out_correct": 3}, tmp_path)
    ((result, history),) = load_runs(tmp_path).values()
    assert result["measured"] == {"held_out_correct": 3} and result["epochs"] == 4
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[0]["loss"] == pytest.approx(state["history"][0]["loss"], rel=1e-4)
    (tmp_path / "training_tiny.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="training_tiny") as error:
        load_runs(tmp_path)
    assert_one_line(error, tmp_path / "training_tiny.json")


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
        ("fma avx512_bf16 amx_bf16", "CPU", "mixed_bfloat16"),
        ("fma avx2", "CPU", "float32"),
        ("fma amx_bf16", "1 GPU", "float32"),
    ],
)
def test_bfloat16_is_used_where_the_processor_supports_it(monkeypatch, flags, device, precision):
    monkeypatch.setattr(utils, "cpuinfo", lambda field: flags)
    monkeypatch.setattr(fit, "device_name", lambda: device)
    assert best_dtype_policy() == precision


def test_a_lost_host_is_reported_in_one_line():
    for error in (ValueError("UNKNOWN: Gloo failed\nat length"), RuntimeError("INTERNAL: lost")):
        with pytest.raises(HostError) as reported, Distributed(1, 2, 2).session():
            raise error
        assert_one_line(reported)
    for host, error in (
        (Distributed(1, 2, 2), ValueError("a bug")),
        (Distributed(), ValueError("INTERNAL: x")),
    ):
        with pytest.raises(ValueError, match=str(error)), host.session():
            raise error


def test_work_ended_by_a_signal_is_reported_in_one_line(capfd):
    with pytest.raises(HostError, match="SIGKILL") as reported:
        run_in_subprocess(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert_one_line(reported)
    assert run_in_subprocess(lambda: print("done") or 3) == 3 and capfd.readouterr().out == "done\n"
