import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.styles.interpolation import FontInterpolator


@pytest.fixture(scope="module")
def interpolator(fonts):
    return FontInterpolator(fonts[::5])


def test_a_plate_depends_on_its_generator_alone(interpolator):
    first, same, other = (
        interpolator.render("01234", np.random.default_rng(seed)).ink for seed in (1, 1, 2)
    )
    assert first.shape == (64, 128) and first.dtype == np.uint8
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_five_dark_digits_are_inside_the_margins(interpolator):
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
