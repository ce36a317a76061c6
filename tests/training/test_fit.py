import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest

from plate_ocr import utils
from plate_ocr.network.checkpoint import WeightsError, load_metadata, load_model
from plate_ocr.network.crnn import localization_model
from plate_ocr.plates.dataset import PlateDataset, render_plates
from plate_ocr.training import fit
from plate_ocr.training.config import CONFIGS, TrainingError
from plate_ocr.training.distributed import Distributed, HostError, run_in_subprocess
from plate_ocr.training.fit import (
    CoverageBatches,
    PlateBatches,
    ResumableCheckpoint,
    in_process_pool,
    load_runs,
    make_augmentation,
    save_model,
    save_run,
    train,
    train_localization,
)

# With everything a config can ask for: the learning rate rises and falls, plates are distorted.
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
def finished(tmp_path_factory):
    """The checkpoints of the uninterrupted run."""
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture(scope="module")
def uninterrupted(plates, validation, finished):
    return train(plates, validation, TINY, finished, validation.images[:2], verbose=0)


def test_the_dropout_of_a_recipe_reaches_the_network(uninterrupted):
    model, _ = uninterrupted
    (dropout,) = (layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    assert dropout.rate == TINY.dropout


def test_the_described_recipe_is_the_described_run():
    config = CONFIGS["baseline"]
    assert (config.learning_rate, config.batch_size) == (3e-4, 256)
    assert (config.epochs, config.patience, config.plates) == (55, 5, 60_000)
    assert config.schedule(235) == 3e-4 and config.clean_epochs is None


def test_the_shipped_recipe_warms_up_and_decays():
    config = CONFIGS["default"]
    assert (config.batch_size, config.epochs, config.patience) == (128, 55, 5)
    rates = [float(config.schedule(469)(step)) for step in (0, 600, 12_000, 55 * 469)]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert rates[1] == pytest.approx(1e-3, rel=1e-2) and rates[3] == pytest.approx(1e-5, rel=1e-2)


def test_every_epoch_takes_every_plate_once_in_an_order_of_its_own(plates):
    def epoch(number, seed=1):
        data = PlateBatches(plates, 20, seed)
        data.shuffle(number)
        batches = [data[batch] for batch in range(len(data))]
        assert [len(labels) for _, labels in batches] == [20, 20, 8]
        return np.concatenate([images for images, _ in batches])

    first, second = epoch(0), epoch(1)
    assert not np.array_equal(first, second) and np.array_equal(second, epoch(1))
    ordered = [sorted(map(np.ndarray.tobytes, images)) for images in (first, second, plates.images)]
    assert ordered[0] == ordered[1] == ordered[2]


def test_plates_are_distorted_anew_every_epoch_after_the_plain_ones(plates):
    data, plain = (
        PlateBatches(plates, 20, 1, make_augmentation(TINY), 1),
        PlateBatches(plates, 20, 1),
    )
    batches = {}
    for epoch in range(3):
        data.shuffle(epoch)
        plain.shuffle(epoch)
        batches[epoch], labels = data[0]
        clean, clean_labels = plain[0]
        assert np.array_equal(labels, clean_labels)
        assert np.array_equal(batches[epoch], clean) == (epoch == 0)
        assert np.array_equal(batches[epoch], data[0][0])  # and repeatably


def test_what_the_digits_cover_is_told_of_the_same_distorted_plates(plates):
    augment = make_augmentation(TINY)
    read, found = (kind(plates, 20, 1, augment, 0) for kind in (PlateBatches, CoverageBatches))
    for epoch in range(2):
        read.shuffle(epoch)
        found.shuffle(epoch)
        images, shares = found[1]
        assert np.array_equal(images, read[1][0]) and shares.shape == (20, 48)
        assert ((shares >= 0) & (shares <= 1)).all() and (shares.sum(axis=1) > 8).all()
    plain = CoverageBatches(plates, 20, 1)
    images, shares = plain[0]
    inked = (images[..., 0] < 200).reshape(20, 64, 32, 4).any(axis=(1, 3))
    assert (shares[:, :32][inked] > 0).all()


def test_processes_distort_as_threads_do(plates):
    augment = make_augmentation(replace(TINY, font_interpolation_prob=0.3))
    with in_process_pool(augment, cores=3) as in_processes:
        assert in_processes is not augment
        ours, theirs = (PlateBatches(plates, 20, 1, one)[2] for one in (augment, in_processes))
    assert np.array_equal(ours[0], theirs[0])
    with in_process_pool(augment, cores=2) as same:
        assert same is augment


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "moment",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in ("finding", "weights")), "state"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    plates, validation, uninterrupted, tmp_path, monkeypatch, moment
):
    """Killed in an epoch 3, before or after its weights are written; then run again."""
    write_text, save_weights = fit.write_text, keras.Model.save_weights
    killed = tmp_path / "finding" if moment == "finding" else tmp_path

    def write(path, text):
        if path.parent == killed and json.loads(text)["epoch"] == 3:
            raise Killed
        write_text(path, text)

    def save(model, path, **options):
        if path.parent == killed and "epoch-003" in path.name:
            raise Killed
        save_weights(model, path, **options)

    if moment != "weights":
        monkeypatch.setattr(fit, "write_text", write)
    else:
        monkeypatch.setattr(keras.Model, "save_weights", save)
    with pytest.raises(Killed):
        train(plates, validation, TINY, tmp_path, validation.images[:2], verbose=0)
    monkeypatch.undo()
    assert json.loads((killed / "state.json").read_text(encoding="utf-8"))["epoch"] == 2
    model, state = train(plates, validation, TINY, tmp_path, validation.images[:2], verbose=0)
    expected_model, expected = uninterrupted
    assert [row["epoch"] for row in state["history"]] == [1, 2, 3, 4]
    for row, expected_row in zip(state["history"], expected["history"], strict=True):
        assert row["loss"] == pytest.approx(expected_row["loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(expected_row["val_loss"], rel=1e-4)
    assert state["best_epoch"] == expected["best_epoch"]
    for ours, theirs in zip(model.get_weights(), expected_model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    # The best and the last epoch are kept, nothing else and nothing half-written.
    names = {f"epoch-{epoch:03d}.weights.h5" for epoch in (4, state["best_epoch"])}
    assert {path.name for path in tmp_path.iterdir()} == names | {"state.json", "finding"}


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(plates, validation, tmp_path):
    config = replace(TINY, epochs=1)
    first, _ = train(plates, validation, config, tmp_path, validation.images[:2], verbose=0)
    second, state = train(plates, validation, config, tmp_path, validation.images[:2], verbose=0)
    assert len(state["history"]) == 1
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(one, other)


class FakeModel:
    """Stands in for a network: its weights are the number of the epoch."""

    stop_training = False
    layers = ()

    def predict_on_batch(self, images):
        return np.zeros((len(images), 16, 11))

    def count_params(self):
        return 1

    def save_weights(self, path):
        path.write_text(path.name, encoding="utf-8")


class FakeBatches:
    """Stands in for the training plates."""

    seed = 1

    def __init__(self):
        self.shuffled = []

    def shuffle(self, epoch):
        self.shuffled.append(epoch)


def checkpoints(folder, name="fake", patience=2):
    return ResumableCheckpoint(
        folder, {"name": name}, FakeBatches(), patience, np.zeros((1, 64, 128, 1))
    )


def run_epochs(folder, losses, patience=2):
    callback = checkpoints(folder, patience=patience)
    callback.set_model(FakeModel())
    for epoch, loss in enumerate(losses, start=callback.epoch):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": loss})
    return callback


def test_early_stopping_waits_for_its_patience_also_across_a_restart(tmp_path):
    callback = run_epochs(tmp_path, [3.0, 2.0, 2.5])
    assert not callback.finished
    callback = run_epochs(tmp_path, [2.1])
    assert callback.finished and callback.model.stop_training
    assert callback.state["best_epoch"] == 2
    names = [path.name for path in sorted(tmp_path.glob("*.h5"))]
    assert names == ["epoch-002.weights.h5", "epoch-004.weights.h5"]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_state(tmp_path):
    run_epochs(tmp_path, [3.0])
    with pytest.raises(TrainingError, match="loss became nan in epoch 2"):
        run_epochs(tmp_path, [float("nan")])
    assert checkpoints(tmp_path).epoch == 1


def test_checkpoints_of_another_run_are_refused(tmp_path):
    run_epochs(tmp_path, [3.0])
    with pytest.raises(TrainingError, match="holds another run"):
        checkpoints(tmp_path, name="other")


def one_line(error, path):
    """The message of an error, which is one line and names a file."""
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 400 + len(str(path))
    return message


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "7", "[" * 100_000, '{"a":' * 100_000])
def test_a_state_that_is_none_is_refused_by_name(tmp_path, content):
    run_epochs(tmp_path, [3.0])
    (tmp_path / "state.json").write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError) as error:
        checkpoints(tmp_path)
    assert "delete" in one_line(error, tmp_path / "state.json")


