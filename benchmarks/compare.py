"""Our reader against others, on this machine, in one run.

Every reader works in an environment of its own, made under `.cache/baselines`, in one process on
one core with one thread. Times are taken in rounds, in which the readers take turns; the median
counts. A reader that fails keeps its row, and the reason is stated. Linux only. Writes
`benchmark.json`, `.md` and `.png` in 10 to 30 minutes; the first run takes 3 GB of disk.

$ python -m benchmarks.compare
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import baselines, report
from benchmarks.baselines import DEBIAN_PACKAGES, REQUIREMENTS, Reader
from benchmarks.environments import PROJECT, EnvironmentFailed, install
from benchmarks.subprocess_worker import Worker
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.evaluation.plots import save_figure
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.plates.dataset import load_folder
from plate_ocr.utils import cores, cpu_supports, processor_name, write_text

SEED = 2026
CLEAN = ("held_out_fonts", "layout", "cross_generator", "captcha", "segments")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

Sets = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> images (n, 64, 128), n labels


def load_sets(count: int | None) -> Sets:
    """Every set that no choices were made on, or the same random `count` plates of each."""
    test = load_folder(PROJECT / "data" / "test")
    corrupted = load_benchmark("corruptions")
    severe, labels = corrupted.tags["severity"] > 3, np.array(corrupted.labels)
    sets = {
        "test": (test.images, np.array(test.labels)),
        "corruptions_1_to_3": (corrupted.images[~severe], labels[~severe]),
        "corruptions_4_to_5": (corrupted.images[severe], labels[severe]),
    }
    for name in CLEAN:
        clean = load_benchmark(name)
        sets[name] = clean.images, np.array(clean.labels)
    for name, (images, labels) in sets.items():
        rows = np.sort(np.random.default_rng(SEED).permutation(len(labels))[:count])
        sets[name] = images[rows, :, :, 0], labels[rows]
    return sets


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

    `folder` holds the plates of all sets and the `timed` ones among them. The first of the rounds
    is a warm-up.
    """
    name, plates = reader.environment, str(folder / "timed.npy")
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
        texts, figures["correct"] = iter(worker.ask("read", plates=str(folder / "all.npy"))), {}
        for key, (_, labels) in sets.items():
            figures["correct"][key] = sum(next(texts) == label for label in labels)
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


def compare(plates: int | None, timed: int, rounds: int) -> dict:
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
    sets = load_sets(plates)
    images = np.concatenate([images for images, _ in sets.values()])
    choice = np.random.default_rng(SEED).permutation(len(images))[:timed]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "all.npy"), images)
        np.save(Path(folder, "timed.npy"), images[choice])
        steps = {}
        for reader in baselines.READERS:
            steps[reader] = measure(reader, sets, len(choice), rounds, Path(folder))
        figures = take_turns(steps)
    return {
        "machine": machine,
        "origin": origin(DEFAULT_WEIGHTS),
        "rounds": rounds,
        "timed_plates": timed,
        "sets": {name: len(labels) for name, (_, labels) in sets.items()},
        "readers": figures,
        "versions": {
            name: [*pins, *DEBIAN_PACKAGES.get(name, ())] for name, pins in REQUIREMENTS.items()
        },
        "minutes": round((perf_counter() - start) / 60, 1),
    }


def main() -> None:
    """Measure what the options ask for and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plates", type=int, help="of each set; all by default")
    parser.add_argument("--timed", type=int, default=256, help="plates per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=PROJECT / "results")
    options = parser.parse_args()
    results = compare(options.plates, options.timed, options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(options.output / "benchmark.md", report.markdown(results))
    save_figure(report.chart(results), options.output / "benchmark.png")
    print(report.markdown(results))


if __name__ == "__main__":
    sys.exit(run_command(main, EnvironmentFailed))
