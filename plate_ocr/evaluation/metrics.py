"""How well plates were read: exact match, accuracy by group, quality of the confidence."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter

import numpy as np

from plate_ocr.reading.calibration import coverage_at_precision, expected_calibration_error

TARGET_PRECISION = 0.999  # of the readings that are accepted, to state their coverage


@dataclass(frozen=True)
class EvaluationResult:
    """What was read on a set of plates, beside the labels; every array has shape (n,)."""

    labels: np.ndarray  # str
    texts: np.ndarray  # str, of as many digits as the weights read
    greedy_texts: np.ndarray  # str, of any length
    confidence: np.ndarray  # float, 0 to 1
    records: np.ndarray  # dict, as in `PlateDataset`

    @property
    def correct(self) -> np.ndarray:
        """Whether all digits of a plate are correct, bool (n,)."""
        return self.labels == self.texts

    def select(self, rows: np.ndarray) -> "EvaluationResult":
        """The plates of some rows, int, or for which a mask, bool (n,), is true."""
        return EvaluationResult(*(values[rows] for values in vars(self).values()))

    def metrics(self) -> dict[str, float]:
        """The number of plates and of correct readings; rates are fractions of 0 to 1."""
        return {
            "images": len(self.labels),
            "correct": int(self.correct.sum()),
            "exact_match": exact_match_rate(self.labels, self.texts),
            "exact_match_greedy": exact_match_rate(self.labels, self.greedy_texts),
            "character_error_rate": character_error_rate(self.labels, self.texts),
        }


def concatenate(results: Sequence[EvaluationResult]) -> EvaluationResult:
    """Several results as one."""
    arrays = zip(*(vars(result).values() for result in results), strict=True)
    return EvaluationResult(*map(np.concatenate, arrays))


def exact_match_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """The fraction of texts that equal their label."""
    return sum(map(str.__eq__, labels, texts)) / len(labels)


def character_error_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """Edit distance of all plates over the number of characters in their labels."""
    return sum(map(edit_distance, labels, texts)) / sum(map(len, labels))


def edit_distance(label: str, text: str) -> int:
    """The least number of insertions, deletions and substitutions (Levenshtein 1966)."""
    above = list(range(len(text) + 1))  # distances from the empty prefix of the label
    for row, expected in enumerate(label, start=1):
        distances = [row]
        for left, actual in enumerate(text):
            substituted = above[left] + (expected != actual)
            distances.append(min(substituted, above[left + 1] + 1, distances[left] + 1))
        above = distances
    return above[-1]


def confidence_metrics(plates: EvaluationResult, no_plate: EvaluationResult) -> dict[str, float]:
    """How well calibrated the confidence is, and how well it separates.

    ECE; AUROC of correct readings against wrong ones, and of plates against images without a plate
    (out of distribution); the coverage with one error in a thousand, and the threshold for it.
    """
    from sklearn.metrics import roc_auc_score  # model_test.py starts without it

    confidence, correct = plates.confidence, plates.correct
    both = np.concatenate([confidence, no_plate.confidence])
    is_plate = np.repeat([True, False], [len(confidence), len(no_plate.confidence)])
    coverage, threshold = coverage_at_precision(confidence, correct, TARGET_PRECISION)
    return {
        "plates": len(confidence),
        "ece": expected_calibration_error(confidence, correct),
        "auroc_error_detection": float(roc_auc_score(correct, confidence)),
        "coverage_at_99.9_precision": coverage,
        "threshold_at_99.9_precision": threshold,
        "auroc_ood": float(roc_auc_score(is_plate, both)),
    }


def accuracy_by(result: EvaluationResult, *tags: str) -> dict[Hashable, tuple[int, int]]:
    """Correct readings and plates of every value of a tag, or of several tags; worst first."""
    keys = list(map(itemgetter(*tags), result.records))
    plates, correct = Counter(keys), Counter(compress(keys, result.correct))
    groups = {key: (correct[key], plates[key]) for key in plates}
    return dict(sorted(groups.items(), key=lambda item: item[1][0] / item[1][1]))
