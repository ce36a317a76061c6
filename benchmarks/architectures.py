"""Networks tried in place of the shipped one: what each costs, and what it reads.

Every one is trained by the shipped config for as long as an ablation, and reads the tuning set,
which serves choices, and fresh plates. Its rate is that of the bare graph on one thread, in batches
of 32 and one plate at a time, in ONNX Runtime (float32) and in OpenVINO (its fastest precision).
The shipped weights are also run in 8-bit integers, calibrated on distorted training plates. A
finished try is kept in results/architectures.json; rates are measured anew, all in one go, so run
it on a quiet machine.
About 7 minutes a network on 2 cores; all of them with
$ python benchmarks/architectures.py
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from benchmarks.ablations import RECIPE, Variant, run, test_plates
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import BenchmarkSet, load_benchmark
from plate_ocr.network.checkpoint import DEFAULT_EXPORT
from plate_ocr.network.crnn import architecture_hash, build_model, count_macs
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH, Backend, OnnxBackend, OpenvinoBackend
from plate_ocr.reading.reader import to_readings
from plate_ocr.training.export import to_onnx
from plate_ocr.training.fit import device_name, make_augmentation, versions
from plate_ocr.utils import read_json, write_text

# isort: split
# After plate_ocr, which turns off its telemetry.
from onnxruntime.quantization import CalibrationDataReader, quantize_static

RESULTS = Path(__file__).parents[1] / "results" / "architectures.json"
ROUNDS = 40
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Network:
    """One try."""

    idea: str
    settings: dict[str, Any] = field(default_factory=dict)  # of `build_model`

    def build(self) -> keras.Model:
        """The network, with fresh weights."""
        return build_model(use_cudnn=False, **self.settings)


NETWORKS = {
    "default": Network("none: the shipped network, for as long as the others"),
    "finer_steps": Network("every column is a time step of its own: 32", {"columns_per_step": 1}),
}


def rates(engines: dict[Key, Backend], batch: int = NETWORK_BATCH) -> dict[Key, int]:
    """Plates a second of batches, of all engines in turn: so a slow minute is slow for all."""
    images = np.random.default_rng(0).integers(
        0, 256, (batch, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8
    )
    seconds: dict[Key, list[float]] = {key: [] for key in engines}
    for _ in range(ROUNDS):
        for key, backend in engines.items():
            begun = time.perf_counter()
            backend(images)
            seconds[key].append(time.perf_counter() - begun)
    return {key: round(batch / statistics.median(each)) for key, each in seconds.items()}


def costs(names: Iterable[str]) -> dict[str, dict]:
    """Size and speed of networks, which do not depend on the weights."""
    found, engines = {}, {}
    for name in names:
        model = NETWORKS[name].build()
        found[name] = {
            "parameters": model.count_params(),
            "multiply_adds": count_macs(model),
        }
        with tempfile.TemporaryDirectory() as folder:
            exported = to_onnx(model, Path(folder) / "network.onnx")
        engines[name, "onnx"] = OnnxBackend(exported, "network.onnx")
        engines[name, "openvino"] = OpenvinoBackend(exported, num_threads=1)
    for told, batch in (("plates_per_second", NETWORK_BATCH), ("one_at_a_time", 1)):
        for (name, backend), rate in rates(engines, batch).items():
            found[name].setdefault(told, {})[backend] = rate
    return found


class Batches(CalibrationDataReader):
    """Distorted training plates, for the ranges of 8-bit integers."""

    def __init__(self, count: int = 512):
        plates = render_plates(range(count))
        distorted, _ = make_augmentation(RECIPE)(
            plates.images, plates.labels, np.random.default_rng(RECIPE.seed)
        )
        self.batches = iter(np.split(distorted, count // NETWORK_BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {"plates": batch}


def precisions(tuning: BenchmarkSet) -> dict:
    """The shipped weights in every precision: rate, exact match, readings unlike float32."""
    with tempfile.TemporaryDirectory() as folder:
        integers = Path(folder) / "integers.onnx"
        quantize_static(
            DEFAULT_EXPORT,
            integers,
            Batches(),
            op_types_to_quantize=["Conv", "MatMul"],
            per_channel=True,
        )
        # OpenVINO's own bfloat16 is faster, and it does not run this file.
        engines = {
            "onnx": OnnxBackend(DEFAULT_EXPORT.read_bytes(), DEFAULT_EXPORT),
            "onnx, 8-bit integers": OnnxBackend(integers.read_bytes(), integers),
            "openvino": OpenvinoBackend(DEFAULT_EXPORT.read_bytes(), num_threads=1),
        }
    found, expected = {}, None
    rate = rates(engines)
    for name, backend in engines.items():
        texts = [one.text for one in to_readings(backend(tuning.images))]
        expected = expected or texts
        found[name] = {
            "plates_per_second": rate[name],
            "correct": sum(map(str.__eq__, texts, tuning.labels)),
            "unlike_float32": sum(map(str.__ne__, texts, expected)),
        }
    return found


def main() -> None:
    """Train what is missing in the results, then measure what all of them cost."""
    sets = {"tuning": load_benchmark("tuning"), "held_out": test_plates()}
    results = {"epochs": RECIPE.epochs, "networks": {}}
    if RESULTS.exists():
        results = read_json(RESULTS)
    runs = results["networks"]

    def write() -> None:
        results["networks"] = {name: runs[name] for name in NETWORKS if name in runs}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

    for name in sys.argv[1:] or NETWORKS:
        if name not in runs or runs[name]["network"] != architecture_hash(NETWORKS[name].build()):
            print(f"{name}: {NETWORKS[name].idea}", flush=True)
            runs[name] = run(Variant(NETWORKS[name].idea, build=NETWORKS[name].build), sets)
            write()
    for name, cost in costs(runs).items():
        runs[name] |= cost
        print(name, json.dumps(runs[name]), flush=True)
    results |= {"rated_on": device_name(), "versions": versions()}
    results["precisions"] = precisions(sets["tuning"])
    print(json.dumps(results["precisions"], indent=1))
    write()


if __name__ == "__main__":
    sys.exit(run_command(main))
