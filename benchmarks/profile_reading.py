"""Where the time of a reading goes, on one core with ONNX Runtime, and what the core could do.

Writes `results/profile.json`. Half a minute.

$ python -m benchmarks.profile_reading
"""

import io
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from timeit import repeat

import numpy as np
import onnxruntime
from threadpoolctl import threadpool_limits

from benchmarks.environments import PROJECT
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS
from plate_ocr.network.crnn import build_model, count_macs
from plate_ocr.plates.dataset import encode_png, load_folder
from plate_ocr.plates.images import letterbox, load_gray
from plate_ocr.reading.reader import PlateReader, decode_output

BATCHES = (1, 32)
ROUNDS = 200
PEAK_SIZE = 1_024  # rows and columns of the matrices
# Part of the network -> what the names of its layers hold; a layer of another name is of the part
# of the layer before it.
PARTS = {
    "localization network and crop": "pixels|ink|localization|rows_|columns_",
    "convolutions": "convolution_|pool_|normalization_|relu_|row_maximum",
    "BiLSTM": "time_steps|lstm",
    "output layer": "logits",
}


def seconds(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median time of a call, after a warm-up."""
    return median(repeat(function, number=1, repeat=rounds + 3)[3:])


def profile_stages(reader: PlateReader, images: np.ndarray) -> dict[str, float]:
    """Microseconds per plate of every stage of `read`, and of all; uint8 (n, 64, 128)."""
    files, output = [encode_png(image) for image in images], reader.forward(images[..., None])
    stages = {
        "decode the PNG file": lambda: [load_gray(io.BytesIO(file)) for file in files],
        "scale to the plate": lambda: [letterbox(image) for image in images],
        "network": lambda: reader.forward(images[..., None]),
        "decode the logits": lambda: decode_output(output),
        "read": lambda: reader.read(files),
    }
    return {name: round(1e6 * seconds(stage) / len(images), 1) for name, stage in stages.items()}


def profile_network(images: np.ndarray) -> dict[str, float]:
    """The share of each of `PARTS` in the time of the network; uint8 (n, 64, 128, 1)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(DEFAULT_WEIGHTS.with_suffix(".onnx"), options)
        for _ in range(ROUNDS):
            session.run(None, {"plates": images})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: Counter[str] = Counter()
    part = next(iter(PARTS))
    for event in events:
        if event["name"].endswith("_kernel_time"):
            named = (name for name, words in PARTS.items() if re.search(words, event["name"]))
            part = next(named, part)
            times[part] += event["dur"]
    return {name: round(times[name] / times.total(), 3) for name in PARTS}


def peak_gflops() -> float:
    """Billions of float32 operations per second that one core reaches in a matrix product."""
    matrix = np.random.default_rng(0).random((PEAK_SIZE, PEAK_SIZE), np.float32)
    with threadpool_limits(1):
        return 2e-9 * PEAK_SIZE**3 / seconds(lambda: matrix @ matrix, rounds=20)


def main() -> None:
    """Measure and write the result."""
    check_result("profile")
    reader = PlateReader(num_threads=1)
    plates = load_folder(PROJECT / "data" / "test").images
    operations = 2e-9 * count_macs(build_model())  # billions per plate
    batches = {}
    for size in BATCHES:
        stages = profile_stages(reader, plates[:size, ..., 0])
        batches[str(size)] = {
            "microseconds": stages,
            "network": profile_network(plates[:size]),
            "gflops": round(operations / (1e-6 * stages["network"]), 1),
        }
    result = {"peak_gflops": round(peak_gflops(), 1), "batches": batches}
    print(json.dumps(result, indent=1))
    write_result("profile", result)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
