import cv2
import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.config import CONFIGS
from plate_ocr.training.styles import STYLES, load_style
from plate_ocr.training.styles.row import INK_THRESHOLD


def test_the_robust_configuration_draws_all_styles():
    probabilities = CONFIGS["robust"].styles
    assert set(probabilities) == set(STYLES)
    assert min(probabilities.values()) > 0 and sum(probabilities.values()) < 1


@pytest.mark.parametrize("name", STYLES)
def test_a_drawing_depends_on_its_generator_alone(name):
    first, same, other = (
        load_style(name)("01234", np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    for image, same_image, other_image in zip(first[:2], same[:2], other[:2], strict=True):
        assert image.shape == (64, 128) and image.dtype == np.uint8
        assert np.array_equal(image, same_image) and not np.array_equal(image, other_image)


@pytest.mark.parametrize("name", STYLES)
def test_digits_are_inside_the_margins_and_stand_out_from_the_plate(name):
    render, rng = load_style(name), np.random.default_rng(0)
    edge, near = MARGIN - 1, np.ones((15, 15), np.uint8)
    for _ in range(150):
        plate, ink, has_surroundings = render(f"{rng.integers(100_000):05d}", rng)
        is_ink = ink < INK_THRESHOLD
        assert ink.max() == 255 and np.ptp(np.nonzero(is_ink)[1]) > 20
        assert is_ink.sum() == is_ink[edge:-edge, edge:-edge].sum()
        assert has_surroundings or np.array_equal(plate, ink)
        contrast = np.maximum(cv2.dilate(plate, near) - plate, plate - cv2.erode(plate, near))
        assert contrast[ink < 60].min(initial=255) > 30
