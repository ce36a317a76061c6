"""Our reader and our generator against others, on this machine, in one run.

Every peer works in an environment of its own, which the command makes under `.cache/peers`, in one
process on one core with one thread. All get the same plates. Times are taken in rounds, each peer
once a round, after a round that does not count; the median of the rounds is told. A peer that
cannot be had keeps its row, with the reason. Linux only. Writes `benchmark.json`, `benchmark.md`
and `benchmark.png`; takes 10 to 30 minutes, and 4 minutes more and 3 GB of disk the first time.

$ python -m benchmarks.compare
"""

import argparse
import json
import os
import platform
import subprocess
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
    BARE_IMPORTS,
    DEBIAN_PACKAGES,
    GENERATORS,
    NETWORKS,
    PEERS,
    PROJECT,
    READERS,
    REQUIREMENTS,
    Peer,
    PeerFailed,
    install,
    reason_in,
)
from benchmarks.subprocess_worker import Worker, in_turn
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.evaluation.plots import save_figure
from plate_ocr.network.checkpoint import DEFAULT_EXPORT, DEFAULT_WEIGHTS
from plate_ocr.plates.dataset import load_folder
from plate_ocr.utils import cores, cpu_supports, processor_name, write_text

SEED = 2026
MATRIX_SIDE = 2048  # of the product that shows what one thread can do in float32
BENCHMARK = PROJECT / "data" / "benchmark"
CLEAN = ("held_out_fonts", "layout", "cross_generator", "captcha")
# Files a round for every file of ours: slow generators need fewer to be timed.
DRAWN_SHARE = {"plate_ocr": 1, "pillow": 0.1, "trdg": 0.01}
# What decides how fast a processor multiplies.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")

Sets = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> images (n, 64, 128), n texts


def load_sets(count: int | None) -> Sets:
    """Every set, or the same random `count` plates of each.

    The tuning set is left out, because choices were made on it, and so is what shows no plate.
    """
    test = load_folder(PROJECT / "data" / "test")
    damaged = load_benchmark("corruptions", BENCHMARK)
    severe = damaged.tags["severity"] > 3
    texts = np.array(damaged.labels)
    sets = {
        "test": (test.images, np.array(test.labels)),
        "corruptions_1_to_3": (damaged.images[~severe], texts[~severe]),
        "corruptions_4_to_5": (damaged.images[severe], texts[severe]),
    }
    for name in CLEAN:
        clean = load_benchmark(name, BENCHMARK)
        sets[name] = clean.images, np.array(clean.labels)
    for name, (images, texts) in sets.items():
        kept = np.sort(np.random.default_rng(SEED).permutation(len(texts))[:count])
        sets[name] = images[kept, :, :, 0], texts[kept]
    return sets


def plates_per_second(rounds: Sequence[Sequence[float]], batch: int) -> float:
    """The median round: plates over seconds.

    Args:
        rounds: seconds of every call of each round.
        batch: plates a call.
    """
    return median(batch * len(calls) / sum(calls) for calls in rounds)


def summary_of(seconds: dict[int, list[list[float]]]) -> dict:
    """Rate of every batch size, the best size, and the median latency of one plate.

    Args:
        seconds: batch size -> rounds -> calls; the first round of each does not count.
    """
    rates = {batch: plates_per_second(rounds[1:], batch) for batch, rounds in seconds.items()}
    alone = [call for calls in seconds[1][1:] for call in calls]
    return {
        "plates_per_second": {str(batch): round(rate, 1) for batch, rate in rates.items()},
        "best_batch": max(rates, key=rates.get),
        "latency_ms": round(1000 * median(alone), 3),
    }


