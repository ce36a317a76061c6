import cv2
import numpy as np
import pytest

from plate_ocr.augmentation import CLEAN_SHARE, LOWEST_CONTRAST, _warp, augment_batch
from plate_ocr.dataset import draw_plates


@pytest.fixture(scope="module")
def plates():
    return draw_plates(range(600)).images


def test_a_batch_depends_on_its_generator_alone(plates):
    before = plates.copy()
    first, again, other = (augment_batch(plates, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first.shape == plates.shape and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(plates, before)  # the clean plates are left alone


def test_a_share_stays_clean(plates):
    distorted = augment_batch(plates, np.random.default_rng(0))
    same = (distorted == plates).all(axis=(1, 2, 3)).mean()
    assert same == pytest.approx(CLEAN_SHARE, abs=0.04)


def test_no_digit_leaves_the_frame(plates):
    """Bending may push a pixel of ink to the border, nothing else may."""
    random = np.random.default_rng(0)
    heights, touching = [], 0
    for plate in plates[:, :, :, 0]:
        warped = _warp(plate, random)
        border = np.concatenate([warped[0], warped[-1], warped[:, 0], warped[:, -1]])
        touching += (border < 128).any()
        _, _, _, height = cv2.boundingRect((warped < 128).astype(np.uint8))
        heights.append(height / cv2.boundingRect((plate < 128).astype(np.uint8))[3])
    assert touching / len(plates) < 0.03
    assert np.quantile(heights, 0.01) > 0.55  # never too small to read
    assert np.quantile(heights, 0.95) > 1.5  # some as large as the frame allows


def test_every_plate_keeps_some_contrast(plates):
    for image in augment_batch(plates, np.random.default_rng(3)):
        assert np.ptp(image.astype(int)) >= 0.5 * LOWEST_CONTRAST
