"""What a fine-tuning has brought: readings before and after, labels and images to look at again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plate_ocr.evaluation.benchmark import BenchmarkSet, evaluate
from plate_ocr.evaluation.metrics import TARGET_PRECISION, EvaluationResult
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.reading.calibration import coverage_at_precision
from plate_ocr.reading.reader import PlateReader

NUM_DOUBTFUL = 10  # readings to look at again
MIN_CONTRADICTION = 0.9  # confidence from which a reading contradicts a label


@dataclass(frozen=True)
class FineTuningReport:
    """Readings of images that were not trained on, and of those that were."""

    held_out: dict[str, EvaluationResult]  # "before" and "after", of the user's images
    drawn: dict[str, EvaluationResult]  # the same of drawn plates: what was forgotten
    trained: EvaluationResult  # the images trained on, by the new weights
    minutes: float

    @property
    def threshold(self) -> float | None:
        """The confidence from which one reading in a thousand is wrong; `None` if none is known.

        Without a mistake among n readings, the rule of three bounds the error rate by 3 / n
        (Hanley and Lippman-Hand 1983), so a thousandth takes 3,000 images.
        """
        result = self.held_out["after"]
        coverage, threshold = coverage_at_precision(
            result.confidence, result.correct, TARGET_PRECISION
        )
        return threshold if coverage * len(result.labels) >= 3 / (1 - TARGET_PRECISION) else None

    def doubtful(self) -> list[int]:
        """Rows of the held-out images with the least confident readings, the least first."""
        return np.argsort(self.held_out["after"].confidence)[:NUM_DOUBTFUL].tolist()

    def contradicted(self) -> list[int]:
        """Rows of the training images whose label the new weights contradict with confidence."""
        wrong = ~self.trained.correct & (self.trained.confidence >= MIN_CONTRADICTION)
        return np.flatnonzero(wrong).tolist()


def report_fine_tuning(
    before: PlateReader,
    after: PlateReader,
    own: PlateDataset,
    held_out: PlateDataset,
    drawn: PlateDataset,
    minutes: float,
) -> FineTuningReport:
    """Read everything with the weights of before and after."""
    readers = {"before": before, "after": after}
    sets = [
        {name: evaluate(reader, BenchmarkSet.from_plates(plates)) for name, reader in pair.items()}
        for plates, pair in (
            (held_out, readers),
            (drawn, readers),
            (own, {"after": after}),
        )
    ]
    return FineTuningReport(sets[0], sets[1], sets[2]["after"], minutes)


def report_markdown(
    report: FineTuningReport, files: Sequence[str], held_out_files: Sequence[str], weights: Path
) -> str:
    """The report as a page; the names are those of the training and of the held-out images."""
    rows = [
        f"| {name}, {len(results['after'].labels):,} | "
        + " | ".join(f"{100 * results[when].correct.mean():.1f}" for when in ("before", "after"))
        + " |"
        for name, results in (
            ("held-out images", report.held_out),
            ("drawn plates", report.drawn),
        )
    ]
    after = report.held_out["after"]
    doubtful = [
        f"| {held_out_files[row]} | {after.labels[row]} | {after.texts[row]} | "
        f"{100 * after.confidence[row]:.1f} |"
        for row in report.doubtful()
    ]
    contradicted = [
        f"- {files[row]}: labelled {report.trained.labels[row]}, read {report.trained.texts[row]} "
        f"({100 * report.trained.confidence[row]:.1f} %)"
        for row in report.contradicted()
    ]
    threshold = (
        f"From a confidence of {report.threshold:.3f} on, one reading in a thousand was wrong."
        if report.threshold is not None
        else "There are too few held-out images to state the confidence from which one reading in "
        f"a thousand is wrong: that takes about {round(3 / (1 - TARGET_PRECISION)):,}."
    )
    return "\n".join(
        [
            "# Fine-tuned weights",
            "",
            f"Trained on {len(report.trained.labels):,} images in {report.minutes:.1f} minutes.",
            "",
            "| exact match, % | before | after |",
            "| --- | --: | --: |",
            *rows,
            "",
            threshold,
            "",
            "## Least confident readings",
            "",
            "| image | label | text | confidence, % |",
            "| --- | --: | --: | --: |",
            *doubtful,
            "",
            "## Labels to check",
            "",
            *(contradicted or ["No label is contradicted."]),
            "",
            "## Read with these weights",
            "",
            "```",
            f"plate-ocr read FOLDER --weights {weights}",
            "```",
            "",
        ]
    )
