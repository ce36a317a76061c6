import dataclasses

import numpy as np
import pytest

from plate_ocr.evaluation.metrics import (
    EvaluationResult,
    accuracy_by,
    character_error_rate,
    confidence_metrics,
    edit_distance,
)


@pytest.fixture
def result():
    return EvaluationResult(
        labels=np.array(["12345", "00000", "99999", "13579"]),
        texts=np.array(["12345", "00008", "99999", "13577"]),
        greedy_texts=np.array(["12345", "00008", "9999", "1357"]),
        confidence=np.array([0.9, 0.7, 0.5, 0.5]),
        records=np.array([{"font": font, "severity": n} for font in "ab" for n in (1, 2)]),
    )


@pytest.mark.parametrize(
    ("label", "text", "distance"),
    [
        ("12345", "12345", 0),
        ("12345", "", 5),
        ("12345", "1345", 1),
        ("12345", "21345", 2),
        ("135", "13500", 2),
    ],
)
def test_edit_distance_counts_changed_characters(label, text, distance):
    assert edit_distance(label, text) == distance
    assert character_error_rate([label], [text]) == distance / len(label)


def test_metrics_of_a_small_set(result):
    assert result.metrics() == {
        "images": 4,
        "correct": 2,
        "exact_match": 0.5,
        "exact_match_greedy": 0.25,
        "character_error_rate": 2 / 20,
    }


def test_groups_are_sorted_worst_first(result):
    assert list(accuracy_by(result, "severity").items()) == [(2, (0, 2)), (1, (2, 2))]
    assert accuracy_by(result, "font", "severity")["a", 1] == (1, 1)


def test_confidence_metrics_of_a_small_set(result):
    no_plate = dataclasses.replace(result, confidence=np.array([0.8, 0.1, 0.1, 0.1]))
    assert confidence_metrics(result, no_plate) == pytest.approx(
        {
            "plates": 4,
            "ece": (0.1 + 0.7 + 2 * 0.0) / 4,
            "auroc_error_detection": (1 + 1 + 0 + 0.5) / 4,
            "coverage_at_99.9_precision": 1 / 4,
            "threshold_at_99.9_precision": 0.9,
            "auroc_ood": (4 + 3 + 3 + 3) / 16,
        }
    )
