from itertools import combinations

import cv2
import numpy as np
import pytest

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.styles import handwriting
from plate_ocr.training.styles.handwriting import (
    STROKE_TEMPLATES,
    load_digits,
    render_handwriting,
    trace_template,
)
from plate_ocr.training.styles.row import INK_THRESHOLD


@pytest.fixture(scope="module")
def drawings():
    rng = np.random.default_rng(0)
    return [render_handwriting(f"{rng.integers(100_000):05d}", rng) for _ in range(300)]


def test_all_digits_are_dark_and_inside_the_margins(drawings):
    for _, ink, _ in drawings:
        inner = ink[MARGIN:-MARGIN, MARGIN:-MARGIN]
        assert inner.min() < 155  # 100 gray levels from the paper
        assert (ink < 255).sum() == (inner < 255).sum()
        assert (ink == 255).mean() > 0.4


def test_most_digits_stand_apart_but_some_touch(drawings):
    parts = [
        cv2.connectedComponents((ink < INK_THRESHOLD).astype(np.uint8))[0] - 1
        for _, ink, _ in drawings
    ]
    assert np.mean(np.array(parts) >= 4) > 0.6
    assert np.mean(np.array(parts) < 5) > 0.1


def test_marks_are_on_the_plate_alone(drawings):
    for plate, ink, has_surroundings in drawings:
        assert has_surroundings or np.array_equal(plate, ink)
        on_white = np.median(border_pixels(plate)) == 255
        assert not on_white or (plate <= ink).all()
        assert plate[ink < INK_THRESHOLD].mean() < plate[ink == 255].mean()
    amounts = [drawing for drawing in drawings if drawing.has_surroundings]
    assert 100 < len(amounts) < 200
    assert np.mean([(plate < ink).any() for plate, ink, _ in amounts]) > 0.8


@pytest.mark.parametrize("template_prob", [0, 1])
def test_either_source_draws_all_digits(template_prob, monkeypatch):
    missing = "load_digits" if template_prob else "trace_template"
    monkeypatch.setattr(handwriting, missing, None)
    monkeypatch.setattr(handwriting, "P_AMOUNT", 0)
    for digit in DIGITS:
        ink = render_handwriting(digit, np.random.default_rng(0), template_prob).ink
        assert (ink < INK_THRESHOLD).sum() > 20


def test_no_two_digits_have_the_same_template():
    shapes = [(digit, _shape(form)) for digit in DIGITS for form in STROKE_TEMPLATES[digit]]
    for (digit, shape), (other, other_shape) in combinations(shapes, 2):
        distances = np.hypot(*(shape[:, :, None] - other_shape[:, None]))
        apart = max(distances.min(axis=0).max(), distances.min(axis=1).max())
        assert digit == other or apart > 0.12, (digit, other)


def test_some_writers_make_zeros_smaller_than_other_digits():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(100):
        ink = render_handwriting("80", rng, template_prob=1).ink
        boxes = cv2.connectedComponentsWithStats((ink < INK_THRESHOLD).astype(np.uint8))[2][1:]
        if len(boxes) == 2:  # the digits stand apart
            eight, zero = boxes[boxes[:, cv2.CC_STAT_LEFT].argsort(), cv2.CC_STAT_HEIGHT]
            ratios.append(zero / eight)
    assert len(ratios) > 30
    assert 0.05 < np.mean(np.array(ratios) < 0.75) < 0.5


def test_a_row_is_written_in_one_slant():
    slants = [
        [_slant(digit) for digit in handwriting._write("1111", 0, np.random.default_rng(seed))]
        for seed in range(50)
    ]
    assert np.std(slants, axis=1).mean() < 0.6 * np.std(slants)


def test_every_digit_has_hundreds_of_shapes_on_the_base_line():
    for digits, slants in load_digits():
        assert len(digits) == len(slants) > 500
        assert all(y.max() == 0 and 0.6 < np.ptp(y) < 1.1 for _, y in digits)


def _slant(points):
    x, y = points - points.mean(axis=1, keepdims=True)
    return -(x @ y) / (y @ y)


def _shape(form):
    """Every sixth point of a template, with the left end of its box at 0, in its heights."""
    x, y = trace_template(form)[:, ::6]
    return np.stack([x - x.min(), y - y.min()]) / np.ptp(y)
