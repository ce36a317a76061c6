"""One peer in a process of its own, in its own environment, on one core.

Takes commands from the standard input and gives answers on the standard output, a line of JSON
each. Runs under every peer's interpreter.

$ python -m benchmarks.worker MODULE VARIANT CORE
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def read(reader, plates: str, count: int | None = None) -> list[str]:
    """Read plates one at a time, as every peer reads them best."""
    import numpy as np

    images = np.load(plates, mmap_mode="r")[:count]
    return [text for image in images for text in reader.read(image[None])]


def time_reading(reader, plates: str, batch: int) -> list[float]:
    """Seconds of every call, all plates in batches of one size; what is over is left out."""
    import numpy as np

    images = np.load(plates)
    seconds = []
    for start in range(0, len(images) - batch + 1, batch):
        begun = time.perf_counter()
        reader.read(images[start : start + batch])
        seconds.append(time.perf_counter() - begun)
    return seconds


def describe(reader) -> dict:
    """Bytes of the weights, and what the reader says of itself."""
    return {"bytes": sum(path.stat().st_size for path in reader.weights), "note": reader.note}


def peak_memory(loaded) -> int:
    """Most bytes this process has held so far."""
    # Not getrusage: that starts from what the parent held.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def multiply_matrices(loaded, side: int) -> float:
    """Floating-point operations a second of one product of square float32 matrices."""
    import numpy as np

    left, right = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    begun = time.perf_counter()
    left @ right
    return 2 * side**3 / (time.perf_counter() - begun)


def draw(generator: Callable[[Path, int], None], count: int, within: str) -> float:
    """Seconds to write so many PNG files, which stay."""
    folder = Path(tempfile.mkdtemp(dir=within))
    begun = time.perf_counter()
    generator(folder, count)
    seconds = time.perf_counter() - begun
    written = sum(1 for _ in folder.glob("*.png"))
    if written != count:
        raise RuntimeError(f"wrote {written} files instead of {count}")
    return seconds


COMMANDS = {
    command.__name__: command
    for command in (read, time_reading, describe, peak_memory, multiply_matrices, draw)
}


def main() -> None:
    """Load the peer and answer until the input ends."""
    module, variant, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a peer prints goes to the errors
    loaded = import_module(f"benchmarks.{module}").load(variant)
    for line in sys.stdin:
        request = json.loads(line)
        answer = COMMANDS[request.pop("command")](loaded, **request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
