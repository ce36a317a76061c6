"""Ablation study: variants of the configuration `robust`, trained in equal short runs.

Every run starts with fresh weights and takes the same number of optimizer steps, a fraction of the
full run. A finished run in results/ablations.json is not repeated. 5 to 10 minutes per run on 2
cores.

$ python -m benchmarks.ablations [VARIANT ...]
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.environments import CACHE, PROJECT
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import SETS, BenchmarkError, BenchmarkSet, load_benchmark
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network import crnn
from plate_ocr.network.spatial_transformer import localization_network, normalize_input
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import HELD_OUT_START, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.training import fit
from plate_ocr.training.config import CONFIGS, TrainConfig
from plate_ocr.training.styles import STYLES
from plate_ocr.utils import read_json, write_text

RESULTS = PROJECT / "results" / "ablations.json"
CONFIG = replace(CONFIGS["robust"], name="ablation", batch_size=256, epochs=4)


def build_with_crop() -> keras.Model:
    """The network as it is trained."""
    return crnn.with_box(crnn.build_model())


def build_without_crop() -> keras.Model:
    """The recognition network reads the whole plate; the box is predicted for comparison only."""
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink = normalize_input(plates)
    image = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1))(ink)
    # One column per time step: the digits are narrower here than in the crop.
    logits = crnn.recognition_network(image, columns_per_step=1)
    box = layers.Concatenate(dtype="float32", name="box")(localization_network(ink))
    return keras.Model(plates, {"logits": logits, "box": box})


def make_font_folder(
    name: str, step: int = 1, count: int | None = None, instances: int | None = None
) -> Path:
    """A folder with every `step`-th training font, at most `count`, and its first instances."""
    folder = CACHE / "ablations" / name
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_json(FONT_DIRECTORY / "fonts.json")[::step][:count]
    for row in rows:
        row["instances"] = row["instances"][:instances]
        shutil.copyfile(FONT_DIRECTORY / row["file"], folder / row["file"])
    write_text(folder / "fonts.json", json.dumps(rows))
    return folder


def without_style(name: str) -> dict[str, Any]:
    """Settings without one style; its share of the plates keeps the training fonts."""
    return {"styles": {style: p for style, p in CONFIG.styles.items() if style != name}}


def fewer_plates(count: int) -> dict[str, Any]:
    """Settings for as many optimizer steps with fewer plates."""
    return {"plates": count, "epochs": CONFIG.epochs * CONFIG.plates // count}


@dataclass(frozen=True)
class Variant:
    """One change to `CONFIG`."""

    change: str
    config: dict[str, Any] = field(default_factory=dict)  # settings in place of `CONFIG`'s
    fonts: dict[str, int] = field(default_factory=dict)  # arguments of `make_font_folder`
    build: Callable[[], keras.Model] = build_with_crop


VARIANTS = {
    "robust": Variant("configuration `robust`"),
    "no_crop": Variant("no crop", build=build_without_crop),
    "no_box": Variant("localization trained by the CTC loss alone", {"box_weight": 1e-6}),
    "no_augmentation": Variant("no augmentation", {"augment": False}),
    "no_styles": Variant("no styles, no surroundings", {"styles": {}, "surroundings_prob": 0.0}),
    **{f"no_{style}": Variant(f"no {style}", without_style(style)) for style in STYLES},
    "no_surroundings": Variant("no surroundings", {"surroundings_prob": 0.0}),
    "5_fonts": Variant("5 fonts", fonts={"step": 4, "count": 5}),
    "11_fonts": Variant("11 fonts", fonts={"step": 2}),
    "static_fonts": Variant("one instance per font", fonts={"instances": 1}),
    "6000_plates": Variant("6,000 plates", fewer_plates(6_000)),
    "20000_plates": Variant("20,000 plates", fewer_plates(20_000)),
}


def metrics_of(model: keras.Model, dataset: BenchmarkSet) -> dict[str, float]:
    """The metrics of a model on a set."""
    logits = model.predict(dataset.images, NETWORK_BATCH, verbose=0)["logits"]
    predictions = decode_logits(logits)
    return EvaluationResult(
        labels=np.array(dataset.labels),
        texts=np.array(predictions.texts),
        greedy_texts=np.array(predictions.greedy_texts),
        confidence=predictions.text_probability,
        tags=dataset.tags,
    ).metrics()


def fit_variant(name: str, config: TrainConfig) -> tuple[keras.Model, dict[str, Any]]:
    """Train a variant with its configuration; returns the float32 model and figures of the run."""
    variant = VARIANTS[name]
    fonts = make_font_folder(name, **variant.fonts) if variant.fonts else FONT_DIRECTORY
    plates = render_plates(range(config.plates), fonts=fonts)
    augment = fit.make_augmentation(config, fonts)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(fit.best_dtype_policy())
    model = variant.build()
    batches = fit.PlateBatches(plates, config.batch_size, config.seed, augment)
    steps = config.epochs * len(batches)
    rate = fit.warmup_cosine(config.learning_rate, steps, config.warmup_steps)
    crnn.compile_model(model, rate, config.box_weight)
    start = time.perf_counter()
    fit.fit_epochs(model, batches, config.epochs)
    minutes = (time.perf_counter() - start) / 60
    loss = model.history.history["logits_loss"][-1]

    keras.config.set_dtype_policy("float32")
    trained = variant.build()
    trained.set_weights(model.get_weights())
    return trained, {"steps": steps, "ctc_loss": loss, "minutes": round(minutes, 1)}


def run_variant(name: str, config: TrainConfig, sets: dict[str, BenchmarkSet]) -> dict:
    """Train one of `VARIANTS` and evaluate it on every set."""
    model, figures = fit_variant(name, config)
    return {
        "change": VARIANTS[name].change,
        "network": crnn.architecture_hash(model),
        "device": fit.device_name(),
        "versions": fit.versions(),
        "config": asdict(config),
        **figures,
        "sets": {key: metrics_of(model, dataset) for key, dataset in sets.items()},
    }


def main() -> None:
    """Train what is missing in the results."""
    names = sys.argv[1:] or list(VARIANTS)
    if unknown := ", ".join(set(names) - set(VARIANTS)):
        sys.exit(f"unknown variant: {unknown}")
    sets = {name: load_benchmark(name) for name in SETS if name != "no_plate"}
    held_out = render_plates(range(HELD_OUT_START, HELD_OUT_START + 2_000))
    sets["held_out"] = BenchmarkSet.from_plates(held_out)
    runs = read_json(RESULTS)["runs"] if RESULTS.exists() else {}
    for name in names:
        config = replace(CONFIG, **VARIANTS[name].config)
        network = crnn.architecture_hash(VARIANTS[name].build())
        finished = runs.get(name, {})
        if (finished.get("network"), finished.get("config")) == (network, asdict(config)):
            continue
        print(f"{name}: {VARIANTS[name].change}", flush=True)
        runs[name] = run_variant(name, config, sets)
        ordered = {key: runs[key] for key in VARIANTS if key in runs}
        write_text(RESULTS, json.dumps({"runs": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main, BenchmarkError))
