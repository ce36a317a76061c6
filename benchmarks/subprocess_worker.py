"""One reader in its own process on one core: reads plates and prints its figures as JSON.

$ python -m benchmarks.subprocess_worker LOADER VARIANT PLATES.npz [BATCH_SIZE ...]
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import readers


def read_in_batches(
    read: Callable[[np.ndarray], list[str]], plates: list[np.ndarray], size: int
) -> tuple[list[str], list[float]]:
    """Texts, and seconds of every call; an incomplete last batch is left out."""
    texts, seconds = [], []
    for stop in range(size, len(plates) + 1, size):
        batch = np.stack(plates[stop - size : stop])
        start = time.perf_counter()
        texts += read(batch)
        seconds.append(time.perf_counter() - start)
    return texts, seconds


def main() -> None:
    """Read one by one, as every reader is most accurate, then in batches."""
    loader, variant, path, *batch_sizes = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    reader = getattr(readers, loader)(variant)
    file = np.load(path)
    reader.read(file["arr_0"][None])
    ready_at = time.monotonic()
    plates = list(file.values())
    texts, seconds = read_in_batches(reader.read, plates, 1)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage counts the parent's
    figures = {
        "bytes": sum(path.stat().st_size for path in reader.weights),
        "note": reader.note,
        "peak_memory": 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]),
    }
    seconds_by_size = {1: seconds}
    for size in map(int, batch_sizes):
        reader.read(np.stack(plates[:size]))  # warm-up
        seconds_by_size[size] = read_in_batches(reader.read, plates, size)[1]
    times = {"ready_at": ready_at, "seconds": seconds_by_size}
    print(json.dumps({"texts": texts, "figures": figures} | times))


if __name__ == "__main__":
    main()
