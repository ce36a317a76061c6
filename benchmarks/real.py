"""Accuracy and confidence on folders of labeled images, such as photographs.

One view and test-time augmentation, by folder and over all folders. docs/benchmark.md says where
public images are. Writes `results/real.json`.

$ python -m benchmarks.real FOLDER...
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sklearn.metrics import roc_auc_score

from benchmarks.report import NOTHING, grid, percent, titles
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, path_argument, run_command
from plate_ocr.evaluation.benchmark import evaluate
from plate_ocr.evaluation.metrics import EvaluationResult, concatenate
from plate_ocr.plates.dataset import DatasetError, PlateDataset, list_images, load_folder
from plate_ocr.reading.calibration import expected_calibration_error
from plate_ocr.reading.reader import PlateReader

THRESHOLDS = (0.99, 0.999)  # of the confidence from which on a reading is accepted
ALL = "all folders"


def by_name(folders: list[Path], parts: int) -> dict[str, Path]:
    """Folders by the last parts of their absolute paths.

    Raises:
        DatasetError: two folders have one name.
    """
    named: dict[str, Path] = {}
    for folder in folders:
        name = "/".join(folder.resolve().as_posix().split("/")[-parts:])
        if name in named:
            raise DatasetError(f"{name}: two folders have this name")
        named[name] = folder
    return named


def load_sets(folders: list[Path]) -> dict[str, PlateDataset]:
    """The labeled images of every folder, by the last two parts of its path.

    Other sets have no slash in their name. A folder directly under the root has: `/images`.

    Raises:
        DatasetError: two folders have one name, or as `load_folder`.
        ImageError: as `load_folder`.
    """
    sets = {}
    for name, folder in by_name(folders, parts=2).items():
        records = [{"path": str(path)} for path in list_images(folder)]
        sets[name] = replace(load_folder(folder), records=records)
    return sets


def measure_sets(reader: PlateReader, sets: dict[str, PlateDataset]) -> dict[str, dict]:
    """The metrics of every set, and of all together."""
    results = {name: evaluate(reader, images) for name, images in sets.items()}
    results[ALL] = concatenate(list(results.values()))
    return {name: measure(result) for name, result in results.items()}


def measure(result: EvaluationResult) -> dict:
    """Metrics of texts and confidence; AUROC is `None` if all or no texts are correct."""
    confidence, correct = result.confidence, result.correct
    both_kinds = 0 < correct.sum() < len(correct)
    accepted = {str(threshold): confidence >= threshold for threshold in THRESHOLDS}
    return result.metrics() | {
        "ece": expected_calibration_error(confidence, correct),
        "auroc_error_detection": float(roc_auc_score(correct, confidence)) if both_kinds else None,
        "accepted": {
            threshold: {"coverage": float(rows.mean()), "wrong": int((rows & ~correct).sum())}
            for threshold, rows in accepted.items()
        },
    }


def result_table(measured: dict) -> str:
    """A table of what `real.json` holds, which has more metrics."""
    rows = {}
    names = titles(measured["sets"]) | {ALL: "all images"}
    for name, title in names.items():
        row, tta = measured["sets"][name], measured["tta"]["sets"][name]
        auroc = row["auroc_error_detection"]
        rows[title] = {
            "images": f"{row['images']:,}",
            "exact match": f"{percent(row['correct'], row['images'])}%",
            "exact match, TTA": f"{percent(tta['correct'], tta['images'])}%",
            "expected calibration error": f"{row['ece']:.2%}",
            "AUROC, correct against wrong": NOTHING if auroc is None else f"{auroc:.4f}",
        }
        for threshold, part in row["accepted"].items():
            cell = f"{part['coverage']:.2%}, {part['wrong']:,} wrong"
            rows[title][f"confidence {threshold} or more"] = cell
    return grid("set", rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=path_argument, metavar="FOLDER")
    folders = parser.parse_args(arguments).folders
    check_result("real")
    sets = load_sets(folders)
    measured = {
        "sets": measure_sets(PlateReader(), sets),
        "tta": {"sets": measure_sets(PlateReader(tta=True), sets)},
    }
    print(result_table(measured), end="")
    write_result("real", measured)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
