import numpy as np
import pytest

from plate_ocr.reading.calibration import (
    PlattScaling,
    auroc,
    coverage_at_precision,
    expected_calibration_error,
    fit_platt_scaling,
    reliability_curve,
)


@pytest.fixture(scope="module")
def plates():
    """Readings whose P(text) is too sure: the truth is its logit halved, minus one."""
    random = np.random.default_rng(0)
    logit = random.normal(3, 4, 40_000)
    text = 1 / (1 + np.exp(-logit))
    length = np.sqrt(text)
    truth = 1 / (1 + np.exp(-(0.5 * logit - 1)))
    return text, length, random.random(len(text)) < truth, truth


def test_calibration_finds_the_true_probability(plates):
    text, length, right, truth = plates
    calibration = fit_platt_scaling(text, length, right)
    confidence = calibration(text, length)
    assert np.abs(confidence - truth).max() < 0.03
    assert expected_calibration_error(confidence, right) < 0.01
    assert expected_calibration_error(text, right) > 0.1


def test_calibration_takes_probabilities_of_0_and_1():
    extremes = np.array([0.0, 1.0])
    confidence = PlattScaling(0.0, 1.0, 0.5)(extremes, extremes)
    assert np.isfinite(confidence).all() and confidence[0] < 1e-3 < 1 - 1e-3 < confidence[1]


def test_reliability_and_error_by_hand():
    confidence = np.array([0.05, 0.15, 0.95, 1.0])
    right = np.array([False, True, True, True])
    assert reliability_curve(confidence, right, bins=2) == [
        {"plates": 2, "confidence": pytest.approx(0.1), "correct": 0.5},
        {"plates": 2, "confidence": pytest.approx(0.975), "correct": 1.0},
    ]
    expected = 0.5 * 0.4 + 0.5 * 0.025
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx(expected)


def test_coverage_by_hand():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    right = np.array([True, False, True, True])
    assert coverage_at_precision(confidence, right, 0.75) == (1.0, 0.6)
    assert coverage_at_precision(confidence, right, 0.99) == (0.25, 0.9)
    assert coverage_at_precision(confidence, ~right, 0.99) == (0.0, 1.0)
    # Those equally confident are accepted together.
    assert coverage_at_precision(np.full(4, 0.9), right[[0, 2, 3, 1]], 0.8) == (0.0, 1.0)
    assert coverage_at_precision(np.full(4, 0.9), right, 0.75) == (1.0, 0.9)


def test_area_under_roc_by_hand():
    assert auroc(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == pytest.approx(0.875)