class ReaderMeasurements:
    """The processes of all readers, and what was measured of each so far.

    Args:
        sets: what they read.
        timed: plates of a round, a random choice of all sets.
        folder: where the plates are put for the processes.
    """

    def __init__(self, sets: Sets, timed: int, folder: Path) -> None:
        images = np.concatenate([images for images, _ in sets.values()])
        self.labels = {name: texts for name, (_, texts) in sets.items()}
        self.all_plates, self.timed_plates = str(folder / "all.npy"), str(folder / "timed.npy")
        np.save(self.all_plates, images)
        choice = np.random.default_rng(SEED).permutation(len(images))[:timed]
        np.save(self.timed_plates, images[choice])
        self.workers: dict[str, Worker] = {}
        self.starts: dict[str, list[float]] = defaultdict(list)
        self.seconds = {
            peer.key: {batch: [] for batch in peer.batches if batch <= len(choice)}
            for peer in READERS
        }
        self.products: list[float] = []
        self.figures: dict[str, dict] = defaultdict(dict)

    def start(self, peer: Peer) -> None:
        """From no process to the first reading; the process stays."""
        if peer.key in self.workers:
            self.workers.pop(peer.key).close()
        begun = perf_counter()
        self.workers[peer.key] = Worker(peer)
        self.workers[peer.key].ask("read", plates=self.timed_plates, count=1)
        self.starts[peer.key].append(perf_counter() - begun)

    def time_alone(self, peer: Peer) -> None:
        """A round of one plate a call."""
        self._time(peer, 1)

    def time_batches(self, peer: Peer) -> None:
        """A round of every larger batch."""
        for batch in self.seconds[peer.key]:
            if batch > 1:
                self._time(peer, batch)

    def _time(self, peer: Peer, batch: int) -> None:
        calls = self.workers[peer.key].ask("time_reading", plates=self.timed_plates, batch=batch)
        self.seconds[peer.key][batch].append(calls)

    def describe(self, peer: Peer) -> None:
        """Bytes of the weights, and the memory that reading one by one took."""
        self.figures[peer.key] |= self.workers[peer.key].ask("describe")
        self.figures[peer.key]["peak_memory"] = self.workers[peer.key].ask("peak_memory")

    def multiply(self, peer: Peer) -> None:
        """A round of the matrix product."""
        self.products.append(self.workers[peer.key].ask("multiply_matrices", side=MATRIX_SIDE))

    def read_all(self, peer: Peer) -> None:
        """Count the plates of every set that are read exactly."""
        begun = perf_counter()
        texts = iter(self.workers[peer.key].ask("read", plates=self.all_plates))
        self.figures[peer.key]["correct"] = {
            name: sum(next(texts) == truth for truth in labels)
            for name, labels in self.labels.items()
        }
        print(f"{peer.title}: all read, {perf_counter() - begun:.0f} s", flush=True)

    def close(self) -> None:
        """Let all processes end."""
        for worker in self.workers.values():
            worker.close()


def measure_readers(sets: Sets, timed: int, rounds: int, failures: dict[str, str]) -> dict:
    """Everything about the readers.

    Args:
        sets: what they read.
        timed: plates of a round.
        rounds: that count.
        failures: readers that are out already, and why; those that fail are added.

    Returns:
        `readers` with the figures of each, `import_only_seconds`, and `float32_peak`, operations
        a second.

    Raises:
        PeerFailed: not even the bare imports could be measured.
    """
    with tempfile.TemporaryDirectory(dir=PEERS) as folder:
        measured = ReaderMeasurements(sets, timed, Path(folder))
        try:
            print(f"rounds: {rounds}, and one before that does not count", flush=True)
            for _ in range(rounds + 1):
                in_turn((BARE_IMPORTS, *READERS), failures, measured.start)
            for _ in range(rounds + 1):
                in_turn(READERS, failures, measured.time_alone)
            in_turn(READERS, failures, measured.describe)
            for _ in range(rounds + 1):
                in_turn(READERS, failures, measured.time_batches)
                in_turn((BARE_IMPORTS,), failures, measured.multiply)
            in_turn([peer for peer in READERS if peer.trained], failures, measured.read_all)
        finally:
            measured.close()
    if BARE_IMPORTS.key in failures:
        raise PeerFailed(f"{BARE_IMPORTS.title}: {failures[BARE_IMPORTS.key]}")

    def start_seconds(peer: Peer) -> float:
        return round(median(measured.starts[peer.key][1:]), 3)

    readers = {}
    for peer in READERS:
        if peer.key in failures:
            readers[peer.key] = {"failed": failures[peer.key]}
        else:
            readers[peer.key] = {
                **measured.figures[peer.key],
                **summary_of(measured.seconds[peer.key]),
                "start_seconds": start_seconds(peer),
            }
    return {
        "readers": readers,
        "import_only_seconds": start_seconds(BARE_IMPORTS),
        "float32_peak": round(max(measured.products)),
    }


