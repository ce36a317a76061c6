"""Several hosts that train one network: Keras' data parallelism, which works on JAX.

Every host runs the same command. Each takes its share of every batch, and sees the loss and the
statistics of the whole batch, so the run is that of one host with the same batches.
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

# How errors of JAX begin that come from the connection to other hosts.
LOST = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
ENDED = "another host has ended, or this one failed"
REMEDY = "run the command on all hosts again; it goes on from the last checkpoint"


class HostError(RuntimeError):
    """This host cannot join the others, or has lost one; the message says why."""


@dataclass(frozen=True)
class Host:
    """This host's place among those that train."""

    index: int = 0
    count: int = 1
    devices: int = 1  # of all hosts

    def share(self, batch: np.ndarray) -> np.ndarray:
        """This host's part of a batch."""
        size = len(batch) // self.count
        return batch[self.index * size : (self.index + 1) * size]

    def wait(self) -> None:
        """Wait until all hosts are here."""
        if self.count > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("plate_ocr")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work with the other hosts, and leave together with them.

        Raises:
            HostError: another host has ended or cannot be reached.
        """
        try:
            yield
        except (RuntimeError, ValueError) as error:
            if self.count == 1 or not LOST.match(str(error)):
                raise
            reason = str(error).partition("\n")[0]
            raise HostError(f"{ENDED} ({reason}); {REMEDY}") from error
        if self.count > 1:
            import jax

            jax.distributed.shutdown()

    @contextmanager
    def saving(self, path: Path) -> Iterator[Path]:
        """Yield where to save: `path` on the first host, a place that is thrown away on others.

        All must save, because Keras computes on all of them to do it. They go on together.
        """
        if self.index == 0:
            yield path
        else:
            with TemporaryDirectory() as folder:
                yield Path(folder, path.name)
        self.wait()


SINGLE_HOST = Host()


def join(coordinator: str, index: int, count: int) -> Host:
    """Join the other hosts; networks built from here on live on the devices of all.

    Args:
        coordinator: address of host 0, `NAME:PORT`.
        index: of this host, from 0 on.
        count: of hosts.

    Raises:
        HostError: there is no such host, Keras does not run on JAX, or the others do not come.
    """
    import keras

    if not 0 <= index < count:
        raise HostError(f"host {index}: hosts are numbered 0 to {count - 1}")
    if keras.backend.backend() != "jax":
        raise HostError(f"several hosts need KERAS_BACKEND=jax, not {keras.backend.backend()}")
    keras.utils.set_random_seed(0)  # else Keras asks all hosts for one; `train` sets its own
    try:
        keras.distribution.initialize(coordinator, count, index)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise HostError(f"{coordinator}: {count} hosts do not come together ({reason})") from error
    # Every host takes its own share of a batch: there is no data set to be sharded for it.
    parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
    return Host(index, count, parallel.device_mesh.devices.size)


def in_own_process(work: Callable[[], int]) -> int:
    """Do what joins other hosts in a process of its own, which JAX may end.

    JAX ends a process that has lost the first host by SIGABRT, after a stack trace in C++.

    Args:
        work: returns an exit code.

    Raises:
        HostError: a signal ended the process, or this system has no fork.
    """
    if not hasattr(os, "fork"):
        raise HostError("several hosts need an operating system that forks, as Linux does")
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work,))
    process.start()
    try:
        process.join()
    except BaseException:
        process.kill()
        raise
    code = process.exitcode or 0
    if code < 0:
        name = signal.Signals(-code).name
        raise HostError(f"{ENDED} ({name}); {REMEDY}")
    return code


def _work(work: Callable[[], int]) -> None:
    follow_parent()
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3":  # Python alone writes to standard error
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    code = work()
    sys.stdout.flush()
    os._exit(code)  # without waiting for hosts that have ended
