"""Accuracy and confidence on folders of labelled images, such as photographs.

One view and test-time augmentation, by folder and over all folders. docs/benchmark.md says where
public images are. Writes `results/real.json`.

$ python -m benchmarks.real FOLDER...
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from benchmarks.environments import PROJECT
from benchmarks.report import NOTHING, percent, table
from plate_ocr.cli import ERRORS, WEIGHTS, path_argument, run_command
from plate_ocr.evaluation import plots
from plate_ocr.evaluation.benchmark import BenchmarkSet, evaluate
from plate_ocr.evaluation.metrics import EvaluationResult, concatenate
from plate_ocr.network.checkpoint import origin
from plate_ocr.plates.dataset import DatasetError, list_images, load_folder
from plate_ocr.reading.backends import BACKENDS
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
    names = ["/".join(folder.resolve().parts[1:][-2:]) for folder in folders]
    sets: dict[str, BenchmarkSet] = {}
    for name, folder in zip(names, folders, strict=True):
        if name in sets:
            raise DatasetError(f"{name}: two folders have this name")
        plates = load_folder(folder, digits)
        paths = np.array([str(path) for path in list_images(folder)])
        sets[name] = BenchmarkSet(plates.images, plates.labels, {"path": paths})
    return sets


def measure(result: EvaluationResult) -> dict:
    """Metrics of texts and confidence; AUROC is `None` if all or no texts are correct."""
    confidence, correct = result.confidence, result.correct
    separation = None
    if 0 < correct.sum() < len(correct):
        separation = float(roc_auc_score(correct, confidence))
    accepted = {str(threshold): confidence >= threshold for threshold in THRESHOLDS}
    return result.metrics() | {
        "ece": expected_calibration_error(confidence, correct),
        "auroc_error_detection": separation,
        "accepted": {
            threshold: {"coverage": float(rows.mean()), "wrong": int((rows & ~correct).sum())}
            for threshold, rows in accepted.items()
        },
    }


def measure_sets(results: dict[str, EvaluationResult]) -> dict[str, dict]:
    """The metrics of every set, and of all together."""
    pooled = concatenate(list(results.values()))
    return {name: measure(result) for name, result in (results | {ALL: pooled}).items()}


def result_table(measured: dict) -> str:
    """The table of what `real.json` holds."""
    accepted = [f"coverage at confidence {threshold} or more" for threshold in THRESHOLDS]
    head = ["%", "images", "greedy decoding", "exact match", "character error rate",
            "expected calibration error", "AUROC, 0 to 1", *accepted]  # fmt: skip
    lines = []
    for name in measured["sets"]:
        for title, rows in ((name, measured), (f"{name}, TTA", measured["tta"])):
            row = rows["sets"][name]
            separation = row["auroc_error_detection"]
            cells = [
                f"{row['images']:,}",
                f"{100 * row['exact_match_greedy']:.2f}",
                percent(row["correct"], row["images"]),
                f"{100 * row['character_error_rate']:.2f}",
                f"{100 * row['ece']:.2f}",
                NOTHING if separation is None else f"{separation:.4f}",
            ]
            for part in row["accepted"].values():
                cells.append(f"{100 * part['coverage']:.2f} ({part['wrong']:,} wrong)")
            lines.append([title, *cells])
    return table(head, lines)


def draw_mistakes(sets: dict[str, BenchmarkSet], results: dict[str, EvaluationResult]) -> Figure:
    """The most confident mistakes, of which there is one at least: folder, file, text, label."""
    places = [(name, row) for name in sets for row in np.flatnonzero(~results[name].correct)]
    places.sort(key=lambda place: -results[place[0]].confidence[place[1]])
    images, captions = [], []
    for name, row in places[:MAX_MISTAKES]:
        result = results[name]
        images.append(sets[name].images[row])
        reading = f"{result.texts[row]}  {100 * result.confidence[row]:.1f} %"
        file, label = Path(result.tags["path"][row]).name, result.labels[row]
        captions.append(f"{name}\n{file}\n{reading}\nlabel {label}")
    title = f"The {len(images)} most confident of {len(places)} mistakes"
    return plots.plate_grid(images, captions, title=title, columns=8)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; all that is wrong with it costs one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=path_argument, metavar="FOLDER")
    parser.add_argument("--weights", **WEIGHTS)
    parser.add_argument("--backend", choices=BACKENDS, default="onnx")
    output = PROJECT / "results" / "real.json"
    parser.add_argument("--output", type=path_argument, default=output, help="a JSON file")
    text = "PNG file for the most confident mistakes, if there are any"
    parser.add_argument("--mistakes", type=path_argument, metavar="PICTURE", help=text)
    options = parser.parse_args(arguments)
    if options.mistakes and options.mistakes.suffix != ".png":
        parser.error(f"{options.mistakes}: must end in .png")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write what the options ask for."""
    options = parse_options(arguments)
    for path in filter(None, (options.output, options.mistakes)):
        check_writable(path)
    reader, tta_reader = (
        PlateReader(options.weights, options.backend, tta=tta) for tta in (False, True)
    )
    sets = load_sets(options.folders, reader.digits)
    results = {name: evaluate(reader, images) for name, images in sets.items()}
    tta_results = {name: evaluate(tta_reader, images) for name, images in sets.items()}
    measured = {
        "origin": origin(options.weights),
        "backend": options.backend,
        "sets": measure_sets(results),
        "tta": {"sets": measure_sets(tta_results)},
    }
    print(result_table(measured), end="")
    write_text(options.output, json.dumps(measured, indent=1) + "\n")
    has_mistakes = any(not result.correct.all() for result in results.values())
    if options.mistakes and has_mistakes:
        plots.save_figure(draw_mistakes(sets, results), options.mistakes)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
