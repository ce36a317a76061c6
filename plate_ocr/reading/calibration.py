"""From what CTC says to an honest confidence: the probability that all digits are right.

P(text) of a network is too sure of itself on plates unlike those of its training. A logistic
regression, fitted on labelled plates of other fonts and conditions, maps P(text) and P(length)
to how often such readings are right (Platt 1999). The measures below say how honest that is.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15  # of confidence
MOST = 1e-6  # probabilities are kept this far from 0 and 1, so that their logits stay finite


@dataclass(frozen=True)
class PlattScaling:
    """The weights of the regression, as `dr_model.json` holds them."""

    intercept: float
    text: float  # of the logit of P(text)
    length: float  # of the logit of P(length)

    def __call__(self, text_probability: np.ndarray, length_probability: np.ndarray) -> np.ndarray:
        """Calibrated confidences, shape (n,), of P(text) and P(length), both of shape (n,)."""
        of_text, of_length = _features(text_probability, length_probability)
        return 1 / (1 + np.exp(-(self.intercept + self.text * of_text + self.length * of_length)))


def _features(text_probability: np.ndarray, length_probability: np.ndarray) -> np.ndarray:
    both = np.array([text_probability, length_probability]).clip(MOST, 1 - MOST)
    return np.log(both / (1 - both))


def fit_platt_scaling(
    text_probability: np.ndarray, length_probability: np.ndarray, right: np.ndarray
) -> PlattScaling:
    """Fit on labelled plates.

    Args:
        text_probability: P(text) of every reading, shape (n,).
        length_probability: P(so many digits) of every plate, shape (n,).
        right: whether all digits were read right, bool (n,).

    Raises:
        ValueError: all readings are right, or all are wrong.
    """
    from sklearn.linear_model import LogisticRegression  # not needed for reading

    regression = LogisticRegression(C=np.inf)
    regression.fit(_features(text_probability, length_probability).T, right)
    return PlattScaling(float(regression.intercept_[0]), *map(float, regression.coef_[0]))


def reliability_curve(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict]:
    """The reliability diagram: bins of equal width that hold any plates.

    Returns:
        `plates`, mean `confidence` and share `right` of every bin, least confident first.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "plates": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "correct": float(right[inside].mean()),
        }
        for inside in (index == number for number in range(bins))
        if inside.any()
    ]


def expected_calibration_error(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS
) -> float:
    """Mean distance of confidence and accuracy over bins, by plates (Naeini et al. 2015)."""
    table = reliability_curve(confidence, right, bins)
    total = sum(row["plates"] for row in table)
    return sum(row["plates"] * abs(row["confidence"] - row["correct"]) for row in table) / total


def coverage_at_precision(
    confidence: np.ndarray, right: np.ndarray, precision: float
) -> tuple[float, float]:
    """The largest share of plates accepted, most confident first, with so many of them right.

    Returns:
        The share, and the least confidence accepted; 0 and 1 where even the surest are wrong.
    """
    order = np.argsort(-confidence, kind="stable")
    precisions = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(np.diff(confidence[order]) != 0, True)  # of those equally confident
    enough = np.flatnonzero((precisions >= precision) & last)
    if not enough.size:
        return 0.0, 1.0
    return float((enough[-1] + 1) / len(order)), float(confidence[order[enough[-1]]])


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a positive score is above a negative one; ties count half."""
    from sklearn.metrics import roc_auc_score  # slow to import, and needed only here

    truth = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    return float(roc_auc_score(truth, np.concatenate([positive, negative])))
