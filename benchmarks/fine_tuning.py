"""Fine-tuning on some of the images of a folder: what it brings, and what it forgets.

A FOLDER has labeled images in `train` and in `test`. A seeded choice from `train` is fine-tuned
on, as `plate-ocr fine-tune` does it, a fifth of it for validation; `test` is read before and after.
Writes `results/fine_tuning.json`; a run that it holds is not repeated.

$ python -m benchmarks.fine_tuning FOLDER...
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.environments import RESULTS
from benchmarks.real import by_name
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.benchmark import evaluate, load_benchmark
from plate_ocr.evaluation.fine_tuning import fine_tune_and_report
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.plates.dataset import (
    PlateDataset,
    held_out_range,
    list_images,
    load_folder,
    render_plates,
)
from plate_ocr.reading.calibration import expected_calibration_error
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import read_json, write_text

SEED = 2026  # of the choice
IMAGES = (20, 50, 100, 300)
DRAWN_PLATES = 5_000


def copy_images(folder: Path, count: int, chosen: Path) -> None:
    """Copy a choice of labeled images into a new folder."""
    plates = load_folder(folder)
    plates = plates.take(np.random.default_rng(SEED).permutation(len(plates))[:count])
    chosen.mkdir()
    lines = []
    for record, label in zip(plates.records, plates.labels, strict=True):
        name = record["file_name"]
        shutil.copyfile(folder / name, chosen / name)
        lines.append(json.dumps({"file_name": name, "text": label}) + "\n")
    write_text(chosen / "metadata.jsonl", "".join(lines))


def measure(folder: Path, count: int, sets: dict[str, PlateDataset]) -> dict:
    """Fine-tune the shipped weights on some images, and read every set before and after."""
    with tempfile.TemporaryDirectory() as temporary:
        chosen, output = Path(temporary, "chosen"), Path(temporary, "mine")
        copy_images(folder / "train", count, chosen)
        start = time.perf_counter()
        report = fine_tune_and_report(chosen, output)
        minutes = (time.perf_counter() - start) / 60
        readers = PlateReader(), PlateReader(report.tuned.weights)
    figures: dict = {"minutes": round(minutes, 2)}
    for name, plates in sets.items():
        before, after = (evaluate(reader, plates) for reader in readers)
        figures[name] = {
            "images": len(plates.labels),
            "before": int(before.correct.sum()),
            "after": int(after.correct.sum()),
            "ece": expected_calibration_error(after.confidence, after.correct),
        }
    return figures


def finished_runs() -> list[dict]:
    """The runs in the file of results, if they are of the shipped weights."""
    path = RESULTS / "fine_tuning.json"
    if not path.exists():
        return []
    found, weights = read_json(path), origin(DEFAULT_WEIGHTS)["weights"]
    return found["runs"] if found["origin"]["weights"] == weights else []


def main() -> None:
    """Measure what is missing in the results."""
    folders = by_name([Path(folder) for folder in sys.argv[1:]], parts=1)
    check_result("fine_tuning")
    runs = finished_runs()
    sets = {
        "synthetic plates": render_plates(held_out_range(DRAWN_PLATES)),
        "held-out fonts": load_benchmark("held_out_fonts"),
    }
    finished = {(run["name"], run["images"]) for run in runs}
    for name, folder in folders.items():
        test = {"test": load_folder(folder / "test")}
        available = len(list_images(folder / "train"))
        for count in sorted({min(count, available) for count in IMAGES}):
            if (name, count) not in finished:
                figures = measure(folder, count, test | sets)
                runs.append({"name": name, "images": count} | figures)
                print(json.dumps(runs[-1]), flush=True)
                write_result("fine_tuning", {"runs": runs})


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
