"""One method in a process of its own: in its environment, on one core, with one thread.

`Worker` starts the process, which takes commands on its standard input and answers on its standard
output, a line of JSON each.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.baselines import ENVIRONMENTS, Method
from benchmarks.environments import PROJECT, EnvironmentFailed, last_error

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


class Worker:
    """A running process of a method, on the last core there is."""

    def __init__(self, method: Method) -> None:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        self.log = ENVIRONMENTS / f"{method.loader}.{method.key}.log"
        command = [method.python, "-m", "benchmarks.subprocess_worker", method.loader]
        core = max(os.sched_getaffinity(0))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, method.variant, str(core)],
                cwd=PROJECT,
                env=os.environ | ONE_THREAD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ask(self, command: str, **arguments: Any) -> Any:
        """The answer to one of `COMMANDS`.

        Raises:
            EnvironmentFailed: the process ended instead.
        """
        try:
            self.process.stdin.write(json.dumps({"command": command} | arguments) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # then there is no answer to read either
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            raise EnvironmentFailed(last_error(self.log.read_text("utf-8", errors="replace")))
        return json.loads(answer)

    def close(self) -> None:
        """Let the process end."""
        self.process.communicate()


def for_each(
    methods: Iterable[Method], failures: dict[str, str], measure: Callable[[Method], None]
) -> None:
    """Measure every method that has not failed yet; those that fail now are added, with why."""
    for method in methods:
        if method.key in failures:
            continue
        try:
            measure(method)
        except EnvironmentFailed as error:
            failures[method.key] = str(error)
            print(f"{method.title}: {error}", flush=True)


def read(reader: Any, plates: str, count: int | None = None) -> list[str]:
    """The texts of plates, read one at a time: every method is most accurate like this."""
    import numpy as np

    images = np.load(plates, mmap_mode="r")[:count]
    return [text for image in images for text in reader.read(image[None])]


def time_reading(reader: Any, plates: str, batch: int) -> list[float]:
    """Seconds of every call with a batch; an incomplete last batch is left out."""
    import numpy as np

    images = np.load(plates)
    seconds = []
    for stop in range(batch, len(images) + 1, batch):
        start = time.perf_counter()
        reader.read(images[stop - batch : stop])
        seconds.append(time.perf_counter() - start)
    return seconds


def describe(reader: Any) -> dict:
    """Bytes of the weights, and the reader's own note."""
    return {"bytes": sum(path.stat().st_size for path in reader.weights), "note": reader.note}


def peak_memory(loaded: Any) -> int:
    """The most bytes that this process has held; getrusage would start from the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def multiply_matrices(loaded: Any, side: int) -> float:
    """Floating-point operations per second of one product of square float32 matrices."""
    import numpy as np

    left, right = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    start = time.perf_counter()
    left @ right
    return 2 * side**3 / (time.perf_counter() - start)


def draw(generator: Callable[[Path, int], None], count: int, within: str) -> float:
    """Seconds to write `count` PNG files, which stay."""
    folder = Path(tempfile.mkdtemp(dir=within))
    start = time.perf_counter()
    generator(folder, count)
    seconds = time.perf_counter() - start
    written = sum(1 for _ in folder.glob("*.png"))
    if written != count:
        raise RuntimeError(f"wrote {written} files instead of {count}")
    return seconds


COMMANDS = {
    command.__name__: command
    for command in (read, time_reading, describe, peak_memory, multiply_matrices, draw)
}


def main() -> None:
    """Load the method and answer until the input ends."""
    loader, variant, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a method prints goes to the log
    module, _, function = loader.partition(":")
    loaded = getattr(import_module(f"benchmarks.{module}"), function)(variant)
    for line in sys.stdin:
        request = json.loads(line)
        answer = COMMANDS[request.pop("command")](loaded, **request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
