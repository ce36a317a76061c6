"""One reader in its own process on one core; commands and answers are lines of JSON."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import readers
from benchmarks.baselines import ENVIRONMENTS, Reader
from benchmarks.environments import PROJECT, EnvironmentFailed, last_error

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


class Worker:
    """The running process of a reader, on the last core there is."""

    def __init__(self, reader: Reader) -> None:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        self.log = ENVIRONMENTS / f"{reader.key}.log"
        core = str(max(os.sched_getaffinity(0)))
        command = ["-m", "benchmarks.subprocess_worker", reader.loader, reader.variant, core]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [reader.python, *command], cwd=PROJECT, env=os.environ | ONE_THREAD, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer to one of `COMMANDS`; `EnvironmentFailed` if the process ends instead."""
        with contextlib.suppress(BrokenPipeError):  # then there is no answer to read either
            self.process.stdin.write(json.dumps({"command": command} | arguments) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            raise EnvironmentFailed(last_error(self.log.read_text("utf-8", errors="replace")))
        return json.loads(answer)

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()


def load_images(path: str) -> list[np.ndarray]:
    """The images, uint8 (height, width) each, of all arrays in an NPZ file."""
    with np.load(path) as stacks:
        return [image for stack in stacks.values() for image in stack]


def read(
    reader: readers.LoadedReader, plates: str, count: int | None = None
) -> tuple[list[str], list[float]]:
    """The texts of plates, read one at a time: every reader is most accurate like this; seconds."""
    texts, seconds = [], []
    for image in load_images(plates)[:count]:
        start = time.perf_counter()
        texts += reader.read(image[None])
        seconds.append(time.perf_counter() - start)
    return texts, seconds


def time_reading(reader: readers.LoadedReader, plates: str, batch: int) -> list[float]:
    """Seconds of every call with a batch; an incomplete last batch is left out."""
    images, seconds = np.stack(load_images(plates)), []
    for stop in range(batch, len(images) + 1, batch):
        start = time.perf_counter()
        reader.read(images[stop - batch : stop])
        seconds.append(time.perf_counter() - start)
    return seconds


def describe(reader: readers.LoadedReader) -> dict:
    """Bytes of the weights and of the peak memory so far, and the reader's own note."""
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage counts the parent's
    return {
        "bytes": sum(path.stat().st_size for path in reader.weights),
        "note": reader.note,
        "peak_memory": 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]),
    }


COMMANDS = {command.__name__: command for command in (read, time_reading, describe)}


def main() -> None:
    """Load the reader and answer until the input ends."""
    loader, variant, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a reader prints goes to the log
    reader = getattr(readers, loader)(variant)
    for line in sys.stdin:
        request = json.loads(line)
        answer = COMMANDS[request.pop("command")](reader, **request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
