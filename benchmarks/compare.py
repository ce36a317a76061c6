"""Our reader and our generator against others, on this machine, in one run.

Every method works in an environment of its own, which the command makes under `.cache/baselines`,
in one process on one core with one thread. All get the same plates. Times are taken in rounds, in
which every method takes its turn; the first round is a warm-up, the median of the others counts. A
method that fails keeps its row, and the reason is stated. Linux only. Writes `benchmark.json`,
`benchmark.md` and `benchmark.png`; takes 10 to 30 minutes, and 4 minutes more and 3 GB of disk the
first time.

$ python -m benchmarks.compare
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import report
from benchmarks.baselines import (
    DEBIAN_PACKAGES,
    ENVIRONMENTS,
    GENERATORS,
    IMPORT_ONLY,
    NETWORKS,
    READERS,
    REQUIREMENTS,
    Method,
    install_environment,
)
from benchmarks.environments import PROJECT, EnvironmentFailed, run
from benchmarks.subprocess_worker import Worker, for_each
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.evaluation.plots import save_figure
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, load_metadata
from plate_ocr.plates.dataset import load_folder
from plate_ocr.utils import cores, cpu_supports, processor_name, read_json, write_text

SEED = 2026
MATRIX_SIDE = 2048  # of the product that shows what one thread achieves in float32
BENCHMARK = PROJECT / "data" / "benchmark"
CLEAN = ("held_out_fonts", "layout", "cross_generator", "captcha")
# Files per round, as a fraction of ours: slow generators need fewer to be timed.
FILES_FRACTION = {"plate_ocr": 1, "pillow": 0.1, "trdg": 0.01}
# What decides how fast a processor multiplies.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

Sets = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> images (n, 64, 128), n labels


def load_sets(count: int | None) -> Sets:
    """Every set, or the same random `count` plates of each.

    Without the tuning set, on which choices were made, and without the images of no plate.
    """
    test = load_folder(PROJECT / "data" / "test")
    corrupted = load_benchmark("corruptions", BENCHMARK)
    severe, labels = corrupted.tags["severity"] > 3, np.array(corrupted.labels)
    sets = {
        "test": (test.images, np.array(test.labels)),
        "corruptions_1_to_3": (corrupted.images[~severe], labels[~severe]),
        "corruptions_4_to_5": (corrupted.images[severe], labels[severe]),
    }
    for name in CLEAN:
        clean = load_benchmark(name, BENCHMARK)
        sets[name] = clean.images, np.array(clean.labels)
    for name, (images, labels) in sets.items():
        rows = np.sort(np.random.default_rng(SEED).permutation(len(labels))[:count])
        sets[name] = images[rows, :, :, 0], labels[rows]
    return sets


def plates_per_second(rounds: Sequence[Sequence[float]], batch: int) -> float:
    """Throughput of the median round, of the seconds of every call with a batch."""
    return median(batch * len(calls) / sum(calls) for calls in rounds)


def summarize(seconds: dict[int, list[list[float]]]) -> dict:
    """Throughput of every batch size, the best batch size, and the median latency of one plate.

    Args:
        seconds: batch size -> rounds -> calls; the first round of each is a warm-up.
    """
    rates = {batch: plates_per_second(rounds[1:], batch) for batch, rounds in seconds.items()}
    single = [call for calls in seconds[1][1:] for call in calls]
    return {
        "plates_per_second": {str(batch): round(rate, 1) for batch, rate in rates.items()},
        "best_batch": max(rates, key=rates.get),
        "latency_ms": round(1000 * median(single), 3),
    }


class ReaderMeasurements:
    """The processes of all readers, and what was measured of each so far.

    Args:
        sets: what they read.
        timed: plates per round, a random choice of all sets.
        folder: where the plates are put for the processes.
    """

    def __init__(self, sets: Sets, timed: int, folder: Path) -> None:
        images = np.concatenate([images for images, _ in sets.values()])
        self.labels = {name: labels for name, (_, labels) in sets.items()}
        self.all_plates, self.timed_plates = str(folder / "all.npy"), str(folder / "timed.npy")
        np.save(self.all_plates, images)
        choice = np.random.default_rng(SEED).permutation(len(images))[:timed]
        np.save(self.timed_plates, images[choice])
        self.num_timed = len(choice)
        self.workers: dict[str, Worker] = {}
        self.starts: dict[str, list[float]] = defaultdict(list)
        self.seconds: dict = defaultdict(lambda: defaultdict(list))  # method -> batch -> rounds
        self.matrix_products: list[float] = []
        self.figures: dict[str, dict] = defaultdict(dict)

    def start(self, method: Method) -> None:
        """Time from no process to the first reading; the process stays."""
        if method.key in self.workers:
            self.workers.pop(method.key).close()
        start = perf_counter()
        self.workers[method.key] = Worker(method)
        self.workers[method.key].ask("read", plates=self.timed_plates, count=1)
        self.starts[method.key].append(perf_counter() - start)

    def time_reading(self, method: Method, single: bool) -> None:
        """A round of batch size 1, or one of every larger batch size."""
        for batch in method.batch_sizes:
            if (batch == 1) == single and batch <= self.num_timed:
                calls = self.workers[method.key].ask(
                    "time_reading", plates=self.timed_plates, batch=batch
                )
                self.seconds[method.key][batch].append(calls)

    def describe(self, method: Method) -> None:
        """Bytes of the weights, and the memory that reading one by one took."""
        self.figures[method.key] |= self.workers[method.key].ask("describe")
        self.figures[method.key]["peak_memory"] = self.workers[method.key].ask("peak_memory")

    def multiply(self, method: Method) -> None:
        """A round of the matrix product."""
        self.matrix_products.append(
            self.workers[method.key].ask("multiply_matrices", side=MATRIX_SIDE)
        )

    def read_all(self, method: Method) -> None:
        """Count the correct readings of every set."""
        texts = iter(self.workers[method.key].ask("read", plates=self.all_plates))
        self.figures[method.key]["correct"] = {
            name: sum(next(texts) == label for label in labels)
            for name, labels in self.labels.items()
        }
        print(f"{method.title}: read all plates", flush=True)

    def start_seconds(self, method: Method) -> float:
        """The median time to the first reading."""
        return round(median(self.starts[method.key][1:]), 3)

    def result_of(self, method: Method) -> dict:
        """All that was measured of a reader."""
        return {
            **self.figures[method.key],
            **summarize(self.seconds[method.key]),
            "start_seconds": self.start_seconds(method),
        }


def measure_readers(sets: Sets, timed: int, rounds: int, failures: dict[str, str]) -> dict:
    """Measure the readers.

    Args:
        sets: what they read.
        timed: plates per round.
        rounds: after the warm-up.
        failures: readers that failed already, and why; those that fail now are added.

    Returns:
        `readers` with the figures of each, `import_only_seconds`, and `float32_peak`, operations
        per second.

    Raises:
        EnvironmentFailed: not even the imports could be measured.
    """
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:
        measured = ReaderMeasurements(sets, timed, Path(folder))
        try:
            for _ in range(rounds + 1):
                for_each((IMPORT_ONLY, *READERS), failures, measured.start)
            for _ in range(rounds + 1):
                for_each(READERS, failures, partial(measured.time_reading, single=True))
            for_each(READERS, failures, measured.describe)
            for _ in range(rounds + 1):
                for_each(READERS, failures, partial(measured.time_reading, single=False))
                for_each([IMPORT_ONLY], failures, measured.multiply)
            for_each([reader for reader in READERS if reader.trained], failures, measured.read_all)
        finally:
            for worker in measured.workers.values():
                worker.close()
    if IMPORT_ONLY.key in failures:
        raise EnvironmentFailed(f"{IMPORT_ONLY.title}: {failures[IMPORT_ONLY.key]}")
    return {
        "readers": {
            reader.key: {"failed": failures[reader.key]}
            if reader.key in failures
            else measured.result_of(reader)
            for reader in READERS
        },
        "import_only_seconds": measured.start_seconds(IMPORT_ONLY),
        "float32_peak": round(max(measured.matrix_products)),
    }


def measure_generators(files: int, rounds: int, failures: dict[str, str]) -> dict[str, dict]:
    """PNG files per second of every generator.

    Args:
        files: of our generator per round.
        rounds: each in a new process, which draws one plate as a warm-up.
        failures: generators that failed already, and why; those that fail now are added.
    """
    counts = {key: max(1, round(files * fraction)) for key, fraction in FILES_FRACTION.items()}
    rates: dict[str, list[float]] = defaultdict(list)

    def draw(method: Method, within: str) -> None:
        worker = Worker(method)
        try:
            worker.ask("draw", count=1, within=within)
            seconds = worker.ask("draw", count=counts[method.key], within=within)
        finally:
            worker.close()
        rates[method.key].append(counts[method.key] / seconds)

    # All files stay until the end: ext4 makes files slowly for minutes after many were removed.
    with tempfile.TemporaryDirectory(dir=ENVIRONMENTS) as folder:
        for _ in range(rounds):
            for_each(GENERATORS, failures, partial(draw, within=folder))
    return {
        method.key: {"failed": failures[method.key]}
        if method.key in failures
        else {"files": counts[method.key], "files_per_second": round(median(rates[method.key]), 1)}
        for method in GENERATORS
    }


def describe_machine() -> dict:
    """Processor, system, and the load."""
    return {
        "processor": processor_name(),
        "cores": cores(),
        "flags": [flag for flag in FLAGS if cpu_supports(flag)],
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def install_all() -> dict[str, str]:
    """Install all environments; returns those that failed, and why."""
    failures = {}
    for environment in REQUIREMENTS:
        print(f"environment {environment}", flush=True)
        try:
            install_environment(environment)
        except EnvironmentFailed as error:
            failures[environment] = f"not installed: {error}"
            print(f"  {error}", flush=True)
    return failures


def export_networks() -> tuple[dict[str, dict], str]:
    """Export the untrained networks; returns the sizes of all networks, or why that failed."""
    command = [sys.executable, "-m", "benchmarks.reference_models"]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        run(command, cwd=PROJECT, env=os.environ | quiet)
    except EnvironmentFailed as error:
        return {}, f"not exported: {error}"
    return read_json(NETWORKS / "sizes.json"), ""


def fraction_of_peak(measured: dict, sizes: dict[str, dict]) -> float | None:
    """What our reader in ONNX Runtime, images to texts, makes of one thread's float32 peak.

    None if the size of our network is unknown, or our reader failed.
    """
    ours = measured["readers"]["plate_ocr"]
    if "plate_ocr" not in sizes or "failed" in ours:
        return None
    rate = max(ours["plates_per_second"].values())
    return round(2 * sizes["plate_ocr"]["multiply_adds"] * rate / measured["float32_peak"], 3)


def compare(options: argparse.Namespace) -> dict:
    """Install, measure, and return what `benchmark.json` holds."""
    start = perf_counter()
    machine = describe_machine()
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    not_installed = install_all()
    sizes, not_exported = export_networks()

    def failures(methods: Sequence[Method]) -> dict[str, str]:
        reasons = {
            method.key: not_installed.get(method.environment)
            or (not_exported if method.loader == "readers:network" else "")
            for method in methods
        }
        return {key: reason for key, reason in reasons.items() if reason}

    sets = load_sets(options.plates)
    measured = measure_readers(
        sets, options.timed, options.rounds, failures([IMPORT_ONLY, *READERS])
    )
    return {
        "machine": machine,
        "weights": load_metadata(DEFAULT_WEIGHTS)["sha256"][DEFAULT_WEIGHTS.name],
        "rounds": options.rounds,
        "timed_plates": options.timed,
        "sets": {name: len(labels) for name, (_, labels) in sets.items()},
        **measured,
        "networks": sizes,
        "share_of_peak": fraction_of_peak(measured, sizes),
        "generators": measure_generators(options.files, options.rounds, failures(GENERATORS)),
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
    parser.add_argument("--files", type=int, default=60_000, help="of our generator per round")
    parser.add_argument("--output", type=Path, default=PROJECT / "results")
    options = parser.parse_args()
    results = compare(options)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(options.output / "benchmark.md", report.markdown(results))
    save_figure(report.chart(results), options.output / "benchmark.png")
    print(report.markdown(results))


if __name__ == "__main__":
    sys.exit(run_command(main, EnvironmentFailed))
