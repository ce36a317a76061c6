import pytest

from plate_ocr.network.crnn import build_model
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


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=rf"state\.json: .*delete {tmp_path}"):
        run_epochs(tmp_path, [])


def test_damaged_and_missing_weights_are_refused_by_name(tmp_path):
    callback = run_epochs(tmp_path, [3.0])  # its file is no HDF5
    for epoch in (1, 2):
        with pytest.raises(TrainingError, match=rf"epoch-00{epoch}\.weights\.h5: damaged"):
            callback.restore(build_model(), epoch)


@pytest.mark.parametrize("run", [{"name": "fake", "weights": "a"}, {}])
def test_another_run_is_refused_by_what_differs(tmp_path, run):
    ResumableCheckpoint(tmp_path, run, patience=2)
    with pytest.raises(TrainingError, match=f"differs in: {'weights' if run else 'name'}"):
        run_epochs(tmp_path, [])
