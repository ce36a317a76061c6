"""Accuracy and confidence on folders of labelled images, such as photographs.

One view and test-time augmentation, by folder and over all folders. docs/benchmark.md says where
public images are. Writes `results/real.json`.

$ python -m benchmarks.real FOLDER...
"""

import argparse
import json
import sys
from operator import itemgetter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from benchmarks.environments import RESULTS
from benchmarks.report import NOTHING, percent, table
from plate_ocr.cli import ERRORS, WEIGHTS, path_argument, run_command
from plate_ocr.evaluation import plots
from plate_ocr.evaluation.benchmark import BenchmarkSet, evaluate
from plate_ocr.evaluation.metrics import EvaluationResult, concatenate
from plate_ocr.network.checkpoint import origin
from plate_ocr.plates.dataset import DatasetError, list_images, load_folder
from plate_ocr.reading.calibration import expected_calibration_error
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import check_writable, write_text

THRESHOLDS = (0.99, 0.999)  # of the confidence from which on a reading is accepted
MAX_MISTAKES = 40  # in the picture
ALL = "all folders"


def load_sets(folders: list[Path], digits: int) -> dict[str, BenchmarkSet]:
    """The labelled images of every folder, by the last two parts of its path.

    Raises:
        DatasetError: two folders have one name, or as `load_folder`.
        ImageError: as `load_folder`.
    """
    sets: dict[str, BenchmarkSet] = {}
    for folder in folders:
        name = "/".join(folder.resolve().parts[1:][-2:])
        if name in sets:
            raise DatasetError(f"{name}: two folders have this name")
        plates = load_folder(folder, digits)
        paths = np.array([str(path) for path in list_images(folder)])
        sets[name] = BenchmarkSet(plates.images, plates.labels, {"path": paths})
    return sets


def read_sets(reader: PlateReader, sets: dict[str, BenchmarkSet]) -> dict[str, EvaluationResult]:
    """What a reader makes of every set, and of all together."""
    results = {name: evaluate(reader, images) for name, images in sets.items()}
    return results | {ALL: concatenate(list(results.values()))}


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
    """The table of what `real.json` holds."""
    accepted = [f"coverage at confidence {threshold} or more" for threshold in THRESHOLDS]
    head = ["%", "images", "greedy decoding", "exact match", "character error rate",
            "expected calibration error", "AUROC, 0 to 1", *accepted]  # fmt: skip
    lines = []
    for name, single in measured["sets"].items():
        for title, row in ((name, single), (f"{name}, TTA", measured["tta"]["sets"][name])):
            auroc = row["auroc_error_detection"]
            cells = [
                f"{row['images']:,}",
                f"{100 * row['exact_match_greedy']:.2f}",
                percent(row["correct"], row["images"]),
                f"{100 * row['character_error_rate']:.2f}",
                f"{100 * row['ece']:.2f}",
                NOTHING if auroc is None else f"{auroc:.4f}",
            ]
            for part in row["accepted"].values():
                cells.append(f"{100 * part['coverage']:.2f} ({part['wrong']:,} wrong)")
            lines.append([title, *cells])
    return table(head, lines)


def draw_mistakes(sets: dict[str, BenchmarkSet], results: dict[str, EvaluationResult]) -> Figure:
    """The most confident mistakes, of which there is one at least: folder, file, text, label."""
    mistakes = []
    for name, images in sets.items():
        result = results[name]
        for row in np.flatnonzero(~result.correct):
            file, confidence = Path(images.tags["path"][row]).name, 100 * result.confidence[row]
            reading = f"{result.texts[row]}  {confidence:.1f} %\nlabel {result.labels[row]}"
            mistakes.append((confidence, images.images[row], f"{name}\n{file}\n{reading}"))
    mistakes.sort(key=itemgetter(0), reverse=True)
    _, images, captions = zip(*mistakes[:MAX_MISTAKES], strict=True)
    title = f"The {len(images)} most confident of {len(mistakes)} mistakes"
    return plots.plate_grid(images, captions, title=title, columns=8)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write what the options ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=path_argument, metavar="FOLDER")
    parser.add_argument("--weights", **WEIGHTS)
    output = RESULTS / "real.json"
    parser.add_argument("--output", type=path_argument, default=output, help="a JSON file")
    text = "PNG file for the most confident mistakes, if there are any"
    parser.add_argument("--mistakes", type=path_argument, metavar="PICTURE", help=text)
    options = parser.parse_args(arguments)
    if options.mistakes and options.mistakes.suffix != ".png":
        parser.error(f"{options.mistakes}: must end in .png")
    for path in filter(None, (options.output, options.mistakes)):
        check_writable(path)
    single, augmented = (PlateReader(options.weights, tta=tta) for tta in (False, True))
    sets = load_sets(options.folders, single.digits)
    results, tta_results = read_sets(single, sets), read_sets(augmented, sets)
    measured = {
        "origin": origin(options.weights),
        "backend": "onnx",
        "sets": {name: measure(result) for name, result in results.items()},
        "tta": {"sets": {name: measure(result) for name, result in tta_results.items()}},
    }
    print(result_table(measured), end="")
    write_text(options.output, json.dumps(measured, indent=1) + "\n")
    if options.mistakes and not results[ALL].correct.all():
        plots.save_figure(draw_mistakes(sets, results), options.mistakes)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
