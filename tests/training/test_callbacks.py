import pytest

from plate_ocr.training.callbacks import MONITOR, ResumableCheckpoint
from plate_ocr.training.config import TrainingError


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
        callback.on_epoch_end(epoch, {MONITOR: loss})
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


@pytest.mark.parametrize("run", [{"name": "fake", "weights": "a"}, {}])
def test_another_run_is_refused_by_what_differs(tmp_path, run):
    ResumableCheckpoint(tmp_path, run, patience=2)
    with pytest.raises(TrainingError, match=f"differs in: {'weights' if run else 'name'}"):
        run_epochs(tmp_path, [])
