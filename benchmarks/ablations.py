"""Ablation study: variants of the default configuration, trained in equal short runs.

Every run takes the same number of optimizer steps, a fraction of the full run. A finished run in
results/ablations.json is not repeated. 5 to 10 minutes per run on 2 cores.

$ python -m benchmarks.ablations [VARIANT ...]
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.environments import CACHE, PROJECT
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import SETS, BenchmarkSet, load_benchmark
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network import crnn
from plate_ocr.network.spatial_transformer import normalize_input
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import HELD_OUT_START, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.training import augmentation, fit
from plate_ocr.training.config import CONFIGS, TrainConfig
from plate_ocr.utils import read_json, write_text

RESULTS = PROJECT / "results" / "ablations.json"
CONFIG = replace(
    CONFIGS["default"], name="ablation", batch_size=256, epochs=4, localization_epochs=2,
    warmup_steps=300,
)  # fmt: skip
CLEAN_DIGIT_HEIGHT = 14.0  # pixels of a digit before augmentation


def augment_part(part: str) -> fit.AugmentFn:
    """Augment only "geometry" or only "photometry"; the usual fraction of plates stays clean."""

    def augment(images: np.ndarray, texts: Sequence[str], rng: np.random.Generator) -> tuple:
        changed, boxes = [], []
        for plate in images[..., 0]:
            is_clean = rng.random() < augmentation.P_CLEAN
            if part == "geometry" and not is_clean:
                plate, _ = augmentation.random_geometry(plate, rng)
            boxes.append(augmentation.bounding_box(plate))
            if part == "photometry" and not is_clean:
                plate = augmentation.random_photometry(plate, CLEAN_DIGIT_HEIGHT, rng)
            changed.append(plate)
        return np.stack(changed)[..., None], np.array(boxes)

    return augment


def build_without_localization(rows_as_time: bool = False) -> keras.Model:
    """The recognition network on the whole plate; its time axis is the width or the height."""
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink, shape = normalize_input(plates), (PLATE_HEIGHT, PLATE_WIDTH, 1)
    if rows_as_time:
        ink, shape = layers.Permute((2, 1))(ink), (PLATE_WIDTH, PLATE_HEIGHT, 1)
    # One column per time step: the digits are narrower here than in the crop.
    logits = crnn.recognition_network(layers.Reshape(shape)(ink), columns_per_step=1)
    return keras.Model(plates, logits)


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


def fewer_plates(count: int) -> dict[str, int]:
    """Settings for as many optimizer steps with fewer plates."""
    repeats, settings = CONFIG.plates // count, ("epochs", "localization_epochs", "clean_epochs")
    return {"plates": count} | {name: repeats * getattr(CONFIG, name) for name in settings}


@dataclass(frozen=True)
class Variant:
    """One change to the default configuration."""

    change: str
    config: dict[str, Any] = field(default_factory=dict)  # settings in place of `CONFIG`'s
    fonts: dict[str, int] = field(default_factory=dict)  # arguments of `make_font_folder`
    augment: fit.AugmentFn | None = None  # in place of the configuration's augmentation
    build: Callable[[], keras.Model] = crnn.build_model


VARIANTS = {
    "default": Variant("default configuration"),
    "rows_as_time": Variant(
        "image rows as time steps, no localization",
        build=lambda: build_without_localization(rows_as_time=True),
    ),
    "whole_plate": Variant("no localization", build=build_without_localization),
    "no_augmentation": Variant("no augmentation", {"clean_epochs": None}),
    "no_styles": Variant(
        "no synthetic fonts", {"font_interpolation_prob": 0.0, "handwriting_prob": 0.0}
    ),
    "no_handwriting": Variant(
        "no handwriting, more interpolated fonts",
        {"font_interpolation_prob": 0.5, "handwriting_prob": 0.0},
    ),
    "geometry_only": Variant("geometry only, no synthetic fonts", augment=augment_part("geometry")),
    "photometry_only": Variant(
        "photometry only, no synthetic fonts", augment=augment_part("photometry")
    ),
    "5_fonts": Variant("5 fonts", fonts={"step": 4, "count": 5}),
    "11_fonts": Variant("11 fonts", fonts={"step": 2}),
    "static_fonts": Variant("one instance per font", fonts={"instances": 1}),
    "6000_plates": Variant("6,000 plates", fewer_plates(6_000)),
    "20000_plates": Variant("20,000 plates", fewer_plates(20_000)),
}


def metrics_of(model: keras.Model, dataset: BenchmarkSet) -> dict[str, float]:
    """The metrics of a model on a set."""
    predictions = decode_logits(model.predict(dataset.images, NETWORK_BATCH, verbose=0))
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
    augment = variant.augment or fit.make_augmentation(config, fonts)
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(fit.best_dtype_policy())
    model = variant.build()
    if variant.build is crnn.build_model:
        coverage = fit.CoverageBatches(plates, config.batch_size, config.seed, augment)
        fit.train_localization(model, coverage, config.localization_epochs)
        crnn.localization_model(model).trainable = False
    clean = config.clean_epochs or 0
    batches = fit.PlateBatches(plates, config.batch_size, config.seed, augment, clean)
    steps = config.epochs * len(batches)
    crnn.compile_model(model, fit.warmup_cosine(config.learning_rate, steps, config.warmup_steps))
    start = time.perf_counter()
    fit.fit_epochs(model, batches, config.epochs)
    minutes = (time.perf_counter() - start) / 60
    loss = model.history.history["loss"][-1]

    keras.config.set_dtype_policy("float32")
    trained = variant.build()
    trained.set_weights(model.get_weights())
    return trained, {"steps": steps, "training_loss": loss, "minutes": round(minutes, 1)}


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
    sys.exit(run_command(main))
