"""The Keras callback that makes training resumable."""

import json
import math
import time
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np

from plate_ocr.network.checkpoint import file_sha256
from plate_ocr.training.config import TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, Distributed
from plate_ocr.training.saving import device_name
from plate_ocr.utils import atomic_write, read_json, write_text

MONITOR = "logits_loss"  # the CTC loss on the training plates, as in the described run
PROBE_STEPS = (0, 25, 50, 75, 100, 150, 200, 300, 400, 800, 1_600, 3_200)
# HDF5 reports a full disk in many lines, so the room for a file is claimed first: weights and two
# moments of Adam, with some for HDF5.
BYTES_PER_PARAMETER = 16


class ResumableCheckpoint(keras.callbacks.Callback):
    """Early stopping, with checkpoints from which a killed run resumes.

    The best epoch has the lowest `rank`; by default that is the CTC loss of training.

    After every epoch come the weights and the optimizer, then `state.json` with the history and
    the SHA-256 of the weights. Files are replaced atomically, so a kill at any moment leaves the
    state of a finished epoch. `run` is what determines the result; the directory of another run is
    refused. The first host writes; all read the same directory. (On resuming, Keras' EarlyStopping
    forgets its best epoch, and BackupAndRestore keeps none.)
    """

    def __init__(
        self,
        directory: Path | str,
        run: dict,
        patience: float = math.inf,
        probe_images: np.ndarray | None = None,
        host: Distributed = SINGLE_HOST,
        rank: Callable[[dict], Any] = itemgetter(MONITOR),
    ):
        super().__init__()
        self.directory = Path(directory)
        self.patience = patience
        self.probe_images = probe_images
        self.host = host
        self.rank = rank
        self.state = self._load_state(run)
        # Fail now rather than after an epoch.
        with host.save_on_first_host(self.directory) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "state.json", json.dumps(self.state))

    def _load_state(self, run: dict) -> dict[str, Any]:
        """The state of this run, or of a new one."""
        try:
            state = read_json(self.directory / "state.json")
        except (FileNotFoundError, NotADirectoryError):
            return {
                "run": run,
                "epoch": 0,  # finished epochs
                "stopped": False,  # by early stopping
                "history": [],
                "probes": [],  # steps and logits of the probe images
                "sha256": {},  # of the files of weights
            }
        except ValueError as error:
            raise TrainingError(f"{error}; delete {self.directory} to start again") from error
        found = state.get("run") if isinstance(state, dict) else None
        self._check_run(found if isinstance(found, dict) else {}, run)
        for name, sha256 in state["sha256"].items():
            if file_sha256(path := self.directory / name) != sha256:
                raise TrainingError(f"{path}: damaged; delete {self.directory} to start again")
        return state

    def _check_run(self, found: dict, run: dict) -> None:
        """Refuse another run, by what differs."""
        keys = sorted(found.keys() | run.keys())
        differing = [key for key in keys if found.get(key) != run.get(key)]
        if differing:
            raise TrainingError(
                f"{self.directory}: holds another run (it differs in: {', '.join(differing)}); "
                "choose another directory, or delete it to start again"
            )

    def restore(self, model: keras.Model, epoch: int) -> None:
        """Load the weights, and the optimizer if `model` has one, as they were after an epoch."""
        model.load_weights(self.directory / _weights_name(epoch))

    def on_train_begin(self, logs=None):
        """Read the probe images before the first step."""
        if not self.state["epoch"]:
            self._probe(step=0)

    def on_train_batch_end(self, batch, logs=None):
        """Read the probe images after some steps."""
        self._probe(self.state["epoch"] * self.params["steps"] + batch + 1)

    def _probe(self, step: int) -> None:
        if self.probe_images is not None and step in PROBE_STEPS:
            logits = np.asarray(self.model.predict_on_batch(self.probe_images)["logits"])
            self.state["probes"].append({"step": step, "logits": logits.round(3).tolist()})

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history and write it."""
        state, loss = self.state, float(logs[MONITOR])
        if not np.isfinite(loss):
            raise TrainingError(f"the loss became {loss} in epoch {epoch + 1}")
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in logs.items()},
            "seconds": round(time.perf_counter() - self._start, 2),
            "device": device_name(),  # may change when a run is resumed
        }
        state["history"].append(row)
        best = min(state["history"], key=self.rank)
        state |= {"epoch": epoch + 1, "best_epoch": best["epoch"], "best_loss": best[MONITOR]}
        state["stopped"] = state["epoch"] - state["best_epoch"] >= self.patience
        self.model.stop_training = state["stopped"]
        self._write_epoch()

    def _write_epoch(self) -> None:
        """Write the weights, then the state that names them; then remove older weights."""
        state, last = self.state, _weights_name(self.state["epoch"])
        kept = {last, _weights_name(state["best_epoch"])}
        with self.host.save_on_first_host(self.directory) as folder:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / last) as temporary:
                temporary.write_bytes(bytes(BYTES_PER_PARAMETER * self.model.count_params()))
                self.model.save_weights(temporary)
                state["sha256"][last] = file_sha256(temporary)
            state["sha256"] = {name: state["sha256"][name] for name in sorted(kept)}
            write_text(folder / "state.json", json.dumps(state))
            for path in folder.glob("*.weights.h5"):
                if path.name not in kept:
                    path.unlink()


def _weights_name(epoch: int) -> str:
    return f"epoch-{epoch:03d}.weights.h5"
