import cv2
import numpy as np
import pytest

from plate_ocr.plates.dataset import render_plates
from plate_ocr.training.augmentation import (
    CLEAN_SHARE,
    LOWEST_CONTRAST,
    LOWEST_DIGITS,
    _respace,
    _warp,
    add_label_background,
    augment,
    augment_batch,
    bounding_box,
    normalize_background,
)


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(600)).images


def test_a_batch_depends_on_its_generator_alone(plates):
    before = plates.copy()
    (first, boxes), (again, same), (other, _) = (
        augment_batch(plates, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(boxes, same)
    assert first.shape == plates.shape and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(plates, before)  # the clean plates are left alone


def test_a_share_stays_clean(plates):
    distorted, _ = augment_batch(plates, np.random.default_rng(0))
    same = (distorted == plates).all(axis=(1, 2, 3)).mean()
    assert same == pytest.approx(CLEAN_SHARE, abs=0.04)


def test_boxes_are_told_before_the_damage(plates):
    """Of plates that stay as they are the box is that of their ink; of the others it is near."""
    distorted, boxes = augment_batch(plates, np.random.default_rng(1))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [128, 64]).all()
    size = boxes[:, 2:] - boxes[:, :2]
    assert (size > [25, 6]).all()
    clean = (distorted == plates).all(axis=(1, 2, 3))
    for plate, box in zip(plates[clean, :, :, 0], boxes[clean], strict=True):
        rows, columns = (np.flatnonzero((plate < 200).any(axis=axis)) for axis in (1, 0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    unlike = 0
    for plate, (left, top, right, bottom) in zip(distorted[..., 0], boxes, strict=True):
        unlike += plate[top:bottom, left:right].std() > plate.std()
    assert unlike > 0.8 * len(plates)  # there is more to see inside than elsewhere


def test_labels_end_beside_the_digits_and_leave_them_alone(plates):
    random = np.random.default_rng(0)
    for plate in plates[:100, :, :, 0]:
        left, top, right, bottom = box = bounding_box(plate)
        label = add_label_background(plate, box, random)
        inside = (slice(top, bottom), slice(left, right))
        assert np.array_equal(label[inside], plate[inside])
        beyond = label.copy()
        beyond[max(top - 13, 0) : bottom + 13, max(left - 26, 0) : right + 26] = 0
        assert (beyond < 235).all()


def test_own_plates_are_brought_to_dark_ink_on_white(plates):
    """Else all of a gray plate would be taken for ink and shrunk like digits."""
    random = np.random.default_rng(0)
    for drawn in plates[:50, :, :, 0]:
        assert normalize_background(drawn) is drawn
        gray = 60 + drawn * 0.5 + random.normal(0, 2, drawn.shape)
        for plate in (gray, 255 - gray):
            white = normalize_background(plate.astype(np.uint8))
            expected, found = (
                cv2.boundingRect((one < 128).astype(np.uint8)) for one in (drawn, white)
            )
            assert np.abs(np.subtract(expected, found)).max() <= 1
            assert (white == 255).mean() > 0.7
            # What the distortions take for ink is no larger.
            taken = cv2.boundingRect(255 - white)
            assert np.abs(np.subtract(cv2.boundingRect(255 - drawn), taken)).max() <= 2
    assert (normalize_background(np.full((64, 128), 90, np.uint8)) == 0).all()  # nothing but paper


def test_a_plate_without_ink_stays_so():
    blank = np.full((64, 128), 255, np.uint8)
    for seed in range(20):
        plate, box = augment(blank, np.random.default_rng(seed))
        assert (plate == 255).all() and box == (0, 0, 0, 0)


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
    for image in augment_batch(plates, np.random.default_rng(3))[0]:
        assert np.ptp(image.astype(int)) >= 0.5 * LOWEST_CONTRAST
