import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.config import CONFIGS
from plate_ocr.training.styles import STYLES, load_style
from plate_ocr.training.styles.interpolation import FontInterpolator


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


def test_five_dark_digits_are_inside_the_margins(fonts):
    interpolator = FontInterpolator(fonts[::5])
    rng = np.random.default_rng(0)
    separate = 0
    for _ in range(300):
        plate = interpolator.render(f"{rng.integers(100_000):05d}", rng).ink
        assert plate.max() == 255 and plate.min() < 100
        ink = plate < 200
        edge = MARGIN - 1
        assert ink.sum() == ink[edge:-edge, edge:-edge].sum()
        columns = np.diff(ink.any(axis=0).astype(int), prepend=0, append=0)
        separate += (columns == 1).sum() >= 5
    assert separate > 0.7 * 300  # slanted and close digits share columns
