"""What fine-tuning has brought: readings before and after, labels and images to look at again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from plate_ocr.evaluation.benchmark import BenchmarkSet, calibrate, evaluate, style_sets
from plate_ocr.evaluation.metrics import TARGET_PRECISION, EvaluationResult, concatenate
from plate_ocr.evaluation.plots import plate_grid, save_figure
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS
from plate_ocr.plates.dataset import PlateDataset, held_out_range, render_plates
from plate_ocr.reading.calibration import coverage_at_precision
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.config import CONFIGS, FINE_TUNE, TrainConfig
from plate_ocr.training.export import export_weights
from plate_ocr.training.fine_tuning import FineTuned, fine_tune, remove_checkpoints
from plate_ocr.utils import printable, write_text

NUM_DOUBTFUL = 10  # readings to look at again
MIN_CONTRADICTION = 0.9  # confidence from which a reading contradicts a label
NAME_LENGTH = 22  # characters of a file name below its image
# Without a mistake among n readings, their error rate is below 3 / n (the rule of three, Hanley and
# Lippman-Hand 1983).
IMAGES_FOR_THRESHOLD = round(3 / (1 - TARGET_PRECISION))


@dataclass(frozen=True)
class FineTuningReport:
    """Readings of images that were not trained on, and of those that were."""

    tuned: FineTuned
    before: dict[str, EvaluationResult]  # set -> readings by the initial weights
    after: dict[str, EvaluationResult]  # the same sets, by the new weights
    trained: EvaluationResult  # the images trained on, by the new weights

    @property
    def held_back(self) -> EvaluationResult:
        """Readings of the held-back images by the new weights."""
        return next(iter(self.after.values()))

    @property
    def threshold(self) -> float | None:
        """The confidence from which one reading in a thousand is wrong; `None` if not known."""
        result = self.held_back
        coverage, threshold = coverage_at_precision(
            result.confidence, result.correct, TARGET_PRECISION
        )
        return threshold if coverage * len(result.labels) >= IMAGES_FOR_THRESHOLD else None

    def doubtful(self) -> np.ndarray:
        """Rows of the held-back images with the least confident readings, the least first."""
        return np.argsort(self.held_back.confidence, kind="stable")[:NUM_DOUBTFUL]

    def contradicted(self) -> np.ndarray:
        """Rows of the images trained on whose label the new weights contradict with confidence."""
        confidence = self.trained.confidence
        (rows,) = np.nonzero(~self.trained.correct & (confidence >= MIN_CONTRADICTION))
        return rows[np.argsort(-confidence[rows], kind="stable")]


def fine_tune_and_report(
    folder: Path | str,
    output: Path | str,
    *,
    test: Path | str | None = None,
    minutes: float | None = None,
    digits: int | None = None,
    initial_weights: Path | str = DEFAULT_WEIGHTS,
    config: TrainConfig = CONFIGS[FINE_TUNE],
) -> FineTuningReport:
    """Fine-tune, export, calibrate, and write report.md and report.png; arguments: `fine_tune`."""
    before = PlateReader(initial_weights, digits=digits)  # first: its export may be missing
    tuned = fine_tune(
        folder,
        output,
        test=test,
        minutes=minutes,
        digits=digits,
        initial_weights=initial_weights,
        config=config,
    )
    export_weights(tuned.weights)
    calibrate(tuned.weights, tuned.held_back)
    report = measure(tuned, before, PlateReader(tuned.weights), config)
    save_figure(doubtful_images(report), Path(output, "report.png"))
    write_text(Path(output, "report.md"), markdown(report))
    remove_checkpoints(output)
    return report


def measure(
    tuned: FineTuned, before: PlateReader, after: PlateReader, config: TrainConfig
) -> FineTuningReport:
    """Read held-back images and drawn plates with the weights of before and after."""
    digits = tuned.own.digits
    drawn = render_plates(held_out_range(config.val_plates, digits), digits=digits)
    sets = {
        "held-back images": [BenchmarkSet.from_plates(tuned.held_back)],
        "drawn plates": [BenchmarkSet.from_plates(drawn)],
        "drawn plates, every style": list(style_sets(drawn, config.seed).values()),
    }

    def read(reader: PlateReader) -> dict[str, EvaluationResult]:
        return {
            name: concatenate([evaluate(reader, part) for part in parts])
            for name, parts in sets.items()
        }

    trained = evaluate(after, BenchmarkSet.from_plates(tuned.own))
    return FineTuningReport(tuned, read(before), read(after), trained)


def file_names(plates: PlateDataset, rows: Sequence[int] | np.ndarray) -> list[str]:
    """The names of the files of some images, on one line each."""
    return [printable(plates.records[row]["file_name"]) for row in rows]


def markdown(report: FineTuningReport) -> str:
    """The report as a page."""
    tuned, held_back, trained = report.tuned, report.held_back, report.trained
    minutes = sum(row["seconds"] for row in tuned.history) / 60
    lines = [
        "# Fine-tuned weights",
        "",
        f"{len(tuned.own):,} images, {len(tuned.history)} epochs in {minutes:.1f} minutes. "
        f"Epoch {tuned.best_epoch} read most of the held-back images and was kept, so expect "
        "slightly less on new images.",
        "",
        "| exact match, % | images | before | after |",
        "| --- | --: | --: | --: |",
    ]
    for name, after in report.after.items():
        rates = [100 * result.correct.mean() for result in (report.before[name], after)]
        lines.append(f"| {name} | {len(after.labels):,} | {rates[0]:.1f} | {rates[1]:.1f} |")
    lines += ["", threshold_text(report), "", "## Least confident held-back images", ""]
    lines += reading_table(tuned.held_back, held_back, report.doubtful())
    lines += ["", "## Labels to check", ""]
    contradicted = report.contradicted()
    if len(contradicted):
        lines += ["Training images that the new weights read otherwise, with confidence:", ""]
        lines += reading_table(tuned.own, trained, contradicted)
    else:
        lines += ["No label is contradicted with confidence."]
    command = f"plate-ocr read FOLDER --weights {tuned.weights}"
    lines += ["", "## Read with these weights", "", "```", command, "```", ""]
    return "\n".join(lines)


def threshold_text(report: FineTuningReport) -> str:
    """From which confidence on readings can be trusted, or why that is not known."""
    if report.threshold is not None:
        return (
            f"From a confidence of {report.threshold:.3f} on, one reading in a thousand is wrong."
        )
    count = len(report.held_back.labels)
    return (
        "The confidence is calibrated on the held-back images and on drawn plates. It takes about "
        f"{IMAGES_FOR_THRESHOLD:,} held-back images, instead of {count:,}, to find the confidence "
        "from which on one reading in a thousand is wrong."
    )


def reading_table(plates: PlateDataset, result: EvaluationResult, rows: np.ndarray) -> list[str]:
    """The lines of a Markdown table of some readings."""
    lines = ["| file | label | text | confidence, % |", "| --- | --: | --: | --: |"]
    for name, row in zip(file_names(plates, rows), rows, strict=True):
        name = name.replace("|", r"\|")
        confidence = 100 * result.confidence[row]
        lines.append(f"| {name} | {result.labels[row]} | {result.texts[row]} | {confidence:.1f} |")
    return lines


def doubtful_images(report: FineTuningReport) -> Figure:
    """The images to look at again: doubtful readings, then labels that are contradicted."""
    contradicted = report.contradicted()[:NUM_DOUBTFUL]
    parts = (
        (report.tuned.held_back, report.held_back, report.doubtful()),
        (report.tuned.own, report.trained, contradicted),
    )
    images, captions, wrong = [], [], []
    for plates, result, rows in parts:
        for name, row in zip(file_names(plates, rows), rows, strict=True):
            short = name if len(name) <= NAME_LENGTH else f"...{name[3 - NAME_LENGTH :]}"
            reading = f"{result.texts[row]}  {100 * result.confidence[row]:.1f} %"
            images.append(plates.images[row])
            captions.append(f"{short}\n{reading}\nlabel {result.labels[row]}")
            wrong.append(not result.correct[row])
    title = "Least confident held-back images"
    if len(contradicted):
        title += f"; the last {len(contradicted)}: labels of training images to check"
    return plate_grid(images, captions, wrong, title)
