"""What fine-tuning has brought: readings before and after, labels and images to look at again."""

import math
import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from plate_ocr.evaluation.benchmark import evaluate, style_sets
from plate_ocr.evaluation.metrics import TARGET_PRECISION, EvaluationResult, concatenate
from plate_ocr.evaluation.plots import plate_grid, save_figure
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS
from plate_ocr.plates.dataset import held_out_range, render_plates
from plate_ocr.reading.calibration import coverage_at_precision
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.calibrate import calibrate
from plate_ocr.training.config import FINE_TUNE, FineTuneConfig
from plate_ocr.training.export import export_weights
from plate_ocr.training.fine_tuning import FineTuned, fine_tune, remove_checkpoints
from plate_ocr.utils import one_line, printable, write_text

VALIDATION = "validation images"  # name of a set
NUM_DOUBTFUL = 10  # readings to look at again
MIN_CONTRADICTION = 0.9  # confidence from which a reading contradicts a label
NAME_LENGTH = 22  # characters of a file name below its image
# Without a mistake among n readings, their error rate is below 3 / n (the rule of three, Hanley and
# Lippman-Hand 1983).
IMAGES_FOR_THRESHOLD = round(3 / (1 - TARGET_PRECISION))


@dataclass(frozen=True)
class FineTuningReport:
    """Readings before and after fine-tuning."""

    tuned: FineTuned
    before: dict[str, EvaluationResult]  # set -> readings by the initial weights
    after: dict[str, EvaluationResult]  # the same sets, by the new weights
    trained: EvaluationResult  # the images trained on, by the new weights

    @property
    def validation(self) -> EvaluationResult:
        """Readings of the validation images by the new weights."""
        return self.after[VALIDATION]

    @property
    def readings(self) -> EvaluationResult:
        """Readings of `FineTuned.images` by the new weights."""
        return concatenate([self.validation, self.trained])

    def accepted(self) -> tuple[int, float]:
        """How many validation images are read without a mistake, and from which confidence on."""
        result = self.validation
        coverage, threshold = coverage_at_precision(result.confidence, result.correct, 1.0)
        return round(coverage * len(result.labels)), threshold

    def doubtful(self) -> np.ndarray:
        """Rows of the validation images that are read least confidently, the least first."""
        return np.argsort(self.validation.confidence, kind="stable")[:NUM_DOUBTFUL]

    def contradicted(self) -> np.ndarray:
        """Rows of the images whose label is contradicted with confidence, the surest first."""
        readings = self.readings
        (rows,) = np.nonzero(~readings.correct & (readings.confidence >= MIN_CONTRADICTION))
        return rows[np.argsort(-readings.confidence[rows], kind="stable")]


def fine_tune_and_report(
    folder: Path | str,
    output: Path | str,
    *,
    validation_folder: Path | str | None = None,
    minutes: float | None = None,
    digits: int | None = None,
    initial_weights: Path | str = DEFAULT_WEIGHTS,
    config: FineTuneConfig = FINE_TUNE,
) -> FineTuningReport:
    """Fine-tune, export, calibrate, and write report.md and report.png; arguments: `fine_tune`."""
    before = PlateReader(initial_weights, digits=digits)  # first: its export may be missing
    for module in ("scipy", "tf2onnx"):  # or they would be missing after the training
        import_module(module)
    tuned = fine_tune(
        folder,
        output,
        validation_folder=validation_folder,
        minutes=minutes,
        digits=digits,
        initial_weights=initial_weights,
        config=config,
    )
    export_weights(tuned.weights)
    calibrate(tuned.weights, tuned.validation)
    report = measure(tuned, before, PlateReader(tuned.weights), config)
    figure = doubtful_images(report)
    save_figure(figure, Path(output, "report.png"))
    plt.close(figure)  # a program may fine-tune many times
    write_text(Path(output, "report.md"), markdown(report))
    remove_checkpoints(output)
    return report


def measure(
    tuned: FineTuned, before: PlateReader, after: PlateReader, config: FineTuneConfig
) -> FineTuningReport:
    """Read validation images and drawn plates with the weights of before and after."""
    digits = tuned.own.digits
    drawn = render_plates(held_out_range(config.measured_plates, digits), digits=digits)
    sets = {
        VALIDATION: [tuned.validation],
        "synthetic plates": [drawn],
        "synthetic plates, every style": list(style_sets(drawn, config.seed).values()),
    }

    def read(reader: PlateReader) -> dict[str, EvaluationResult]:
        return {
            name: concatenate([evaluate(reader, part) for part in parts])
            for name, parts in sets.items()
        }

    return FineTuningReport(tuned, read(before), read(after), evaluate(after, tuned.own))


