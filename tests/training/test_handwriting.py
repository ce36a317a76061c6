import numpy as np
import pytest

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.training.styles.handwriting import load_digits, render_handwriting
from plate_ocr.training.styles.row import INK_THRESHOLD


def test_half_of_the_texts_are_amounts_whose_marks_are_on_the_plate_alone():
    rng = np.random.default_rng(0)
    drawings = [render_handwriting(f"{rng.integers(100_000):05d}", rng) for _ in range(300)]
    amounts = [drawing for drawing in drawings if drawing.has_surroundings]
    assert 100 < len(amounts) < 200
    assert np.mean([(plate < ink).any() for plate, ink, _ in amounts]) > 0.8


@pytest.mark.parametrize("template_prob", [0, 1])
@pytest.mark.parametrize("digit", DIGITS)
def test_either_source_draws_all_digits(digit, template_prob):
    ink = render_handwriting(digit, np.random.default_rng(0), template_prob).ink
    assert (ink < INK_THRESHOLD).sum() > 20


def test_every_digit_has_hundreds_of_shapes_on_the_base_line():
    for digits, slants in load_digits():
        assert len(digits) == len(slants) > 500
        assert all(y.max() == 0 and 0.6 < np.ptp(y) < 1.1 for _, y in digits)
