"""Networks tried in place of the shipped one: what each costs, and what it reads.

Every one is trained by the shipped recipe for as long as an ablation, and reads the tuning set,
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

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package, where it is not installed

from benchmarks.ablations import RECIPE, Variant, fresh_plates, run
from plate_ocr.console import run_command
from plate_ocr.dataset import draw_plates
from plate_ocr.engines import FILLED, Engine, OnnxEngine, OpenvinoEngine
from plate_ocr.evaluation import BenchmarkSet, load_benchmark
from plate_ocr.export import to_onnx
from plate_ocr.files import read_json, write_text
from plate_ocr.model import build_model, count_multiply_adds, fingerprint
from plate_ocr.reader import readings_from_look
from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training import augmentation_of, describe_device, versions
from plate_ocr.weights import EXPORT

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
    "shipped": Network("none: the shipped network, for as long as the others"),
    "finer_steps": Network("every column is a time step of its own: 32", {"columns_a_step": 1}),
}


def rates(engines: dict[Key, Engine], batch: int = FILLED) -> dict[Key, int]:
    """Plates a second of batches, of all engines in turn: so a slow minute is slow for all."""
    images = np.random.default_rng(0).integers(
        0, 256, (batch, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8
    )
    seconds: dict[Key, list[float]] = {key: [] for key in engines}
    for _ in range(ROUNDS):
        for key, engine in engines.items():
            begun = time.perf_counter()
            engine(images)
            seconds[key].append(time.perf_counter() - begun)
    return {key: round(batch / statistics.median(each)) for key, each in seconds.items()}


def costs(names: Iterable[str]) -> dict[str, dict]:
    """Size and speed of networks, which do not depend on the weights."""
    found, engines = {}, {}
    for name in names:
        model = NETWORKS[name].build()
        found[name] = {
            "parameters": model.count_params(),
            "multiply_adds": count_multiply_adds(model),
        }
        with tempfile.TemporaryDirectory() as folder:
            exported = to_onnx(model, Path(folder) / "network.onnx")
        engines[name, "onnx"] = OnnxEngine(exported, "network.onnx")
        engines[name, "openvino"] = OpenvinoEngine(exported, threads=1)
    for told, batch in (("plates_per_second", FILLED), ("one_at_a_time", 1)):
        for (name, engine), rate in rates(engines, batch).items():
            found[name].setdefault(told, {})[engine] = rate
    return found


class Batches(CalibrationDataReader):
    """Distorted training plates, for the ranges of 8-bit integers."""

    def __init__(self, count: int = 512):
        plates = draw_plates(range(count))
        distorted, _ = augmentation_of(RECIPE)(
            plates.images, plates.texts, np.random.default_rng(RECIPE.seed)
        )
        self.batches = iter(np.split(distorted, count // FILLED))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {"plates": batch}


def precisions(tuning: BenchmarkSet) -> dict:
    """The shipped weights in every precision: rate, exact match, readings unlike float32."""
    with tempfile.TemporaryDirectory() as folder:
        integers = Path(folder) / "integers.onnx"
        quantize_static(
            EXPORT, integers, Batches(), op_types_to_quantize=["Conv", "MatMul"], per_channel=True
        )
        # OpenVINO's own bfloat16 is faster, and it does not run this file.
        engines = {
            "onnx": OnnxEngine(EXPORT.read_bytes(), EXPORT),
            "onnx, 8-bit integers": OnnxEngine(integers.read_bytes(), integers),
            "openvino": OpenvinoEngine(EXPORT.read_bytes(), threads=1),
        }
    found, expected = {}, None
    rate = rates(engines)
    for name, engine in engines.items():
        texts = [one.text for one in readings_from_look(engine(tuning.images))]
        expected = expected or texts
        found[name] = {
            "plates_per_second": rate[name],
            "exact": sum(map(str.__eq__, texts, tuning.texts)),
            "unlike_float32": sum(map(str.__ne__, texts, expected)),
        }
    return found


def main() -> None:
    """Train what is missing in the results, then measure what all of them cost."""
    sets = {"tuning": load_benchmark("tuning"), "fresh": fresh_plates()}
    results = {"epochs": RECIPE.epochs, "networks": {}}
    if RESULTS.exists():
        results = read_json(RESULTS)
    runs = results["networks"]

    def write() -> None:
        results["networks"] = {name: runs[name] for name in NETWORKS if name in runs}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")

    for name in sys.argv[1:] or NETWORKS:
        if name not in runs or runs[name]["network"] != fingerprint(NETWORKS[name].build()):
            print(f"{name}: {NETWORKS[name].idea}", flush=True)
            runs[name] = run(Variant(NETWORKS[name].idea, build=NETWORKS[name].build), sets)
            write()
    for name, cost in costs(runs).items():
        runs[name] |= cost
        print(name, json.dumps(runs[name]), flush=True)
    results |= {"rated_on": describe_device(), "versions": versions()}
    results["precisions"] = precisions(sets["tuning"])
    print(json.dumps(results["precisions"], indent=1))
    write()


if __name__ == "__main__":
    sys.exit(run_command(main))