def markdown(report: FineTuningReport) -> str:
    """The report as a page."""
    tuned = report.tuned
    minutes = sum(row["seconds"] for row in tuned.history) / 60
    lines = [
        "# Fine-tuned weights",
        "",
        f"{len(tuned.own):,} images, {len(tuned.history)} epochs in {minutes:.1f} minutes. "
        f"Epoch {tuned.best_epoch} had the highest exact match on the validation images and was "
        "kept, so expect slightly less on new images. Its weights are averaged with the initial "
        "ones.",
        "",
        "| exact match, % | images | before | after |",
        "| --- | --: | --: | --: |",
    ]
    for name, after in report.after.items():
        rates = [100 * result.correct.mean() for result in (report.before[name], after)]
        lines.append(f"| {name} | {len(after.labels):,} | {rates[0]:.1f} | {rates[1]:.1f} |")
    lines += ["", threshold_text(report), "", "## Least confident validation images", ""]
    lines += reading_table(report, report.doubtful())
    lines += ["", "## Labels to check", ""]
    contradicted = report.contradicted()
    if len(contradicted):
        lines += ["Images that the new weights read otherwise, with confidence:", ""]
        lines += reading_table(report, contradicted)
    else:
        lines += ["No label is contradicted with confidence."]
    command = shlex.join(["plate-ocr", "read", "FOLDER", "--weights", str(tuned.weights)])
    lines += ["", "## Read with these weights", "", "```", one_line(command), "```", ""]
    return "\n".join(lines)


def threshold_text(report: FineTuningReport) -> str:
    """From which confidence on readings can be trusted, or why that is not known."""
    count, threshold = report.accepted()
    if count >= IMAGES_FOR_THRESHOLD:
        threshold = math.floor(1e6 * threshold) / 1e6
        return (
            f"From a confidence of {threshold:.6f} on, none of {count:,} validation images is "
            "misread, so at most about one reading in a thousand is wrong (95% confidence; these "
            "images also chose the epoch)."
        )
    return (
        "The confidence is calibrated on the validation images and on synthetic plates. It "
        "is not known yet above which threshold at most one reading in a thousand is wrong: for "
        f"that, about {IMAGES_FOR_THRESHOLD:,} validation images must be read without a mistake "
        f"above the threshold; here {count:,} of {len(report.validation.labels):,} are."
    )


def reading_table(report: FineTuningReport, rows: np.ndarray) -> list[str]:
    """The lines of a Markdown table of the readings of some labeled images."""
    readings, records = report.readings, report.tuned.images.records
    head = ["file", "validation", "label", "text", "confidence, %"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    for row in rows:
        name = printable(records[row]["file_name"]).replace("|", r"\|")
        validation = "yes" if row < len(report.tuned.validation) else "no"
        confidence = f"{100 * readings.confidence[row]:.1f}"
        lines.append([name, validation, readings.labels[row], readings.texts[row], confidence])
    return [f"| {' | '.join(line)} |" for line in lines]


def doubtful_images(report: FineTuningReport) -> Figure:
    """The images to look at again: doubtful readings, then labels that are contradicted."""
    images, readings = report.tuned.images, report.readings
    doubtful = report.doubtful()
    contradicted = [row for row in report.contradicted() if row not in doubtful][:NUM_DOUBTFUL]
    rows = [*doubtful, *contradicted]
    captions = []
    for row in rows:
        name = printable(images.records[row]["file_name"])
        name = name if len(name) <= NAME_LENGTH else f"...{name[3 - NAME_LENGTH :]}"
        reading = f"{readings.texts[row]}  {readings.confidence[row]:.1%}"
        captions.append(f"{name}\n{reading}\nlabel {readings.labels[row]}")
    title = "Least confident validation images"
    if contradicted:
        count = len(contradicted)
        title += "; last: label to check" if count == 1 else f"; the last {count}: labels to check"
    return plate_grid(images.images[rows], captions, ~readings.correct[rows], title)
