"""Data-parallel training on several hosts, by Keras on JAX.

Every host runs the same command. Each processes its shard of every batch; loss and gradients are
those of the whole batch, so the result is that of one host with the same batches.
"""

import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from plate_ocr.utils import follow_parent

ADVICE = "run the command on all hosts again to resume from the last checkpoint"
# How the RuntimeError or ValueError begins that JAX raises when a connection is lost.
JAX_ERROR = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")


class HostError(RuntimeError):
    """This host cannot connect to the others, or has lost one; the message says why."""


@dataclass(frozen=True)
class Distributed:
    """One host among those that train."""

    process_id: int = 0
    num_processes: int = 1
    num_devices: int = 1  # of all hosts

    @property
    def is_first(self) -> bool:
        """Whether this host writes files and messages."""
        return self.process_id == 0

    def shard(self, batch: np.ndarray) -> np.ndarray:
        """This host's part of a batch."""
        size = len(batch) // self.num_processes
        return batch[self.process_id * size : (self.process_id + 1) * size]

    @contextmanager
    def session(self) -> Iterator[None]:
        """Train with the other hosts, then disconnect; raise HostError if one is lost."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.num_processes == 1 or not JAX_ERROR.match(str(error)):
                raise
            reason = str(error).partition("\n")[0]
            raise HostError(f"another host may have ended ({reason}); {ADVICE}") from error
        if self.num_processes > 1:
            import jax

            jax.distributed.shutdown()

    @contextmanager
    def save_on_first_host(self, path: Path) -> Iterator[Path]:
        """Yield where to save: `path` on the first host, a temporary place on the others.

        All hosts must save, because Keras gathers the weights on all of them.
        """
        if self.is_first:
            yield path
        else:
            with TemporaryDirectory() as folder:
                yield Path(folder, path.name)
        if self.num_processes > 1:  # wait for the first host to finish
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("plate_ocr")


SINGLE_HOST = Distributed()


def connect(coordinator_address: str, num_processes: int, process_id: int) -> Distributed:
    """Connect to the other hosts; models built from here on live on the devices of all.

    The address is that of host 0, `NAME:PORT`; `process_id` is the number of this host, from 0.

    Raises:
        HostError: an argument is wrong, Keras does not run on JAX, or the others do not connect.
    """
    import keras

    if not 0 <= process_id < num_processes:
        raise HostError(f"host {process_id}: hosts are numbered 0 to {num_processes - 1}")
    if keras.backend.backend() != "jax":
        raise HostError(f"several hosts need KERAS_BACKEND=jax, not {keras.backend.backend()}")
    keras.utils.set_random_seed(0)  # else Keras agrees on one with the others; `train` sets its own
    try:
        keras.distribution.initialize(coordinator_address, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise HostError(f"{coordinator_address}: cannot connect all hosts ({reason})") from error
    # Every host takes its own shard of a batch, so Keras must not shard the dataset again.
    parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
    return Distributed(process_id, num_processes, parallel.device_mesh.devices.size)


def run_in_subprocess(function: Callable[[], int]) -> int:
    """Call a function in a process of its own, because JAX aborts one that has lost host 0.

    Returns the exit code of the function; raises HostError if a signal ended the process.
    """
    process = multiprocessing.get_context("fork").Process(target=_run, args=(function,))
    process.start()
    try:
        process.join()
    finally:
        process.kill()  # if it was interrupted
    code = process.exitcode or 0
    if code < 0:
        reason = signal.Signals(-code).name
        raise HostError(f"another host has ended, or this one failed ({reason}); {ADVICE}")
    return code


def _run(function: Callable[[], int]) -> None:
    follow_parent()
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3":  # hides the stack trace in C++ of the abort
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = function()
    sys.stdout.flush()
    os._exit(code)  # without waiting for hosts that have ended