@pytest.mark.parametrize("name", ["run", "epoch", "best_epoch", "best_loss", "history", "sha256"])
@pytest.mark.parametrize("change", [None, "text"])
def test_a_state_that_lacks_or_changes_what_it_said_is_refused_by_name(tmp_path, name, change):
    run_epochs(tmp_path, [3.0])
    path = tmp_path / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    del state[name]
    if change:
        state[name] = change
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(TrainingError) as error:
        checkpoints(tmp_path)
    one_line(error, path)


def test_a_folder_in_the_place_of_the_state_is_refused_by_name(tmp_path):
    (tmp_path / "state.json").mkdir()
    with pytest.raises(TrainingError) as error:
        checkpoints(tmp_path)
    one_line(error, tmp_path / "state.json")


@pytest.mark.parametrize("epoch", [2, 4])  # the best and the last
@pytest.mark.parametrize("damage", ["flipped", "foreign", "truncated", "missing"])
def test_weights_that_are_not_those_written_are_refused_before_they_are_opened(
    tmp_path, epoch, damage
):
    run_epochs(tmp_path, [3.0, 2.0, 2.5, 2.1], patience=9)
    path = tmp_path / f"epoch-{epoch:03d}.weights.h5"
    content = path.read_bytes()
    damaged = {
        "flipped": bytes([content[0] ^ 1]) + content[1:],
        "foreign": (tmp_path / f"epoch-{6 - epoch:03d}.weights.h5").read_bytes(),
        "truncated": content[:-1],
    }
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    with pytest.raises(TrainingError) as error:
        checkpoints(tmp_path)  # it has no parser yet
    one_line(error, path)


