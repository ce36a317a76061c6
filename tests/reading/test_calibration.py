import numpy as np
import pytest

from plate_ocr.reading.calibration import (
    PlattScaling,
    coverage_at_precision,
    expected_calibration_error,
    fit_platt_scaling,
    reliability_curve,
)


def test_calibration_finds_the_true_probability():
    """P(text) is overconfident: the true logit is half of its logit, minus one."""
    rng = np.random.default_rng(0)
    logit = rng.normal(3, 4, 40_000)
    text_probability = 1 / (1 + np.exp(-logit))
    truth = 1 / (1 + np.exp(-(0.5 * logit - 1)))
    correct = rng.random(len(truth)) < truth
    confidence = fit_platt_scaling(text_probability, correct)(text_probability)
    assert np.abs(confidence - truth).max() < 0.03
    assert np.isfinite(PlattScaling(0.0, 1.5)(np.array([0.0, 1.0]))).all()
    assert expected_calibration_error(confidence, correct) < 0.01
    assert expected_calibration_error(text_probability, correct) > 0.1


def test_few_readings_change_little_and_none_wrong_change_nothing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text_probability = 1 / (1 + np.exp(-rng.normal(3, 2, 20)))
        correct = rng.random(20) < text_probability
        assert 0.3 < fit_platt_scaling(text_probability, correct).slope < 1.7
        unchanged = fit_platt_scaling(text_probability, np.full(20, True))(text_probability)
        assert unchanged == pytest.approx(text_probability)


def test_readings_that_are_all_wrong_lose_their_confidence():
    text_probability = np.linspace(0.5, 0.99, 100)
    fitted = fit_platt_scaling(text_probability, np.full(100, False))
    assert fitted(text_probability).max() < 0.3 and fitted.slope > 0


def test_reliability_and_calibration_error_by_hand():
    confidence = np.array([0.01, 0.05, 0.95, 1.0])  # of the first and the last of 15 bins
    correct = np.array([False, True, True, True])
    assert reliability_curve(confidence, correct) == [
        {"plates": 2, "confidence": pytest.approx(0.03), "correct": 0.5},
        {"plates": 2, "confidence": pytest.approx(0.975), "correct": 1.0},
    ]
    expected = 0.5 * 0.47 + 0.5 * 0.025
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_coverage_by_hand():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    correct = np.array([True, False, True, True])
    assert coverage_at_precision(confidence, correct, 0.75) == (1.0, 0.6)
    assert coverage_at_precision(confidence, correct, 0.99) == (0.25, 0.9)
    assert coverage_at_precision(confidence, ~correct, 0.99) == (0.0, 1.0)
    # A threshold accepts all that are equally confident.
    assert coverage_at_precision(np.full(4, 0.9), correct[[0, 2, 3, 1]], 0.8) == (0.0, 1.0)
    assert coverage_at_precision(np.full(4, 0.9), correct, 0.75) == (1.0, 0.9)
