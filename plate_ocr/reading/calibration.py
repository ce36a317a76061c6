"""Calibration: P(text) -> confidence, and the measures of how well confidences are calibrated.

The shipped weights need none: on the tuning set P(text) is as good a confidence as a fitted one.
Other weights may be overconfident; `fine-tune` and `calibrate` fit them on labeled plates.
"""

from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # of confidence
EPSILON = 1e-6  # probabilities keep this distance from 0 and 1, so that their logits are finite
# Standard deviations of a Gaussian prior around "no change", intercept 0 and slope 1. A network is
# rarely further off: the temperatures of Guo et al. 2017 are 1 to 3, slopes of 1 to 0.33. In 25
# fits to 20 calibrated readings, slopes came out 0.7 to 1.3, and 0.2 to 7 without a prior.
PRIOR_STD = np.array([1.0, 0.5])
MIN_SLOPE = 0.1  # a calibration keeps the order of readings


@dataclass(frozen=True)
class PlattScaling:
    """Confidence = sigmoid(intercept + slope * logit(P(text))); Platt 1999."""

    intercept: float
    slope: float

    def __call__(self, text_probability: np.ndarray) -> np.ndarray:
        """P(text), shape (n,) -> calibrated confidences, shape (n,)."""
        return 1 / (1 + np.exp(-self.intercept - self.slope * _logit(text_probability)))


def _logit(probability: np.ndarray) -> np.ndarray:
    probability = probability.clip(EPSILON, 1 - EPSILON)
    return np.log(probability / (1 - probability))


def fit_platt_scaling(
    text_probability: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None
) -> PlattScaling:
    """The most probable scaling under the prior; without a mistake, that of no change.

    Args:
        text_probability: P(text) of readings, float (n,).
        correct: whether each is correct, bool (n,).
        weights: how many readings each counts for, float (n,); by default one.
    """
    from scipy.optimize import minimize  # comes with scikit-learn; reading does without

    identity = np.array([0.0, 1.0])
    if correct.all():
        return PlattScaling(*identity.tolist())
    logit, sign = _logit(text_probability), np.where(correct, 1, -1)
    weights = np.ones(len(logit)) if weights is None else weights

    def loss(parameters: np.ndarray) -> float:
        scaled = parameters[0] + parameters[1] * logit
        negative_log_likelihood = weights @ np.logaddexp(0, -sign * scaled)
        return negative_log_likelihood + (((parameters - identity) / PRIOR_STD) ** 2).sum() / 2

    fitted = minimize(loss, identity, method="L-BFGS-B", bounds=[(None, None), (MIN_SLOPE, None)])
    return PlattScaling(*fitted.x.tolist())


def reliability_curve(confidence: np.ndarray, correct: np.ndarray) -> list[dict]:
    """The number of `plates`, mean `confidence` and fraction `correct` of each bin with plates."""
    index = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        {
            "plates": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "correct": float(correct[inside].mean()),
        }
        for inside in (index == number for number in np.unique(index))
    ]


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean of |confidence - accuracy| over bins, weighted by plates (Naeini et al. 2015)."""
    curve = reliability_curve(confidence, correct)
    gaps = [abs(point["confidence"] - point["correct"]) for point in curve]
    return float(np.average(gaps, weights=[point["plates"] for point in curve]))


def coverage_at_precision(
    confidence: np.ndarray, correct: np.ndarray, precision: float
) -> tuple[float, float]:
    """The largest fraction of plates accepted with this precision, and its threshold; or 0, 1."""
    order = np.argsort(-confidence, kind="stable")
    precisions = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(np.diff(confidence[order]) != 0, True)
    accepted = np.flatnonzero((precisions >= precision) & last_of_equals)
    if not accepted.size:
        return 0.0, 1.0
    return float((accepted[-1] + 1) / len(order)), float(confidence[order[accepted[-1]]])
