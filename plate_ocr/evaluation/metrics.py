"""How well plates were read: exact match, errors by group and by digit, quality of confidence."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import FONT_SIZES, render_glyphs
from plate_ocr.reading.calibration import auroc, coverage_at_precision, expected_calibration_error

TARGET_PRECISION = 0.999  # of the readings that are accepted, to state their coverage
GLYPH_SIZE = 24  # pixels; digits are stretched to a square to compare fonts
INK_THRESHOLD = 100  # 0 to 255: pixels with at least this much ink belong to a digit
ARRAYS = ("labels", "texts", "greedy_texts", "confidence")  # of an `EvaluationResult`


@dataclass(frozen=True)
class EvaluationResult:
    """What was read on a set of plates, beside the labels; every array has shape (n,)."""

    labels: np.ndarray  # str
    texts: np.ndarray  # str, of as many digits as the weights read
    greedy_texts: np.ndarray  # str, of any length
    confidence: np.ndarray  # float, 0 to 1
    tags: Mapping[str, np.ndarray]  # as in `BenchmarkSet`

    @property
    def correct(self) -> np.ndarray:
        """Whether all digits of a plate are correct, bool (n,)."""
        return self.labels == self.texts

    def select(self, mask: np.ndarray) -> "EvaluationResult":
        """The plates for which `mask`, bool (n,), is true."""
        arrays = {name: getattr(self, name)[mask] for name in ARRAYS}
        return EvaluationResult(**arrays, tags={tag: self.tags[tag][mask] for tag in self.tags})

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
    """Several results as one, without tags."""
    arrays = {name: np.concatenate([getattr(part, name) for part in results]) for name in ARRAYS}
    return EvaluationResult(**arrays, tags={})


def exact_match_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """The fraction of texts that equal their label."""
    return sum(map(str.__eq__, labels, texts)) / len(labels)


def character_error_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """Edit distance of all plates over the number of characters in their labels."""
    return sum(map(edit_distance, labels, texts)) / sum(map(len, labels))


def edit_distance(label: str, text: str) -> int:
    """The least number of insertions, deletions and substitutions (Levenshtein 1966).

    >>> edit_distance("12345", "1345"), edit_distance("12345", "21345")
    (1, 2)
    """
    distances = list(range(len(text) + 1))  # from the empty prefix of the label
    for row, expected in enumerate(label, start=1):
        diagonal, distances[0] = distances[0], row
        for column, actual in enumerate(text, start=1):
            substituted = diagonal + (expected != actual)
            diagonal = distances[column]
            distances[column] = min(substituted, diagonal + 1, distances[column - 1] + 1)
    return distances[-1]


def confidence_metrics(plates: EvaluationResult, no_plate: EvaluationResult) -> dict[str, float]:
    """How well calibrated the confidence is, and how well it separates.

    ECE; AUROC of correct readings against wrong ones, and of plates against images without a plate
    (out of distribution); the coverage with one error in a thousand, and the threshold for it.
    """
    confidence, correct = plates.confidence, plates.correct
    coverage, threshold = coverage_at_precision(confidence, correct, TARGET_PRECISION)
    return {
        "plates": len(confidence),
        "ece": expected_calibration_error(confidence, correct),
        "auroc_error_detection": auroc(confidence[correct], confidence[~correct]),
        "coverage_at_99.9_precision": coverage,
        "threshold_at_99.9_precision": threshold,
        "auroc_ood": auroc(confidence, no_plate.confidence),
    }


def accuracy_by(result: EvaluationResult, *tags: str) -> dict[Hashable, tuple[int, int]]:
    """Correct readings and plates of every value of a tag, or of several tags; worst first."""
    columns = [result.tags[tag].tolist() for tag in tags]
    keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    groups: dict[Hashable, tuple[int, int]] = {}
    for key, is_correct in zip(keys, result.correct.tolist(), strict=True):
        correct, plates = groups.get(key, (0, 0))
        groups[key] = (correct + is_correct, plates + 1)
    return dict(sorted(groups.items(), key=lambda item: item[1][0] / item[1][1]))


def confusion_counts(labels: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """How often a digit (row) was read as another (column), int (10, 10); equal lengths only."""
    from sklearn.metrics import confusion_matrix  # model_test.py starts without it

    pairs = [pair for pair in zip(labels, texts, strict=True) if len(pair[0]) == len(pair[1])]
    true, predicted = (list("".join(part)) for part in zip(*pairs, strict=True))
    return confusion_matrix(true, predicted, labels=list(DIGITS))


def mean_glyphs(images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The mean shape of every digit, stretched to a square: (10, 24, 24), ink 0 to 1, or NaN.

    The plates, uint8 (n, 64, 128, 1), are black on white. Those whose digits overlap or have gaps
    in their columns are left out.
    """
    total = np.zeros((len(DIGITS), GLYPH_SIZE, GLYPH_SIZE), np.float32)
    count = np.zeros(len(DIGITS))
    for image, text in zip(images, texts, strict=True):
        ink = 255 - image[..., 0]
        has_ink = (ink > INK_THRESHOLD).any(axis=0).astype(np.int8)
        edges = np.flatnonzero(np.diff(has_ink, prepend=0, append=0))
        if len(edges) != 2 * len(text):
            continue
        for digit, left, right in zip(map(int, text), edges[::2], edges[1::2], strict=True):
            rows = np.flatnonzero((ink[:, left:right] > INK_THRESHOLD).any(axis=1))
            total[digit] += _stretch(ink[rows[0] : rows[-1] + 1, left:right])
            count[digit] += 1
    with np.errstate(invalid="ignore"):
        return total / count[:, None, None]


def training_glyphs() -> list[np.ndarray]:
    """The digits of every instance of the training fonts, each as `mean_glyphs` returns them."""
    return [
        np.stack([_stretch(glyph.ink) for glyph in render_glyphs(font.path, axes, FONT_SIZES[-1])])
        for font in load_fonts()
        for axes in font.instances
    ]


def _stretch(ink: np.ndarray) -> np.ndarray:
    import cv2  # model_test.py starts without it

    square = (GLYPH_SIZE, GLYPH_SIZE)
    return cv2.resize(ink, square, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def font_distance(glyphs: np.ndarray, training: Sequence[np.ndarray]) -> float:
    """Mean absolute pixel difference, 0 to 1, to the nearest font of `training_glyphs`."""
    return min(float(np.nanmean(np.abs(glyphs - other))) for other in training)


def pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's correlation of the finite pairs; `None` where either side is constant."""
    pairs = np.array([first, second])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if (pairs == pairs[:, :1]).all(axis=1).any():
        return None
    return float(np.corrcoef(pairs)[0, 1])
