"""Ablation study: short trainings that each change one thing, and networks of other sizes.

Every run repeats the training of the shipped weights at small scale: fresh weights, Part I on clean
plates, Part II with the augmentation of `robust`, and the same number of optimizer steps in all.
First every variant is trained with one seed, then the base and what comes close to it with another.
Writes results/ablations.json after every run; a run that stands there with the same settings and
sets is not repeated. 3 to 17 minutes per run and about two hours in total, on 2 cores.

$ python -m benchmarks.ablations [FOLDER ...]
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import lru_cache
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks import compare
from benchmarks.ablation_report import BASE, is_close_to_base
from benchmarks.environments import CACHE, RESULTS
from plate_ocr import __version__
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network import crnn
from plate_ocr.network.spatial_transformer import localization_network, normalize_input, sample_crop
from plate_ocr.plates.dataset import PlateDataset, render_plates
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import HELD_OUT_START, PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.training import fit, saving
from plate_ocr.training.batches import AugmentFn, PlateBatches, make_augmentation
from plate_ocr.training.config import CONFIGS, TrainConfig, TrainingError
from plate_ocr.utils import check_writable, processor_name, read_json, write_text

# Half of the batch size of `robust`: short runs learn more in twice the steps.
CONFIG = replace(CONFIGS["robust"], name="ablation", batch_size=64, warmup_steps=50)
PART_1_STEPS, STEPS = 400, 1_000  # optimizer steps of Part I, and of both parts
SEEDS = (2026, 2027)
# The settings that a run uses; it counts steps in place of epochs, and nothing else is tuned.
SETTINGS = ("learning_rate", "warmup_steps", "batch_size", "box_weight", "plates", "augment",
            "styles", "surroundings_prob")  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One change to the base."""

    title: str
    config: dict[str, Any] = field(default_factory=dict)  # settings in place of `CONFIG`'s
    fonts: dict[str, int] = field(default_factory=dict)  # arguments of `make_font_folder`
    network: dict[str, Any] = field(default_factory=dict)  # arguments of `build_network`
    has_part_1: bool = True  # or all steps are of Part II


def without_style(name: str) -> dict[str, Any]:
    """Settings without one style; its share of the plates keeps the training fonts."""
    return {"styles": {style: p for style, p in CONFIG.styles.items() if style != name}}


NETWORKS = {
    BASE: Variant("base: 16 time steps, one LSTM"),
    "half_filters": Variant("half the filters", network={"filter_scale": 0.5}),
    "double_filters": Variant("twice the filters", network={"filter_scale": 2.0}),
    "no_lstm": Variant("no LSTM", network={"lstm_layers": 0}),
    "two_lstms": Variant("two LSTMs", network={"lstm_layers": 2}),
    "32_time_steps": Variant("32 time steps", network={"columns_per_step": 1}),
}
ABLATIONS = {
    "rows_as_time": Variant("image rows as time steps", network={"view": "transposed plate"}),
    "no_localization": Variant("no localization network", network={"view": "plate"}),
    "no_part_1": Variant("no Part I", has_part_1=False),
    "no_augmentation": Variant("no augmentation", {"augment": False}),
    "no_interpolated": Variant("no interpolated fonts", without_style("interpolated")),
    "no_handwriting": Variant("no handwriting", without_style("handwriting")),
    "no_segments": Variant("no seven-segment displays", without_style("segments")),
    "no_counters": Variant("no counters", without_style("counters")),
    "no_squared": Variant("no squared forms", without_style("squared")),
    "no_surroundings": Variant("no surroundings", {"surroundings_prob": 0.0}),
    "6000_numbers": Variant("6,000 numbers", {"plates": 6_000}),
    "20000_numbers": Variant("20,000 numbers", {"plates": 20_000}),
    "5_fonts": Variant("5 fonts", fonts={"step": 4, "count": 5}),
    "11_fonts": Variant("11 fonts", fonts={"step": 2}),
    "one_instance": Variant("one instance per font", fonts={"instances": 1}),
}
VARIANTS = NETWORKS | ABLATIONS
PART_1: dict[tuple, list[np.ndarray]] = {}  # weights after Part I, which some variants share


def build_network(view: str = "crop", **options) -> keras.Model:
    """The network as it is trained, with one change.

    Args:
        view: what the recognition network reads: "crop", "plate", or "transposed plate", of which
            each of 16 time steps is four rows of the image.
        **options: of `recognition_network`.

    Returns:
        A model with the outputs of `with_box`. The box is predicted in any view.
    """
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink = normalize_input(plates)
    columns, rows = localization_network(ink)
    if view == "crop":
        image = sample_crop(ink, columns, rows)
    else:
        image = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1), name="plate")(ink)
        options["columns_per_step"] = 1  # digits are narrower than in the crop
    if view == "transposed plate":
        image = layers.Permute((2, 1, 3), name="transposed_plate")(image)
    logits = crnn.recognition_network(image, **options)
    box = layers.Concatenate(dtype="float32", name="box")([columns, rows])
    return keras.Model(plates, {"logits": logits, "box": box})


