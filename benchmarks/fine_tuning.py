"""Fine-tuning on some of the images of a folder: what it brings, and what it forgets.

A FOLDER has labelled images in `train` and in `test`. A seeded choice from `train` is fine-tuned
on, as `plate-ocr fine-tune` does it, a fifth of it held back; `test` is read before and after.
Writes `results/fine_tuning.json`; a run that it holds is not repeated.

$ python -m benchmarks.fine_tuning FOLDER... --images 20 50 100 300
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.environments import PROJECT
from plate_ocr.cli import ERRORS, path_argument, run_command
from plate_ocr.evaluation.benchmark import BenchmarkSet, evaluate, load_benchmark
from plate_ocr.evaluation.fine_tuning import fine_tune_and_report
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.plates.dataset import held_out_range, load_folder, render_plates
from plate_ocr.reading.calibration import expected_calibration_error
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import check_writable, read_json, write_text

RESULTS = PROJECT / "results" / "fine_tuning.json"
SEED = 2026  # of the choice
IMAGES = (20, 50, 100, 300)
DRAWN_PLATES = 5_000


def choose_images(folder: Path, count: int, chosen: Path) -> int:
    """Copy at most `count` images, with their labels, into a new folder; returns how many."""
    plates = load_folder(folder)
    order = np.random.default_rng(SEED).permutation(len(plates))[:count]
    chosen.mkdir()
    with (chosen / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        for row in order:
            name = plates.records[row]["file_name"]
            writer.writerow([name, plates.labels[row]])
            shutil.copyfile(folder / name, chosen / name)
    return len(order)


def measure(folder: Path, count: int, sets: dict[str, BenchmarkSet]) -> dict:
    """Fine-tune the shipped weights on some images, and read every set before and after."""
    with tempfile.TemporaryDirectory() as temporary:
        chosen, output = Path(temporary, "chosen"), Path(temporary, "mine")
        images = choose_images(folder / "train", count, chosen)
        start = perf_counter()
        report = fine_tune_and_report(chosen, output)
        minutes = (perf_counter() - start) / 60
        before, after = PlateReader(), PlateReader(report.tuned.weights)
        row: dict = {"name": folder.name, "images": images, "minutes": round(minutes, 2)}
        for name, dataset in sets.items():
            results = [evaluate(reader, dataset) for reader in (before, after)]
            row[name] = {"images": len(dataset.labels)} | {
                when: int(result.correct.sum())
                for when, result in zip(("before", "after"), results, strict=True)
            }
            row[name]["ece"] = expected_calibration_error(results[1].confidence, results[1].correct)
    return row


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing in the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=path_argument, metavar="FOLDER")
    parser.add_argument("--images", nargs="+", type=int, default=IMAGES)
    options = parser.parse_args(arguments)
    check_writable(RESULTS)
    measured = {"origin": origin(DEFAULT_WEIGHTS), "runs": []}
    before = read_json(RESULTS) if RESULTS.exists() else measured
    if before["origin"]["weights"] == measured["origin"]["weights"]:
        measured["runs"] = before["runs"]
    drawn = render_plates(held_out_range(DRAWN_PLATES))
    sets = {
        "drawn plates": BenchmarkSet.from_plates(drawn),
        "held-out fonts": load_benchmark("held_out_fonts"),
    }
    for folder in options.folders:
        test = {"test": BenchmarkSet.from_plates(load_folder(folder / "test"))}
        available = len(load_folder(folder / "train"))
        for count in options.images:
            finished = {(row["name"], row["images"]) for row in measured["runs"]}
            if (folder.name, min(count, available)) in finished:
                continue
            measured["runs"].append(measure(folder, count, test | sets))
            print(json.dumps(measured["runs"][-1]), flush=True)
            write_text(RESULTS, json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
