"""The benchmark sets, and what a reader makes of them."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import DatasetError, PlateDataset
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.augmentation import PlateAugmentation
from plate_ocr.training.styles import STYLES

BENCHMARK = Path("data/benchmark")
POOLED = ("held_out_fonts", "corruptions", "layout", "cross_generator")  # for confidence metrics
# Every choice is made on `tuning`; data/benchmark/README.md names two that were made on others.
SETS = (*POOLED, "captcha", "segments", "no_plate", "tuning")
TITLES = {  # in tables and figures
    "held_out": "held-out numbers",
    "held_out_fonts": "held-out fonts",
    "corruptions_1_to_3": "corruptions, severity 1 to 3",
    "corruptions_4_to_5": "corruptions, severity 4 and 5",
    "layout": "layout",
    "cross_generator": "cross-generator",
    "captcha": "captcha",
    "segments": "seven-segment displays",
}
TAGS = ("corruption", "font", "height", "kind", "layout", "polarity", "severity", "size")
CORRUPTION_FILES = tuple(f"corruptions_{kind}" for kind in ("noise", "blur", "light", "damage"))


class BenchmarkError(DatasetError):
    """A benchmark file cannot be used; the message names it."""


def load_benchmark(name: str, directory: Path | str = BENCHMARK) -> PlateDataset:
    """Load one of `SETS`; of several files only the tags that all have are kept.

    Raises:
        BenchmarkError: a file is missing or damaged.
    """
    files = []
    for stem in CORRUPTION_FILES if name == "corruptions" else (name,):
        path = Path(directory) / f"{stem}.npz"
        try:
            with np.load(path) as file:
                files.append(dict(file))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            raise BenchmarkError(f"{path}: not a benchmark set ({error})") from error
    shared = sorted(set.intersection(*map(set, files)))
    arrays = {key: np.concatenate([file[key] for file in files]) for key in shared}
    images, texts = arrays.pop("images"), arrays.pop("texts").tolist()
    tags = {key: values.tolist() for key, values in arrays.items()}
    records = [{key: tags[key][row] for key in tags} for row in range(len(texts))]
    return PlateDataset(images[..., None], texts, records)


def describe(record: dict) -> str:
    """What the record of a plate says about how it was drawn, on one line."""
    return ", ".join(f"{tag} {record[tag]}" for tag in TAGS if record.get(tag))


def rows_by_severity(records: Sequence[dict]) -> dict[str, np.ndarray]:
    """The rows of mild and of severe corruptions, int (n,), by their names in results/."""
    is_severe = np.array([record["severity"] > 3 for record in records])
    parts = {"corruptions_1_to_3": ~is_severe, "corruptions_4_to_5": is_severe}
    return {name: np.flatnonzero(mask) for name, mask in parts.items()}


def robustness_sets(directory: Path | str = BENCHMARK) -> dict[str, PlateDataset]:
    """The benchmark sets of drawn plates that differ from training plates, by title.

    Raises:
        BenchmarkError: see `load_benchmark`.
    """
    corruptions = load_benchmark("corruptions", directory)
    sets = {
        name: corruptions.take(rows) for name, rows in rows_by_severity(corruptions.records).items()
    } | {
        name: load_benchmark(name, directory)
        for name in ("held_out_fonts", "layout", "cross_generator", "segments")
    }
    return {TITLES[name]: dataset for name, dataset in sets.items()}


def style_sets(plates: PlateDataset, seed: int) -> dict[str, PlateDataset]:
    """The same plates augmented, and drawn anew in each style alone before that.

    The drawing code is that of the training; the plates should show numbers that it never saw.
    """
    augmentations = {
        "augmented": PlateAugmentation({}),
        **{f"style: {style}": PlateAugmentation({style: 1.0}) for style in STYLES},
        "surroundings": PlateAugmentation({}, surroundings_prob=1.0),
    }
    sets = {}
    for name, augmentation in augmentations.items():
        seeds = [(seed, row) for row in range(len(plates))]
        images, _ = augmentation(plates.images, plates.labels, seeds)
        sets[name] = PlateDataset(images, plates.labels, [{}] * len(plates))
    return sets


def evaluate_weights(
    weights: Path | str, plates: PlateDataset, held_out: PlateDataset, test: PlateDataset
) -> dict[str, float]:
    """Metrics of saved weights on clean plates, read by Keras.

    Args:
        weights: the HDF5 file.
        plates: training plates; the CTC loss on them is that of inference, without dropout.
        held_out: plates with numbers that the training never saw.
        test: the test plates.

    Raises:
        WeightsError: the weights cannot be used.
    """
    from plate_ocr.network.crnn import ctc_loss  # importing Keras takes seconds

    reader = PlateReader(weights, backend="keras")
    model = reader.backend.model
    model.compile(loss=ctc_loss)
    labels = encode(plates.labels, plates.digits)
    held_out_result, test_result = evaluate(reader, held_out), evaluate(reader, test)
    return {
        "loss_on_training_plates": model.evaluate(plates.images, labels, batch_size=256, verbose=0),
        "held_out_plates": len(held_out),
        "held_out_correct": int(held_out_result.correct.sum()),
        "test_plates": len(test),
        "test_correct": int(test_result.correct.sum()),
        "mean_confidence_on_held_out_plates": float(held_out_result.confidence.mean()),
    }


def evaluate(reader: PlateReader, plates: PlateDataset) -> EvaluationResult:
    """Read labeled plates; the confidence is that of the reader."""
    readings = reader.read(list(plates.images[..., 0]))
    return EvaluationResult(
        labels=np.array(plates.labels),
        texts=np.array([reading.text for reading in readings]),
        greedy_texts=np.array([reading.greedy_text for reading in readings]),
        confidence=np.array([reading.confidence for reading in readings]),
        records=np.array(plates.records),
    )