def test_weights_damaged_while_a_run_goes_on_are_not_restored(tmp_path):
    callback = run_epochs(tmp_path, [3.0])
    path = tmp_path / "epoch-001.weights.h5"
    path.write_bytes(b"other weights")
    with pytest.raises(TrainingError) as error:
        callback.restore(callback.model, 1)  # which a fake network could not load
    one_line(error, path)


@pytest.mark.parametrize("name", ["taken", "taken/deeper"])
def test_checkpoints_that_cannot_be_written_are_refused_before_the_first_epoch(
    plates, validation, tmp_path, name, monkeypatch
):
    (tmp_path / "taken").write_text("a file stands here", encoding="utf-8")
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("an epoch began"))
    with pytest.raises(TrainingError) as error:
        train(plates, validation, TINY, tmp_path / name, validation.images[:2], verbose=0)
    one_line(error, tmp_path / "taken")


def test_every_epoch_shuffles_the_plates_by_its_number(tmp_path):
    assert run_epochs(tmp_path, [3.0, 2.0]).batches.shuffled == [0, 1]
    assert run_epochs(tmp_path, [1.0, 0.5]).batches.shuffled == [2, 3]


class FakeFinder(keras.Sequential):
    """Stands in for the half of the network that finds digits, and for all of it."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.AveragePooling2D(8), keras.layers.Flatten()]
        super().__init__([keras.Input((64, 128, 1)), *layers, keras.layers.Dense(48, "sigmoid")])


def test_finding_digits_goes_on_where_it_was_interrupted(plates, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "localization_model", lambda model: model)
    monkeypatch.setattr(fit, "device_name", lambda: "")

    def learn(folder, last=2):
        batches, model, begun = CoverageBatches(plates, 16, 1), FakeFinder(), []
        shuffle = batches.shuffle

        def interrupted(epoch):
            if epoch == last:
                raise KeyboardInterrupt
            begun.append(epoch)
            shuffle(epoch)

        batches.shuffle = interrupted
        callback = ResumableCheckpoint(folder, {}, batches, 2)
        train_localization(model, batches, 2, callback, verbose=0)
        return model, begun

    expected, _ = learn(tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "interrupted", last=1)
    model, begun = learn(tmp_path / "interrupted")
    assert begun == [1]
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_checkpoints_of_reading_are_not_those_of_finding(
    plates, validation, uninterrupted, finished, tmp_path
):
    shutil.copytree(finished, tmp_path / "finding", ignore=shutil.ignore_patterns("finding"))
    with pytest.raises(TrainingError, match="finding: holds another run"):
        train(plates, validation, TINY, tmp_path, validation.images[:2], verbose=0)


def test_the_weights_of_the_best_epoch_are_returned(
    plates, validation, uninterrupted, finished, tmp_path
):
    """A finished run whose best epoch is not its last."""
    folder = shutil.copytree(finished, tmp_path / "run")
    keras.utils.set_random_seed(7)
    best = fit.build_model(dropout=TINY.dropout)
    best.save_weights(folder / "epoch-002.weights.h5")
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / "epoch-002.weights.h5").read_bytes()).hexdigest()
    state["sha256"]["epoch-002.weights.h5"] = digest
    state["best_epoch"] = 2
    state["checksum"] = utils.checksum(state)
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    model, _ = train(plates, validation, TINY, folder, validation.images[:2], verbose=0)
    for ours, theirs in zip(model.get_weights(), best.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [PlateBatches, CoverageBatches])
def test_every_host_takes_its_own_share_of_a_batch(plates, kind):
    whole = kind(plates, 12, 1)[0]
    shares = [kind(plates, 12, 1, host=Distributed(index, 3, 3))[0] for index in range(3)]
    for part, expected in enumerate(whole):
        assert np.array_equal(np.concatenate([share[part] for share in shares]), expected)


def test_a_batch_that_cannot_be_shared_is_refused(plates):
    with pytest.raises(TrainingError, match="5 devices cannot share a batch of 12 plates"):
        PlateBatches(plates, 12, 0, host=Distributed(0, 5, 5))


def test_what_other_hosts_did_to_this_one_is_told_in_one_line():
    for error in (ValueError("UNKNOWN: Gloo failed\nat length"), RuntimeError("INTERNAL: lost")):
        with pytest.raises(HostError) as told, Distributed(1, 2, 2).session():
            raise error
        one_line(told, "checkpoint")
    for host, error in (
        (Distributed(1, 2, 2), ValueError("a bug")),
        (Distributed(), ValueError("INTERNAL: x")),
    ):
        with pytest.raises(ValueError, match=str(error)), host.session():
            raise error


def test_work_that_is_ended_by_a_signal_is_told_in_one_line(capfd):
    with pytest.raises(HostError) as told:
        run_in_subprocess(lambda: os.kill(os.getpid(), signal.SIGKILL))
    one_line(told, "SIGKILL")
    assert run_in_subprocess(lambda: print("done") or 3) == 3 and capfd.readouterr().out == "done\n"


@pytest.mark.parametrize("missing", ["train on", "validate with"])
def test_without_plates_nothing_begins(plates, validation, tmp_path, missing):
    none = PlateDataset(plates.images[:0], [], [])
    some = (none, validation) if missing == "train on" else (plates, none)
    with pytest.raises(TrainingError, match=missing):
        train(*some, TINY, tmp_path / "run", validation.images[:2], verbose=0)
    assert not (tmp_path / "run").exists()


def test_validation_plates_of_other_digits_are_refused_before_the_first_epoch(plates, tmp_path):
    validation = render_plates(range(9_000_000, 9_000_004), digits=7)
    with pytest.raises(TrainingError, match="5 digits, validation plates 7"):
        train(plates, validation, TINY, tmp_path / "run", plates.images[:2], verbose=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["{", "[" * 100_000])
def test_a_damaged_result_is_named(tmp_path, content):
    (tmp_path / "training_tiny.csv").write_text("epoch\n1\n", encoding="utf-8")
    (tmp_path / "training_tiny.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="training_tiny") as error:
        load_runs(tmp_path)
    one_line(error, tmp_path / "training_tiny.json")


def test_a_number_may_not_be_trained_on_and_validated_with(plates, tmp_path):
    with pytest.raises(TrainingError, match="48 validation numbers are trained on"):
        train(plates, plates, TINY, tmp_path, plates.images[:2], verbose=0)


def test_a_recipe_that_goes_on_from_weights_needs_some(plates, validation, tmp_path):
    config = replace(TINY, name="mine", localization_epochs=0)
    with pytest.raises(TrainingError, match="mine: goes on from initial weights; give some"):
        train(plates, validation, config, tmp_path, validation.images[:2], verbose=0)


def test_training_starts_from_given_weights(plates, validation, random_weights, tmp_path):
    config = replace(TINY, learning_rate=0.0, warmup_steps=0, epochs=1)
    arguments = (plates, validation, config, tmp_path, validation.images[:2])
    model, _ = train(*arguments, initial_weights=random_weights, verbose=0)
    given = load_model(random_weights, load_metadata(random_weights))
    localization_model(given).trainable = False  # as in training
    for ours, theirs in zip(model.trainable_weights, given.trainable_weights, strict=True):
        assert np.array_equal(ours, theirs)
    finders = (localization_model(one).get_weights() for one in (model, given))
    for ours, theirs in zip(*finders, strict=True):
        assert np.array_equal(ours, theirs)
    with pytest.raises(TrainingError, match="holds another run"):
        train(*arguments, verbose=0)
    with pytest.raises(WeightsError, match=r"none\.h5: there is no such file"):
        train(*arguments, initial_weights="none.h5", verbose=0)


def test_saved_weights_carry_no_optimizer_and_load_both_ways(uninterrupted, tmp_path):
    model, _ = uninterrupted
    path = tmp_path / "saved.h5"
    save_model(model, path)
    with h5py.File(path) as file:
        assert "optimizer_weights" not in file
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 128, 1), np.uint8)
    expected = model.predict(images, verbose=0)
    rebuilt = fit.build_model()
    rebuilt.load_weights(path)
    whole = keras.models.load_model(path)
    for restored in (rebuilt, whole):
        np.testing.assert_allclose(restored.predict(images, verbose=0), expected, atol=1e-5)


def test_results_come_back_as_they_were_written(uninterrupted, tmp_path):
    _, state = uninterrupted
    save_run(TINY, state, {"held_out_correct": 3}, tmp_path)
    ((result, history),) = load_runs(tmp_path).values()
    assert result["measured"] == {"held_out_correct": 3} and result["epochs"] == 4
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[0]["loss"] == pytest.approx(state["history"][0]["loss"], rel=1e-4)


@pytest.mark.slow
def test_mixed_precision_leaves_float32_weights_and_no_trace(plates, validation, tmp_path):
    config = replace(TINY, epochs=1)
    probe_images = validation.images[:2]
    model, state = train(
        plates, validation, config, tmp_path, probe_images, "mixed_bfloat16", verbose=0
    )
    assert model.get_layer("convolution_2").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    assert state["run"]["precision"] == "mixed_bfloat16"
    with pytest.raises(TrainingError, match="holds another run"):
        train(plates, validation, config, tmp_path, probe_images, "float32", verbose=0)


@pytest.mark.parametrize(
    ("flags", "device", "precision"),
    [
        ("fma avx512_bf16 amx_bf16", "CPU (one, 2 cores)", "mixed_bfloat16"),
        ("fma avx512_bf16", "CPU (a newer one, 2 cores)", "mixed_bfloat16"),
        ("fma avx2", "CPU (another, 2 cores)", "float32"),
        ("fma amx_bf16", "1 GPU (a third)", "float32"),
    ],
)
def test_bfloat16_where_the_processor_multiplies_in_it(monkeypatch, flags, device, precision):
    monkeypatch.setattr(utils, "cpuinfo", lambda field: flags)
    monkeypatch.setattr(fit, "device_name", lambda: device)
    assert fit.best_dtype_policy() == precision
