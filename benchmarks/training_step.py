"""Where the time of a training step goes: the network with one thing changed at a time.

Random plates, batches of 256, the median of ten steps after three to warm up. Each variant runs
in a process of its own, because TensorFlow keeps what it compiled. Writes
`results/training_step.json`; takes about one minute on two cores.

$ python benchmarks/training_step.py
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCH, WARM_UP, STEPS = 256, 3, 10
RESULT = Path(__file__).parent.parent / "results" / "training_step.json"
# Name -> (precision, convolutions that are normalised, loss)
VARIANTS = {
    "as trained": ("float32", "2345", "ctc"),
    "all five normalised": ("float32", "12345", "ctc"),
    "none normalised": ("float32", "", "ctc"),
    "no CTC loss": ("float32", "2345", "mean"),
    "mixed bfloat16": ("mixed_bfloat16", "2345", "ctc"),
    "mixed bfloat16, none normalised": ("mixed_bfloat16", "", "ctc"),
}


def measure(precision: str, normalised: str, loss: str) -> float:
    """Plates a second of one variant."""
    import keras
    import numpy as np

    from plate_ocr import model as network

    network.CONVOLUTIONS = tuple(
        (*layer[:3], str(number) in normalised)
        for number, layer in enumerate(network.CONVOLUTIONS, start=1)
    )
    keras.config.set_dtype_policy(precision)
    model = network.build_model()
    network.compile_model(model, 3e-4)
    if loss == "mean":
        model.compile("adam", loss=lambda labels, logits: keras.ops.mean(logits**2))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH, 64, 128, 1), np.uint8)
    labels = random.integers(1, 11, (BATCH, 5)).astype("int32")
    seconds = []
    for _ in range(WARM_UP + STEPS):
        begun = time.perf_counter()
        model.train_on_batch(images, labels)
        seconds.append(time.perf_counter() - begun)
    return BATCH / statistics.median(seconds[WARM_UP:])


def main() -> None:
    """Measure every variant and write the result."""
    from plate_ocr.files import write_text
    from plate_ocr.training import describe_device, versions

    rates = {}
    for name in VARIANTS:
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rates[name] = round(float(done.stdout.split()[-1]))
        print(f"{rates[name]:6,} plates/s  {name}", flush=True)
    result = {"device": describe_device(), "versions": versions(), "plates_per_second": rates}
    write_text(RESULT, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    if len(sys.argv) > 1:
        print(measure(*VARIANTS[sys.argv[1]]))
    else:
        main()
