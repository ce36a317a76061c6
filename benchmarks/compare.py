"""Our reader against others, on this machine, in one run.

Every reader works in an environment of its own, made under `.cache/baselines`, in one process on
one core with one thread. Times are taken in rounds, in which the readers take turns; the median
counts. A reader that fails is left out, and the reason is stated. Folders of labeled images, such
as photographs, are read in their own size. Linux only. Writes `benchmark.json`, `.md` and `.png` in
25 to 40 minutes; the first run takes 3 GB of disk.

$ python -m benchmarks.compare [FOLDER ...]
"""

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from operator import eq
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import baselines, real, report
from benchmarks.baselines import DEBIAN_PACKAGES, REQUIREMENTS, Reader
from benchmarks.environments import PROJECT, RESULTS, EnvironmentFailed, install, run
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.benchmark import load_benchmark, rows_by_severity
from plate_ocr.evaluation.plots import save_figure
from plate_ocr.plates.dataset import PlateDataset, load_folder
from plate_ocr.plates.images import load_gray
from plate_ocr.utils import cores, cpu_supports, processor_name, write_text

SEED = 2026
ROUNDS = 5  # after one warm-up
TIMED_PLATES = 256  # per round
CLEAN = ("held_out_fonts", "layout", "cross_generator", "captcha", "segments")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)

Sets = dict[str, PlateDataset]


def load_sets(folders: list[Path]) -> Sets:
    """Every set that no choices were made on, and those of folders."""
    corruptions = load_benchmark("corruptions")
    parts = rows_by_severity(corruptions.records)
    return {
        "test": load_folder(PROJECT / "data" / "test"),
        **{name: corruptions.take(rows) for name, rows in parts.items()},
        **{name: load_benchmark(name) for name in CLEAN},
        **real.load_sets(folders),
    }


def write_sets(sets: Sets, timed: int, folder: Path) -> None:
    """Write every set as NUMBER.npz, and a random choice of drawn plates to time.

    Images of folders keep their own size, in gray: only our reader scales them to a plate.
    """
    drawn = []
    for number, part in enumerate(sets.values()):
        images = [load_gray(record["path"]) for record in part.records if "path" in record]
        if not images:
            images = part.images[..., 0]
            drawn.append(images)
        np.savez(folder / f"{number}.npz", *images)
    choice = np.random.default_rng(SEED).permutation(np.concatenate(drawn))[:timed]
    np.savez(folder / "timed.npz", *choice)


def make_environment(reader: Reader) -> Path:
    """The interpreter of a reader's environment, which is made if it is not there."""
    name = reader.environment
    debian = DEBIAN_PACKAGES.get(name, ())
    return install(baselines.ENVIRONMENTS / name, REQUIREMENTS[name], ["--no-deps"], debian)


def read(reader: Reader, plates: Path, *batch_sizes: int) -> dict:
    """What `benchmarks.readers` prints for a file of `write_sets`, in a process of its own."""
    python = make_environment(reader)
    start = time.monotonic()
    command = [python, "-m", "benchmarks.readers", reader.loader, reader.variant, plates]
    printed = run([*command, *batch_sizes], cwd=PROJECT, env=os.environ | ONE_THREAD)
    answer = json.loads(printed.splitlines()[-1])
    return answer | {"start_seconds": answer["ready_at"] - start}


def measure(sets: Sets, rounds: int, folder: Path) -> dict[str, dict]:
    """The figures of every reader, or why it failed, by its key; `folder` is of `write_sets`."""
    readers = baselines.READERS
    figures: dict = {reader.key: {"correct": {}, "latency_ms_by_set": {}} for reader in readers}

    def attempt(step: Callable, reader: Reader, *arguments) -> Any:
        """What a step of a reader returns; `None` if it fails, or another did before."""
        if "failed" in figures[reader.key]:
            return None
        try:
            return step(reader, *arguments)
        except EnvironmentFailed as error:
            print(f"{reader.title}: {error}", flush=True)
            figures[reader.key] = {"failed": str(error)}
            return None

    for reader in readers:
        print(f"environment {reader.environment}", flush=True)
        attempt(make_environment, reader)
    timed: dict[str, list[dict]] = {reader.key: [] for reader in readers}
    for _ in range(1 + rounds):
        for reader in readers:
            plates, batch_sizes = folder / "timed.npz", reader.batch_sizes[1:]
            timed[reader.key].append(attempt(read, reader, plates, *batch_sizes))
    for number, (name, part) in enumerate(sets.items()):
        print(f"set {name}", flush=True)
        for reader in readers:
            if answer := attempt(read, reader, folder / f"{number}.npz"):
                found, seconds = figures[reader.key], answer["seconds"]["1"]
                found["correct"][name] = sum(map(eq, answer["texts"], part.labels))
                found["latency_ms_by_set"][name] = round(1000 * median(seconds), 3)
    for reader in readers:
        if "failed" not in figures[reader.key]:
            figures[reader.key] |= summarize(timed[reader.key])
    return figures


def summarize(rounds: list[dict]) -> dict:
    """Figures of a reader from the answers of `benchmarks.readers`; the first one is a warm-up."""
    _, *counted = rounds
    seconds = {size: [part["seconds"][size] for part in counted] for size in counted[0]["seconds"]}
    rates = {
        size: round(median(int(size) * len(calls) / sum(calls) for calls in parts), 1)
        for size, parts in seconds.items()
    }
    return counted[-1]["figures"] | {
        "plates_per_second": rates,
        "best_batch": int(max(rates, key=rates.get)),
        "latency_ms": round(1000 * median(call for calls in seconds["1"] for call in calls), 3),
        "start_seconds": round(median(part["start_seconds"] for part in counted), 3),
    }


def compare(sets: Sets, timed: int = TIMED_PLATES, rounds: int = ROUNDS) -> dict:
    """Install and measure; the figures of `benchmark.json`."""
    machine = {
        "processor": processor_name(),
        "cores": cores(),
        "flags": [flag for flag in FLAGS if cpu_supports(flag)],
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        write_sets(sets, timed, Path(folder))
        readers = measure(sets, rounds, Path(folder))
    return {
        "machine": machine,
        "rounds": rounds,
        "timed_plates": timed,
        "sets": {name: len(part.labels) for name, part in sets.items()},
        "readers": readers,
        "versions": {
            name: [*pins, *DEBIAN_PACKAGES.get(name, ())] for name, pins in REQUIREMENTS.items()
        },
    }


def main() -> None:
    """Measure and write the results."""
    check_result("benchmark")
    results = compare(load_sets([Path(folder) for folder in sys.argv[1:]]))
    text = report.markdown(results)
    write_result("benchmark", results)
    write_text(RESULTS / "benchmark.md", text)
    save_figure(report.chart(results), RESULTS / "benchmark.png")
    print(text)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
