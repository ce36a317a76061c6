"""Readings against truth: how many are right, on what, where they fail, and how sure they are."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import FONT_SIZES, render_glyphs
from plate_ocr.reading.calibration import (
    PlattScaling,
    auroc,
    coverage_at_precision,
    expected_calibration_error,
)

PRECISION = 0.999  # at which coverage is told
SHAPE_SIZE = 24  # pixels, of a digit stretched to a square


@dataclass(frozen=True)
class EvaluationResult:
    """How the plates of a set were read; arrays have shape (n,)."""

    labels: list[str]
    texts: list[str]
    greedy_texts: list[str]
    correct: np.ndarray  # bool: all five digits
    text_probability: np.ndarray
    length_probability: np.ndarray
    tags: Mapping[str, np.ndarray]

    def where(self, chosen: np.ndarray) -> "EvaluationResult":
        """The plates at which `chosen`, bool (n,), is true."""
        rows = np.flatnonzero(chosen)
        return EvaluationResult(
            [self.labels[row] for row in rows],
            [self.texts[row] for row in rows],
            [self.greedy_texts[row] for row in rows],
            self.correct[rows],
            self.text_probability[rows],
            self.length_probability[rows],
            {name: tag[rows] for name, tag in self.tags.items()},
        )

    def confidence(self, calibration: PlattScaling) -> np.ndarray:
        """Calibrated confidences."""
        return calibration(self.text_probability, self.length_probability)

    def figures(self) -> dict[str, float]:
        """Rates are fractions of 0 to 1."""
        return {
            "images": len(self.labels),
            "correct": int(self.correct.sum()),
            "exact_match": float(self.correct.mean()),
            "exact_match_greedy": exact_match_rate(self.labels, self.greedy_texts),
            "character_error_rate": character_error_rate(self.labels, self.texts),
        }


def pool(sets: Sequence[EvaluationResult]) -> EvaluationResult:
    """Several sets as one, without their tags."""
    return EvaluationResult(
        [truth for one in sets for truth in one.labels],
        [text for one in sets for text in one.texts],
        [text for one in sets for text in one.greedy_texts],
        np.concatenate([one.correct for one in sets]),
        np.concatenate([one.text_probability for one in sets]),
        np.concatenate([one.length_probability for one in sets]),
        {},
    )


def confidence_metrics(
    plates: EvaluationResult, no_plate: EvaluationResult, calibration: PlattScaling
) -> dict[str, float]:
    """How honest and how useful the confidence is: see `calibration` for the measures.

    Args:
        plates: readings of plates.
        no_plate: readings of pictures that should be refused.
        calibration: what makes their confidences.
    """
    confidence, right = plates.confidence(calibration), plates.correct
    coverage, least = coverage_at_precision(confidence, right, PRECISION)
    refused = no_plate.confidence(calibration)
    return {
        "plates": len(confidence),
        "ece": expected_calibration_error(confidence, right),
        "ece_uncalibrated": expected_calibration_error(plates.text_probability, right),
        "auroc_error_detection": auroc(confidence[right], confidence[~right]),
        "coverage_at_99.9_precision": coverage,
        "threshold_at_99.9_precision": least,
        "auroc_ood": auroc(confidence, refused),
    }


def accuracy_by(one: EvaluationResult, *tags: str) -> dict[Hashable, tuple[int, int]]:
    """Right readings and plates of every tag, or combination of tags, the worst first."""
    columns = [one.tags[tag].tolist() for tag in tags]
    keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    groups: dict[Hashable, tuple[int, int]] = {}
    for key, is_right in zip(keys, one.correct.tolist(), strict=True):
        hits, plates = groups.get(key, (0, 0))
        groups[key] = (hits + is_right, plates + 1)
    return dict(sorted(groups.items(), key=lambda item: item[1][0] / item[1][1]))


def confusion_counts(labels: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """How often a digit (row) was read as another (column), place by place: int (10, 10)."""
    counts = np.zeros((len(DIGITS), len(DIGITS)), dtype=int)
    for truth, text in zip(labels, texts, strict=True):
        if len(truth) == len(text):
            np.add.at(counts, ([int(c) for c in truth], [int(c) for c in text]), 1)
    return counts


def mean_glyphs(images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The mean shape of every digit on clean plates, each digit stretched to a square.

    Plates whose digits overlap or break into parts across the columns are left out.

    Args:
        images: plates with dark ink on white, uint8 (n, 64, 128) or (n, 64, 128, 1).
        texts: what they show.

    Returns:
        float32 (10, 24, 24), ink 0 to 1; NaN for a digit that no plate shows.
    """
    total = np.zeros((len(DIGITS), SHAPE_SIZE, SHAPE_SIZE), np.float32)
    count = np.zeros(len(DIGITS))
    for image, text in zip(images, texts, strict=True):
        ink = 255 - image.reshape(image.shape[:2])
        columns = np.diff((ink > 100).any(axis=0).astype(np.int8), prepend=0, append=0)
        edges = np.flatnonzero(columns)
        if len(edges) != 2 * len(text):
            continue
        for digit, left, right in zip(map(int, text), edges[::2], edges[1::2], strict=True):
            rows = np.flatnonzero((ink[:, left:right] > 100).any(axis=1))
            glyph = ink[rows[0] : rows[-1] + 1, left:right]
            total[digit] += _stretch(glyph)
            count[digit] += 1
    with np.errstate(invalid="ignore"):
        return total / count[:, None, None]


def training_glyphs() -> list[np.ndarray]:
    """The shapes of every instance of the training fonts, as `digit_shapes` gives them."""
    size = FONT_SIZES[-1]
    shapes = []
    for font in load_fonts():
        for axes in font.instances:
            glyphs = render_glyphs(font.path, axes, size)
            shapes.append(np.stack([_stretch(glyph.ink) for glyph in glyphs]))
    return shapes


def _stretch(ink: np.ndarray) -> np.ndarray:
    import cv2  # only here: model_test.py starts without it

    square = (SHAPE_SIZE, SHAPE_SIZE)
    return cv2.resize(ink, square, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def font_distance(shapes: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """How far a font's digits are from those of the nearest of other fonts.

    Args:
        shapes: as `digit_shapes` gives them.
        others: the same of every other font.

    Returns:
        Mean absolute difference of ink, 0 to 1, over digits that both fonts show.
    """
    return min(float(np.nanmean(np.abs(shapes - other))) for other in others)


def pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's, of the pairs that are finite; `None` where either is the same in all."""
    pairs = np.array([first, second])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if (pairs == pairs[:, :1]).all(axis=1).any():
        return None
    return float(np.corrcoef(pairs)[0, 1])


def edit_distance(truth: str, text: str) -> int:
    """Fewest insertions, deletions and substitutions between two texts (Levenshtein 1966).

    >>> edit_distance("12345", "1345"), edit_distance("12345", "21345")
    (1, 2)
    """
    previous = list(range(len(text) + 1))
    for row, character in enumerate(truth, start=1):
        current = [row]
        for column, other in enumerate(text, start=1):
            current.append(
                min(
                    previous[column] + 1,
                    current[-1] + 1,
                    previous[column - 1] + (character != other),
                )
            )
        previous = current
    return previous[-1]


def exact_match_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """The share of texts equal to the truth."""
    return sum(map(str.__eq__, labels, texts)) / len(labels)


def character_error_rate(labels: Sequence[str], texts: Sequence[str]) -> float:
    """Edit distance over the number of true characters, all plates together."""
    errors = sum(map(edit_distance, labels, texts))
    return errors / sum(map(len, labels))