def measure_generators(drawn: int, rounds: int, failures: dict[str, str]) -> dict[str, dict]:
    """PNG files a second of every generator.

    Args:
        drawn: files of ours a round.
        rounds: that count; every process draws a plate before.
        failures: generators that are out already, and why; those that fail are added.
    """
    counts = {key: max(1, round(drawn * share)) for key, share in DRAWN_SHARE.items()}
    rates: dict[str, list[float]] = defaultdict(list)

    def draw(peer: Peer, within: str) -> None:
        worker = Worker(peer)  # anew every round: no glyph of the round before may help
        try:
            worker.ask("draw", count=1, within=within)
            seconds = worker.ask("draw", count=counts[peer.key], within=within)
        finally:
            worker.close()
        rates[peer.key].append(counts[peer.key] / seconds)

    # All files stay until the end: for minutes after many were removed, ext4 looks at each of
    # their places whenever a file is made, which takes longer than we do.
    with tempfile.TemporaryDirectory(dir=PEERS) as folder:
        for _ in range(rounds):
            in_turn(GENERATORS, failures, partial(draw, within=folder))
    return {
        peer.key: {"failed": failures[peer.key]}
        if peer.key in failures
        else {"files": counts[peer.key], "files_per_second": round(median(rates[peer.key]), 1)}
        for peer in GENERATORS
    }


def describe_machine() -> dict:
    """Processor, system, and how busy the machine is."""
    return {
        "processor": processor_name(),
        "cores": cores(),
        "flags": [flag for flag in FLAGS if cpu_supports(flag)],
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def install_all() -> dict[str, str]:
    """Make all environments; those that cannot be had, and why."""
    unusable = {}
    for environment in REQUIREMENTS:
        print(f"environment {environment}", flush=True)
        try:
            install(environment)
        except PeerFailed as failure:
            unusable[environment] = str(failure)
            print(f"  {failure}", flush=True)
    return unusable


def export_networks() -> tuple[dict[str, dict], str]:
    """Export the networks with fresh weights, in a process of their own.

    Returns:
        The sizes of all networks, and why the export failed, empty if it did not.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reference_models"],
        cwd=PROJECT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {}, f"not exported: {reason_in(done.stderr)}"
    return json.loads((NETWORKS / "sizes.json").read_text(encoding="utf-8")), ""


def main() -> None:
    """Measure what the options ask for and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plates", type=int, help="of each set; all by default")
    parser.add_argument("--timed", type=int, default=256, help="plates of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drawn", type=int, default=60_000, help="files of our generator a round")
    parser.add_argument("--output", type=Path, default=PROJECT / "results")
    options = parser.parse_args()
    begun = perf_counter()
    machine = describe_machine()
    PEERS.mkdir(parents=True, exist_ok=True)
    unusable = install_all()
    sizes, export_failure = export_networks()
    failures = {
        peer.key: unusable[peer.environment]
        for peer in (BARE_IMPORTS, *READERS)
        if peer.environment in unusable
    }
    if export_failure:
        failures |= {peer.key: export_failure for peer in READERS if not peer.trained}
    sets = load_sets(options.plates)
    try:
        measured = measure_readers(sets, options.timed, options.rounds, failures)
    except PeerFailed as failure:
        sys.exit(str(failure))
    failures = {
        peer.key: unusable[peer.environment] for peer in GENERATORS if peer.environment in unusable
    }
    description = json.loads(DEFAULT_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    results = {
        "machine": machine,
        "weights_sha256": description["sha256"][DEFAULT_EXPORT.name],
        "rounds": options.rounds,
        "timed_plates": options.timed,
        "sets": {name: len(texts) for name, (_, texts) in sets.items()},
        **measured,
        "networks": sizes,
        "share_of_peak": share_of_peak(measured, sizes),
        "generators": measure_generators(options.drawn, options.rounds, failures),
        "versions": {
            name: [*pins, *DEBIAN_PACKAGES.get(name, ())] for name, pins in REQUIREMENTS.items()
        },
        "minutes": round((perf_counter() - begun) / 60, 1),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "benchmark.json", json.dumps(results, indent=2) + "\n")
    write_text(options.output / "benchmark.md", report.markdown(results))
    save_figure(report.chart(results), options.output / "benchmark.png")
    print(report.markdown(results))


def share_of_peak(measured: dict, sizes: dict[str, dict]) -> float | None:
    """What our reader in ONNX Runtime, images to texts, makes of one thread's float32 peak.

    None where the size of our network is unknown, or it was not measured.
    """
    ours = measured["readers"]["plate_ocr"]
    if "plate_ocr" not in sizes or "failed" in ours:
        return None
    rate = max(ours["plates_per_second"].values())
    return round(2 * sizes["plate_ocr"]["multiply_adds"] * rate / measured["float32_peak"], 3)


if __name__ == "__main__":
    sys.exit(run_command(main))
