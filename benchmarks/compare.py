"""Our reader against others, on this machine, in one run.

Every reader works in an environment of its own, made under `.cache/baselines`, in one process on
one core with one thread. Times are taken in rounds, in which the readers take turns; the median
counts. A reader that fails keeps its place, and the reason is stated. Folders of labelled images,
such as photographs, are read in their own size. Linux only. Writes `benchmark.json`, `.md` and
`.png` in 25 to 40 minutes; the first run takes 3 GB of disk.

$ python -m benchmarks.compare [FOLDER ...]
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from operator import eq
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import baselines, real, report
from benchmarks.baselines import DEBIAN_PACKAGES, REQUIREMENTS, Reader
from benchmarks.environments import PROJECT, EnvironmentFailed, install
from benchmarks.subprocess_worker import Worker
from plate_ocr.cli import ERRORS, path_argument, run_command
from plate_ocr.evaluation.benchmark import BenchmarkSet, load_benchmark
from plate_ocr.evaluation.plots import save_figure
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.dataset import load_folder
from plate_ocr.plates.images import load_gray
from plate_ocr.utils import check_writable, cores, cpu_supports, processor_name, write_text

SEED = 2026
CLEAN = ("held_out_fonts", "layout", "cross_generator", "captcha", "segments")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

Sets = dict[str, BenchmarkSet]


def load_sets(count: int | None, folders: list[Path]) -> Sets:
    """Every set that no choices were made on and those of folders, or at most `count` of each."""
    corruptions = load_benchmark("corruptions")
    is_severe = corruptions.tags["severity"] > 3
    sets = {
        "test": BenchmarkSet.from_plates(load_folder(PROJECT / "data" / "test")),
        "corruptions_1_to_3": corruptions.take(np.flatnonzero(~is_severe)),
        "corruptions_4_to_5": corruptions.take(np.flatnonzero(is_severe)),
        **{name: load_benchmark(name) for name in CLEAN},
        **real.load_sets(folders, NUM_DIGITS),
    }
    return {name: part.sample(count) if count else part for name, part in sets.items()}


def write_sets(sets: Sets, timed: int, folder: Path) -> int:
    """Write every set, and a random choice of drawn plates to time; returns how many those are.

    Images of folders keep their own size, in gray: only our reader scales them to a plate.
    """
    drawn = []
    for name, part in sets.items():
        stacks = [load_gray(path)[None] for path in part.tags.get("path", ())]
        if not stacks:
            stacks = [part.images[..., 0]]
            drawn += stacks
        path = folder / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, *stacks)
    images = np.concatenate(drawn)
    choice = np.random.default_rng(SEED).permutation(len(images))[:timed]
    np.savez(folder / "timed.npz", images[choice])
    return len(choice)


def summarize(seconds: dict[int, list[list[float]]]) -> dict:
    """Throughput of every batch size, the best batch size, and the median latency of one plate.

    `seconds` are batch size -> rounds -> calls; the first round of each is a warm-up.
    """
    rates = {
        batch: median(batch * len(calls) / sum(calls) for calls in rounds[1:])
        for batch, rounds in seconds.items()
    }
    single = [call for calls in seconds[1][1:] for call in calls]
    return {
        "plates_per_second": {str(batch): round(rate, 1) for batch, rate in rates.items()},
        "best_batch": max(rates, key=rates.get),
        "latency_ms": round(1000 * median(single), 3),
    }


def measure(
    reader: Reader, sets: Sets, timed: int, rounds: int, folder: Path
) -> Generator[None, None, dict]:
    """Measure a reader in steps, between which the others take their turn; returns the figures.

    `folder` is that of `write_sets`. The first of the rounds is a warm-up.
    """
    name, plates = reader.environment, str(folder / "timed.npz")
    print(f"environment {name}", flush=True)
    environment = baselines.ENVIRONMENTS / name
    install(environment, REQUIREMENTS[name], ["--no-deps"], DEBIAN_PACKAGES.get(name, ()))
    yield
    worker, start_seconds, seconds = None, [], defaultdict(list)
    try:
        for _ in range(1 + rounds):  # from no process to the first reading
            if worker:
                worker.close()
            start = perf_counter()
            worker = Worker(reader)
            worker.ask("read", plates=plates, count=1)
            start_seconds.append(perf_counter() - start)
            yield
        for _ in range(1 + rounds):
            seconds[1].append(worker.ask("time_reading", plates=plates, batch=1))
            yield
        figures = worker.ask("describe")  # the peak memory of reading one by one
        yield
        for _ in range(1 + rounds):
            for batch in reader.batch_sizes[1:]:
                if batch <= timed:
                    seconds[batch].append(worker.ask("time_reading", plates=plates, batch=batch))
            yield
        figures |= {"correct": {}, "latency_ms_by_set": {}}
        for key, part in sets.items():
            texts, times = worker.ask("read", plates=str(folder / f"{key}.npz"))
            figures["correct"][key] = sum(map(eq, texts, part.labels))
            figures["latency_ms_by_set"][key] = round(1000 * median(times), 3)
            yield
    finally:
        if worker:
            worker.close()
    print(f"{reader.title}: read all plates", flush=True)
    start = {"start_seconds": round(median(start_seconds[1:]), 3)}
    return figures | summarize(seconds) | start


def take_turns(steps: dict[Reader, Generator[None, None, dict]]) -> dict[str, dict]:
    """Take one step of every reader in turn until all have ended; the figures, or the failures."""
    results: dict[str, dict] = {}
    while len(results) < len(steps):
        for reader in [reader for reader in steps if reader.key not in results]:
            try:
                next(steps[reader])
            except StopIteration as end:
                results[reader.key] = end.value
            except EnvironmentFailed as error:
                results[reader.key] = {"failed": str(error)}
                print(f"{reader.title}: {error}", flush=True)
    return {reader.key: results[reader.key] for reader in steps}


def compare(plates: int | None, timed: int, rounds: int, folders: list[Path]) -> dict:
    """Install, measure, and return what `benchmark.json` holds."""
    start = perf_counter()
    machine = {
        "processor": processor_name(),
        "cores": cores(),
        "flags": [flag for flag in FLAGS if cpu_supports(flag)],
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    sets = load_sets(plates, folders)
    with tempfile.TemporaryDirectory() as folder:
        timed = write_sets(sets, timed, Path(folder))
        steps = {
            reader: measure(reader, sets, timed, rounds, Path(folder))
            for reader in baselines.READERS
        }
        figures = take_turns(steps)
    return {
        "machine": machine,
        "origin": origin(DEFAULT_WEIGHTS),
        "rounds": rounds,
        "timed_plates": timed,
        "sets": {name: len(part.labels) for name, part in sets.items()},
        "readers": figures,
        "versions": {
            name: [*pins, *DEBIAN_PACKAGES.get(name, ())] for name, pins in REQUIREMENTS.items()
        },
        "minutes": round((perf_counter() - start) / 60, 1),
    }


def main() -> None:
    """Measure what the options ask for and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=path_argument, metavar="FOLDER")
    parser.add_argument("--plates", type=int, help="of each set; all by default")
    parser.add_argument("--timed", type=int, default=256, help="plates per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=PROJECT / "results")
    options = parser.parse_args()
    check_writable(options.output / "benchmark.json")
    results = compare(options.plates, options.timed, options.rounds, options.folders)
    write_text(options.output / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(options.output / "benchmark.md", report.markdown(results))
    save_figure(report.chart(results), options.output / "benchmark.png")
    print(report.markdown(results))


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
