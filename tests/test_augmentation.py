import cv2
import numpy as np
import pytest

from plate_ocr.augmentation import (
    CLEAN_SHARE,
    LOWEST_CONTRAST,
    LOWEST_DIGITS,
    _respace,
    _warp,
    augment_batch,
    on_white,
)
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


def test_own_plates_are_brought_to_dark_ink_on_white(plates):
    """Else all of a gray plate would be taken for ink and shrunk like digits."""
    random = np.random.default_rng(0)
    for drawn in plates[:50, :, :, 0]:
        assert on_white(drawn) is drawn
        gray = 60 + drawn * 0.5 + random.normal(0, 2, drawn.shape)
        for plate in (gray, 255 - gray):
            white = on_white(plate.astype(np.uint8))
            expected, found = (
                cv2.boundingRect((one < 128).astype(np.uint8)) for one in (drawn, white)
            )
            assert np.abs(np.subtract(expected, found)).max() <= 1
            assert (white == 255).mean() > 0.7
            # What the distortions take for ink is no larger.
            taken = cv2.boundingRect(255 - white)
            assert np.abs(np.subtract(cv2.boundingRect(255 - drawn), taken)).max() <= 2
    assert (on_white(np.full((64, 128), 90, np.uint8)) == 0).all()  # nothing but paper


def test_no_digit_leaves_the_frame_or_becomes_too_small(plates):
    random = np.random.default_rng(0)
    told, found = [], []
    for plate in plates[:, :, :, 0]:
        warped, height = _warp(plate, random)
        inked = (warped < 128).astype(np.uint8)
        # Nothing is cut off: about as much ink as there was, for its size.
        before = cv2.boundingRect((plate < 128).astype(np.uint8))[3]
        share = (255.0 - warped).sum() / (255.0 - plate).sum() / (height / before) ** 2
        assert share > 0.35  # squeezed digits have less
        told.append(height)
        found.append(cv2.boundingRect(inked)[3])
    assert min(told) >= LOWEST_DIGITS * 0.6 and np.quantile(told, 0.05) >= LOWEST_DIGITS * 0.9
    assert np.corrcoef(told, found)[0, 1] > 0.8  # a turned row is higher than its digits
    assert np.quantile(found, 0.95) > 28  # some as large as the frame allows


def test_digits_are_set_closer_and_none_is_lost(plates):
    random = np.random.default_rng(1)
    changed = 0
    for plate in plates[:, :, :, 0]:
        spaced = _respace(plate, random, 5)
        dark = [(image < 60).sum() for image in (plate, spaced)]
        assert dark[1] >= 0.98 * dark[0] and spaced.shape == plate.shape
        changed += not np.array_equal(plate, spaced)
    assert changed > 0.5 * len(plates)


def test_every_plate_keeps_some_contrast(plates):
    for image in augment_batch(plates, np.random.default_rng(3)):
        assert np.ptp(image.astype(int)) >= 0.5 * LOWEST_CONTRAST
