"""Where the time of a training step goes: the network with one thing changed at a time.

Batches of 256; thirty steps on end, after as many to warm up as were prepared while TensorFlow
compiled. Each variant runs in a process of its own, because TensorFlow keeps what it compiled. The
plain network is the one of `benchmarks.reference_models`, with the loss of Keras. Writes
`results/training_step.json`; takes five minutes on two cores.

$ python -m benchmarks.training_step
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BATCH, WARM_UP, STEPS = 256, 15, 30  # Keras prepares up to ten batches ahead
RESULTS = Path(__file__).parent.parent / "results" / "training_step.json"


@dataclass(frozen=True)
class Variant:
    """What is trained, and how."""

    precision: str = "float32"
    normalised: bool | None = None  # all convolutions, or none; None as in the model
    loss: str = "ours"  # or that of Keras, or none
    distorted: bool = False  # plates, as the shipped config distorts them
    plain: bool = False  # the plain network of benchmarks/reference_models.py


VARIANTS = {
    "plain network": Variant(plain=True, loss="keras"),
    "float32": Variant(),
    "all normalised": Variant(normalised=True),
    "none normalised": Variant(normalised=False),
    "CTC loss of Keras": Variant(loss="keras"),
    "no CTC loss": Variant(loss="none"),
    "mixed bfloat16": Variant("mixed_bfloat16"),
    "mixed bfloat16, plates distorted": Variant("mixed_bfloat16", distorted=True),
    "mixed bfloat16, none normalised": Variant("mixed_bfloat16", normalised=False),
}


def measure(variant: Variant) -> dict:
    """Plates a second, and multiply-adds of a plate read once."""
    import keras

    from benchmarks.reference_models import plain
    from plate_ocr.network.crnn import (
        CONVOLUTIONS,
        build_model,
        compile_model,
        count_macs,
        localization_model,
    )
    from plate_ocr.plates.dataset import render_plates
    from plate_ocr.training.config import CONFIGS
    from plate_ocr.training.fit import PlateBatches, make_augmentation

    keras.config.set_dtype_policy(variant.precision)
    if variant.plain:
        model = plain()
    else:
        convolutions = CONVOLUTIONS
        if variant.normalised is not None:
            convolutions = tuple(
                convolution._replace(batch_norm=variant.normalised) for convolution in CONVOLUTIONS
            )
        model = build_model(convolutions=convolutions)
        localization_model(model).trainable = False
    compile_model(model, 3e-4)
    if variant.loss == "keras":
        model.compile("adam", loss=keras.losses.CTC())
    elif variant.loss == "none":
        model.compile("adam", loss=lambda labels, logits: keras.ops.mean(logits**2))
    augment = make_augmentation(CONFIGS["default"]) if variant.distorted else None
    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    drawn = render_plates(range((WARM_UP + STEPS) * BATCH))
    batches = PlateBatches(drawn, BATCH, seed=0, augment=augment)
    model.fit(batches, verbose=0, shuffle=False, callbacks=[clock])
    return {
        "plates_per_second": round(BATCH * STEPS / (ends[-1] - ends[-1 - STEPS])),
        "multiply_adds": count_macs(model),
    }


def main() -> None:
    """Measure every variant and write the result."""
    from plate_ocr.training.fit import device_name, versions
    from plate_ocr.utils import write_text

    variants = {}
    for name in VARIANTS:
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        variants[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{variants[name]['plates_per_second']:6,} plates/s  {name}", flush=True)
    result = {"device": device_name(), "versions": versions(), "variants": variants}
    write_text(RESULTS, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(VARIANTS[sys.argv[1]])))
    else:
        from plate_ocr.cli import run_command

        sys.exit(run_command(main))
