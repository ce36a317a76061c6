"""One change each from the shipped config, in equal short runs: what does each part bring?

Every run takes the same number of steps, a 27th of the full one, so that the numbers
compare with each other and not with the shipped weights. A finished run is kept in
results/ablations.json and not trained again. Needs npm for the families of more_fonts.csv. 5 to 10
minutes a run on 2 cores; all of them with
$ python benchmarks/ablations.py
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from benchmarks.datasets import fonts as benchmark_fonts
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import SETS, BenchmarkSet, evaluate, load_benchmark
from plate_ocr.network.crnn import (
    architecture_hash,
    build_model,
    compile_model,
    localization_model,
    recognition_network,
)
from plate_ocr.network.spatial_transformer import normalize_input
from plate_ocr.plates.dataset import PlateDataset, generate_dataset, load_folder, render_plates
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import NETWORK_BATCH
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.reading.reader import Reading
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
    make_augmentation,
    train_localization,
    versions,
    warmup_cosine,
)
from plate_ocr.utils import read_json, write_text

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "results" / "ablations.json"
CACHE = PROJECT / ".cache" / "ablations"
MORE_FONTS = PROJECT / "benchmarks" / "more_fonts.csv"
RECIPE = replace(  # in the batches of the runs in results/ablations.json
    CONFIGS["default"],
    name="ablation",
    batch_size=256,
    epochs=4,
    localization_epochs=2,
    warmup_steps=300,
)
DRAWN_HEIGHT = 14.0  # pixels of a digit as the plates are drawn


def every_plate(
    change: Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, Box]],
) -> AugmentFn:
    """A distortion of one plate, uint8 (64, 128), as one of a batch with its share left clean."""

    def augment(
        images: np.ndarray, texts: Sequence[str], random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        distorted, boxes = zip(
            *(
                (plate, bounding_box(plate)) if random.random() < P_CLEAN else change(plate, random)
                for plate in images[..., 0]
            ),
            strict=True,
        )
        return np.stack(distorted)[..., None], np.array(boxes)

    return augment


def change_only_geometry(plate: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, Box]:
    """A plate whose digits stand elsewhere and are bent, and their box."""
    plate, _ = random_geometry(plate, random)
    return plate, bounding_box(plate)


def change_only_picture(plate: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, Box]:
    """A plate that is lit and damaged, and the box of its digits."""
    return random_photometry(plate, DRAWN_HEIGHT, random), bounding_box(plate)


def build_for_the_whole_plate() -> keras.Model:
    """The half that reads, over the plate as it is: 64 rows."""
    return _build_without_finding(keras.layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1)))


def build_with_rows_as_time() -> keras.Model:
    """The same over the plate laid on its side: 16 steps of 4 pixel rows."""
    on_its_side = keras.layers.Permute((2, 1), name="on_its_side")
    return _build_without_finding(
        lambda ink: keras.layers.Reshape((PLATE_WIDTH, PLATE_HEIGHT, 1))(on_its_side(ink))
    )


def _build_without_finding(
    shown: Callable[[keras.KerasTensor], keras.KerasTensor],
) -> keras.Model:
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    logits = recognition_network(
        shown(normalize_input(plates)), columns_per_step=1
    )  # digits here are narrow
    return keras.Model(plates, logits)


def families(step: int = 1, most: int | None = None, instances: int | None = None) -> list[dict]:
    """Every `step`-th row of fonts.json, at most so many, each with its first instances."""
    rows = json.loads((FONT_DIRECTORY / "fonts.json").read_text(encoding="utf-8"))
    return [row | {"instances": row["instances"][:instances]} for row in rows[::step][:most]]


def more_families() -> list[dict]:
    """The 22 and 78 others, as rows of fonts.json."""
    others = benchmark_fonts.read_table(MORE_FONTS)
    benchmark_fonts.fetch(others)
    return families() + [
        {
            "family": face.family,
            "kind": face.kind,
            "file": face.path.name,
            "sha256": hashlib.sha256(face.path.read_bytes()).hexdigest(),
            "instances": [{}],
        }
        for face in others
    ]


def plates_in(rows: list[dict], name: str) -> PlateDataset:
    """The 60,000 training numbers drawn in these fonts, by the way all plates are drawn."""
    fonts = CACHE / name / "fonts"
    fonts.mkdir(parents=True, exist_ok=True)
    for row in rows:
        source = FONT_DIRECTORY / row["file"]
        shutil.copyfile(
            source if source.exists() else benchmark_fonts.FONTS / row["file"], fonts / row["file"]
        )
    write_text(fonts / "fonts.json", json.dumps(rows))
    generate_dataset(CACHE / name / "train", fonts=fonts)
    return load_folder(CACHE / name / "train")


def all_plates() -> PlateDataset:
    """The plates of data/train."""
    generate_dataset(PROJECT / "data" / "train")
    return load_folder(PROJECT / "data" / "train")


@dataclass(frozen=True)
class Variant:
    """A change from the shipped config."""

    change: str
    plates: Callable[[], PlateDataset] = all_plates
    config: TrainConfig = RECIPE
    augment: AugmentFn | None = None  # where it is not that of the config
    build: Callable[[], keras.Model] = build_model
    fonts: Path = FONT_DIRECTORY  # whose faces are blended


def in_fonts(change: str, name: str, rows: Callable[[], list[dict]]) -> Variant:
    """The shipped config on plates, plain and blended, in other fonts."""
    return Variant(change, lambda: plates_in(rows(), name), fonts=CACHE / name / "fonts")


def with_plates(count: int) -> TrainConfig:
    """The config on fewer plates, which come the more often."""
    rounds = RECIPE.plates // count
    return replace(
        RECIPE,
        plates=count,
        epochs=rounds * RECIPE.epochs,
        localization_epochs=rounds * RECIPE.localization_epochs,
    )


VARIANTS = {
    "default": Variant("none: the shipped config, for as long as the others"),
    "rows_as_time": Variant("the image's rows are the time steps", build=build_with_rows_as_time),
    "whole_plate": Variant("the whole plate is read", build=build_for_the_whole_plate),
    "no_augmentation": Variant("no augmentation", config=replace(RECIPE, clean_epochs=None)),
    "no_blended_faces": Variant(
        "no blended faces, no handwriting",
        config=replace(RECIPE, font_interpolation_prob=0.0, handwriting_prob=0.0),
    ),
    "no_handwriting": Variant(
        "no handwriting, more blended faces",
        config=replace(RECIPE, font_interpolation_prob=0.5, handwriting_prob=0.0),
    ),
    "geometry_only": Variant(
        "geometry only, no blended faces",
        augment=every_plate(change_only_geometry),
    ),
    "photometry_only": Variant(
        "photometry only, no blended faces",
        augment=every_plate(change_only_picture),
    ),
    "5_fonts": in_fonts("5 fonts", "5_fonts", lambda: families(4, most=5)),
    "11_fonts": in_fonts("11 fonts", "11_fonts", lambda: families(2)),
    "static_fonts": in_fonts(
        "22 fonts, one instance of each", "static_fonts", lambda: families(instances=1)
    ),
    "100_families": in_fonts(
        "100 families: leaves the described data set", "100_families", more_families
    ),
    "6000_plates": Variant("6,000 plates", config=with_plates(6_000)),
    "20000_plates": Variant("20,000 plates", config=with_plates(20_000)),
}


def run(variant: Variant, sets: dict[str, BenchmarkSet]) -> dict:
    """Train one variant and read every set with it."""
    config, plates, few = variant.config, variant.plates(), slice(variant.config.plates)
    plates = PlateDataset(plates.images[few], plates.labels[few], plates.records[few])
    clean_epochs = config.epochs // RECIPE.epochs  # as many plain steps as in the others
    augment = variant.augment or make_augmentation(config, variant.fonts)
    keras.utils.set_random_seed(config.seed)
    batches = PlateBatches(plates, config.batch_size, config.seed, augment, clean_epochs)
    shuffle = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: batches.shuffle(epoch)
    )
    keras.config.set_dtype_policy(best_dtype_policy())
    model = variant.build()
    if "covered" in [layer.name for layer in model.layers]:
        covered = CoverageBatches(plates, config.batch_size, config.seed, augment)
        train_localization(model, covered, config.localization_epochs)
        localization_model(model).trainable = False
    steps = config.epochs * len(batches)
    compile_model(model, warmup_cosine(config.learning_rate, steps, config.warmup_steps))
    begun = time.perf_counter()
    history = model.fit(
        batches, epochs=config.epochs, shuffle=False, callbacks=[shuffle], verbose=2
    )
    seconds = time.perf_counter() - begun
    keras.config.set_dtype_policy("float32")
    trained = variant.build()
    trained.set_weights(model.get_weights())

    def read(images: list[np.ndarray]) -> list[Reading]:
        plates = np.stack(images)[..., None]
        decoded = decode_logits(trained.predict(plates, batch_size=NETWORK_BATCH, verbose=0))
        probabilities = decoded.text_probability.tolist()
        return [
            Reading(text, probability, (), greedy_text)
            for text, probability, greedy_text in zip(
                decoded.texts, probabilities, decoded.greedy_texts, strict=True
            )
        ]

    reader = SimpleNamespace(read=read)

    return {
        "change": variant.change,
        "network": architecture_hash(trained),
        "device": device_name(),
        "versions": versions(),
        "config": asdict(config),
        "steps": steps,
        "training_loss": history.history["loss"][-1],
        "minutes": round(seconds / 60, 1),
        "sets": {name: evaluate(reader, dataset).metrics() for name, dataset in sets.items()},
    }


def test_plates() -> BenchmarkSet:
    """Plates of the described kind that no run trains on."""
    return BenchmarkSet.from_plates(render_plates(range(90_000, 92_000)))


def main() -> None:
    """Train what is missing in the results."""
    sets = {name: load_benchmark(name) for name in SETS if name != "no_plate"}
    sets["held_out"] = test_plates()
    runs = {}
    if RESULTS.exists():
        runs = read_json(RESULTS)["runs"]
    for name in sys.argv[1:] or VARIANTS:
        variant, earlier = VARIANTS[name], runs.get(name)
        if earlier and (earlier["network"], earlier.get("config")) == (
            architecture_hash(variant.build()),
            asdict(variant.config),
        ):
            continue
        print(f"{name}: {variant.change}", flush=True)
        runs[name] = run(variant, sets)
        ordered = {key: runs[key] for key in VARIANTS if key in runs}
        results = {"epochs": RECIPE.epochs, "runs": ordered}
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
        print(json.dumps(runs[name]), flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