def make_font_folder(step: int = 1, count: int | None = None, instances: int | None = None) -> Path:
    """A folder with every `step`-th training font, at most `count`, and its first instances."""
    folder = CACHE / "ablations" / f"fonts_{step}_{count}_{instances}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_json(FONT_DIRECTORY / "fonts.json")[::step][:count]
    for row in rows:
        row["instances"] = row["instances"][:instances]
        shutil.copyfile(FONT_DIRECTORY / row["file"], folder / row["file"])
    write_text(folder / "fonts.json", json.dumps(rows))
    return folder


@lru_cache(maxsize=1)
def training_plates(fonts: Path, count: int) -> PlateDataset:
    """The first training plates, in these fonts; drawing 60,000 takes half a minute."""
    return render_plates(range(count), fonts=fonts)


def train(variant: Variant, config: TrainConfig) -> keras.Model:
    """Train a variant from fresh weights."""
    fonts = make_font_folder(**variant.fonts) if variant.fonts else FONT_DIRECTORY
    plates = training_plates(fonts, config.plates)
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.seed)
    model = build_network(**variant.network)

    def fit_part(part: int, steps: int, augment: AugmentFn | None) -> None:
        rows = np.random.default_rng([config.seed, part]).permutation(len(plates))
        shown = plates.take(np.resize(rows, steps * config.batch_size))  # some, or all repeatedly
        batches = PlateBatches(shown, config.batch_size, config.seed, augment)
        rate = fit.warmup_cosine(config.learning_rate, steps, config.warmup_steps)
        crnn.compile_model(model, rate, config.box_weight)
        model.fit(batches, shuffle=False, verbose=2)

    part_1_steps = PART_1_STEPS if variant.has_part_1 else 0
    if part_1_steps:
        key = crnn.architecture_hash(model), fonts, config.plates, config.seed
        if key not in PART_1:
            fit_part(1, part_1_steps, augment=None)
            PART_1[key] = model.get_weights()
        model.set_weights(PART_1[key])
    fit_part(2, STEPS - part_1_steps, make_augmentation(config, fonts))
    return model


def metrics_of(model: keras.Model, plates: PlateDataset) -> dict[str, float]:
    """The metrics of a model on a set."""
    logits = model.predict(plates.images, NETWORK_BATCH, verbose=0)["logits"]
    predictions = decode_logits(logits)
    return EvaluationResult(
        labels=np.array(plates.labels),
        texts=np.array(predictions.texts),
        greedy_texts=np.array(predictions.greedy_texts),
        confidence=predictions.text_probability,
        records=np.array(plates.records),
    ).metrics()


def describe(variant: Variant) -> dict[str, Any]:
    """A variant in the file of results, without runs."""
    model = build_network(**variant.network)
    reader = keras.Model(model.input, model.output["logits"])
    size = {"parameters": crnn.count_parameters(reader), "macs": crnn.count_macs(reader)}
    return {"variant": asdict(variant), **size, "seeds": {}}


def prepare(sets: dict[str, PlateDataset], output: Path) -> dict[str, Any]:
    """What the file of results holds, with the runs that are finished.

    Raises:
        TrainingError: the file is of other settings, sets or networks.
    """
    network = crnn.architecture_hash(crnn.build_model())
    settings = {
        **{name: getattr(CONFIG, name) for name in SETTINGS},
        "steps": [PART_1_STEPS, STEPS],
        "images": {name: len(part.labels) for name, part in sets.items()},
    }
    runs = {name: describe(variant) for name, variant in VARIANTS.items()}
    if output.exists():
        old = read_json(output)
        if (old["origin"]["network"], old["settings"]) != (network, settings):
            raise TrainingError(f"{output}: of other settings, folders or networks; move it away")
        for name, finished in old["runs"].items():
            if finished | {"seeds": {}} == runs.get(name):
                runs[name] = finished
    origin = {"network": network, "version": __version__, "machine": processor_name()}
    return {"origin": origin, "versions": saving.versions(), "settings": settings, "runs": runs}


def run_all(sets: dict[str, PlateDataset], output: Path) -> None:
    """Run what is missing in the file of results, and write it after every run."""
    results = prepare(sets, output)
    for seed, (name, variant) in product(SEEDS, VARIANTS.items()):
        runs = results["runs"][name]["seeds"]
        if str(seed) in runs or (runs and not is_close_to_base(results, name)):
            continue
        start = perf_counter()
        model = train(variant, replace(CONFIG, **variant.config, seed=seed))
        measured = {title: metrics_of(model, part) for title, part in sets.items()}
        minutes = round((perf_counter() - start) / 60, 1)
        runs[str(seed)] = {"minutes": minutes, "sets": measured}
        results["origin"]["date"] = date.today().isoformat()
        write_text(output, json.dumps(results, indent=1) + "\n")
        print(f"{name}, seed {seed}: {minutes} minutes", flush=True)


def main() -> None:
    """Run what is missing in the results."""
    output, folders = RESULTS / "ablations.json", list(map(Path, sys.argv[1:]))
    check_writable(output)
    held_out = render_plates(range(HELD_OUT_START, HELD_OUT_START + 2_000))
    sets = {"held_out": held_out, **compare.load_sets(folders)}
    del sets["test"]  # 60 plates do not show small differences
    run_all(sets, output)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
