"""Ablation study: variants of the default configuration, trained in equal short runs.

Every run takes the same number of optimizer steps, a fraction of the full run, so that the results
compare with each other and not with the shipped weights. A finished run in results/ablations.json
is not repeated. 5 to 10 minutes per run on 2 cores.

$ python -m benchmarks.ablations [VARIANT ...]
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.environments import CACHE, PROJECT
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import SETS, BenchmarkSet, load_benchmark
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network.crnn import (
    architecture_hash,
    build_model,
    compile_model,
    localization_model,
    recognition_network,
)
from plate_ocr.network.spatial_transformer import normalize_input
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import HELD_OUT_START, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.training.augmentation import (
    P_CLEAN,
    Box,
    bounding_box,
    random_geometry,
    random_photometry,
)
from plate_ocr.training.config import CONFIGS, TrainConfig
from plate_ocr.training.fit import (
    AugmentFn,
    CoverageBatches,
    PlateBatches,
    best_dtype_policy,
    device_name,
    fit_epochs,
    make_augmentation,
    train_localization,
    versions,
    warmup_cosine,
)
from plate_ocr.utils import read_json, write_text

RESULTS = PROJECT / "results" / "ablations.json"
CONFIG = replace(
    CONFIGS["default"],
    name="ablation",
    batch_size=256,
    epochs=4,
    localization_epochs=2,
    warmup_steps=300,
)
CLEAN_DIGIT_HEIGHT = 14.0  # pixels of a digit before augmentation
Rng = np.random.Generator


def augment_each(change: Callable[[np.ndarray, Rng], tuple[np.ndarray, Box]]) -> AugmentFn:
    """Augment with `change` alone; the usual fraction of plates stays clean."""

    def augment(images: np.ndarray, texts: Sequence[str], rng: Rng) -> tuple:
        changed, boxes = zip(
            *(
                (plate, bounding_box(plate)) if rng.random() < P_CLEAN else change(plate, rng)
                for plate in images[..., 0]
            ),
            strict=True,
        )
        return np.stack(changed)[..., None], np.array(boxes)

    return augment


def geometry_only(plate: np.ndarray, rng: Rng) -> tuple[np.ndarray, Box]:
    """Change the geometry; returns the plate and the box of its digits."""
    plate, _ = random_geometry(plate, rng)
    return plate, bounding_box(plate)


def photometry_only(plate: np.ndarray, rng: Rng) -> tuple[np.ndarray, Box]:
    """Change the photometry; returns the plate and the box of its digits."""
    return random_photometry(plate, CLEAN_DIGIT_HEIGHT, rng), bounding_box(plate)


def build_without_localization(rows_as_time: bool) -> keras.Model:
    """The recognition network on the whole plate; its time axis is the width or the height."""
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink, shape = normalize_input(plates), (PLATE_HEIGHT, PLATE_WIDTH, 1)
    if rows_as_time:
        ink, shape = layers.Permute((2, 1))(ink), (PLATE_WIDTH, PLATE_HEIGHT, 1)
    # One column per time step: the digits are narrower here than in the crop.
    return keras.Model(plates, recognition_network(layers.Reshape(shape)(ink), columns_per_step=1))


def families(step: int = 1, count: int | None = None, instances: int | None = None) -> list[dict]:
    """Every `step`-th row of fonts.json, at most `count`, each with its first instances."""
    rows = read_json(FONT_DIRECTORY / "fonts.json")
    return [row | {"instances": row["instances"][:instances]} for row in rows[::step][:count]]


def make_font_folder(name: str, rows: list[dict]) -> Path:
    """A folder with these fonts and their table."""
    folder = CACHE / "ablations" / name
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copyfile(FONT_DIRECTORY / row["file"], folder / row["file"])
    write_text(folder / "fonts.json", json.dumps(rows))
    return folder


def fewer_plates(count: int) -> dict[str, int]:
    """Settings for as many optimizer steps with fewer plates."""
    repeats = CONFIG.plates // count
    return {
        "plates": count,
        "epochs": repeats * CONFIG.epochs,
        "localization_epochs": repeats * CONFIG.localization_epochs,
        "clean_epochs": repeats * CONFIG.clean_epochs,
    }


# Keywords: `change` for tables, `config` to replace settings, `fonts` for rows of fonts.json,
# `augment` in place of the augmentation, `build` in place of the network.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {"change": "default configuration"},
    "rows_as_time": {
        "change": "image rows as time steps, no localization",
        "build": lambda: build_without_localization(rows_as_time=True),
    },
    "whole_plate": {
        "change": "no localization",
        "build": lambda: build_without_localization(rows_as_time=False),
    },
    "no_augmentation": {"change": "no augmentation", "config": {"clean_epochs": None}},
    "no_synthetic_fonts": {
        "change": "no synthetic fonts",
        "config": {"font_interpolation_prob": 0.0, "handwriting_prob": 0.0},
    },
    "no_handwriting": {
        "change": "no handwriting, more interpolated fonts",
        "config": {"font_interpolation_prob": 0.5, "handwriting_prob": 0.0},
    },
    "geometry_only": {
        "change": "geometry only, no synthetic fonts",
        "augment": augment_each(geometry_only),
    },
    "photometry_only": {
        "change": "photometry only, no synthetic fonts",
        "augment": augment_each(photometry_only),
    },
    "5_fonts": {"change": "5 fonts", "fonts": lambda: families(step=4, count=5)},
    "11_fonts": {"change": "11 fonts", "fonts": lambda: families(step=2)},
    "static_fonts": {"change": "one instance per font", "fonts": lambda: families(instances=1)},
    "6000_plates": {"change": "6,000 plates", "config": fewer_plates(6_000)},
    "20000_plates": {"change": "20,000 plates", "config": fewer_plates(20_000)},
}


def metrics_of(model: keras.Model, dataset: BenchmarkSet) -> dict[str, float]:
    """The metrics of a model on a set."""
    predictions = decode_logits(model.predict(dataset.images, NETWORK_BATCH, verbose=0))
    result = EvaluationResult(
        labels=np.array(dataset.labels),
        texts=np.array(predictions.texts),
        greedy_texts=np.array(predictions.greedy_texts),
        confidence=predictions.text_probability,
        tags=dataset.tags,
    )
    return result.metrics()


def fit_variant(name: str, config: TrainConfig) -> tuple[keras.Model, dict[str, Any]]:
    """Train a variant with its configuration; returns the float32 model and figures of the run."""
    variant = VARIANTS[name]
    rows = variant.get("fonts")
    fonts = make_font_folder(name, rows()) if rows else FONT_DIRECTORY
    plates = render_plates(range(config.plates), fonts=fonts)
    augment = variant.get("augment") or make_augmentation(config, fonts)
    build = variant.get("build", build_model)

    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(best_dtype_policy())
    model = build()
    if "build" not in variant:
        coverage = CoverageBatches(plates, config.batch_size, config.seed, augment)
        train_localization(model, coverage, config.localization_epochs)
        localization_model(model).trainable = False
    batches = PlateBatches(
        plates, config.batch_size, config.seed, augment, config.clean_epochs or 0
    )
    steps = config.epochs * len(batches)
    compile_model(model, warmup_cosine(config.learning_rate, steps, config.warmup_steps))
    start = time.perf_counter()
    fit_epochs(model, batches, config.epochs)
    minutes = (time.perf_counter() - start) / 60
    loss = model.history.history["loss"][-1]

    keras.config.set_dtype_policy("float32")
    trained = build()
    trained.set_weights(model.get_weights())
    return trained, {"steps": steps, "training_loss": loss, "minutes": round(minutes, 1)}


def run_variant(name: str, config: TrainConfig, sets: dict[str, BenchmarkSet]) -> dict:
    """Train one of `VARIANTS` and evaluate it on every set."""
    model, figures = fit_variant(name, config)
    return {
        "change": VARIANTS[name]["change"],
        "network": architecture_hash(model),
        "device": device_name(),
        "versions": versions(),
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
        config = replace(CONFIG, **VARIANTS[name].get("config", {}))
        network = architecture_hash(VARIANTS[name].get("build", build_model)())
        finished = runs.get(name, {})
        if (finished.get("network"), finished.get("config")) == (network, asdict(config)):
            continue
        print(f"{name}: {VARIANTS[name]['change']}", flush=True)
        runs[name] = run_variant(name, config, sets)
        ordered = {key: runs[key] for key in VARIANTS if key in runs}
        write_text(RESULTS, json.dumps({"runs": ordered}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
