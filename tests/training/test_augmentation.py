from collections import Counter

import cv2
import numpy as np
import pytest

from plate_ocr.plates.dataset import render_plates
from plate_ocr.training import augmentation as module
from plate_ocr.training.augmentation import (
    MIN_CONTRAST,
    MIN_DIGIT_HEIGHT,
    P_CLEAN,
    PlateAugmentation,
    augment,
    bounding_box,
    normalize_background,
    random_geometry,
)
from plate_ocr.training.styles.row import Drawing

TEXTS = ["00000"] * 600


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(600)).images


@pytest.fixture(scope="module")
def augmentation():
    """Without other styles, so that its plates can be compared with the clean ones."""
    return PlateAugmentation(styles={})


def box_size(plate, threshold=128):
    return cv2.boundingRect((plate < threshold).astype(np.uint8))[2:]


def test_a_plate_depends_on_its_seed_alone_and_a_fraction_stays_clean(plates, augmentation):
    before = plates.copy()
    (first, boxes), (same, same_boxes), (other, _) = (
        augmentation(plates, TEXTS, range(start, start + 600)) for start in (0, 0, 1)
    )
    assert first.shape == plates.shape and first.dtype == np.uint8
    assert np.array_equal(first, same) and np.array_equal(boxes, same_boxes)
    assert not np.array_equal(first, other)
    part, _ = augmentation(plates[300:], TEXTS[300:], range(300, 600))
    assert np.array_equal(part, first[300:])
    assert np.array_equal(plates, before)
    clean = (first == plates).all(axis=(1, 2, 3)).mean()
    assert clean == pytest.approx(P_CLEAN, abs=0.04)


def test_styles_and_surroundings_are_drawn_as_often_as_stated(plates, monkeypatch):
    drawn = Counter()

    def draw(name, drawing):
        drawn[name] += 1
        return drawing

    plain = Drawing(plates[0, ..., 0], plates[0, ..., 0])
    monkeypatch.setattr(module, "load_style", lambda name, fonts: lambda *_: draw(name, plain))
    monkeypatch.setattr(module, "add_surroundings", lambda drawing, *_: draw("marks", drawing))
    expected = {"a": 0.3, "b": 0.5, "marks": 0.25}
    augmentation = PlateAugmentation({"a": 0.3, "b": 0.5}, surroundings_prob=0.25)
    augmentation(plates, TEXTS, range(600))
    rates = {name: count / len(plates) for name, count in drawn.items()}
    assert rates == pytest.approx(expected, abs=0.06)


def test_boxes_hold_the_digits_and_every_plate_keeps_some_contrast(plates, augmentation):
    augmented, boxes = augmentation(plates, TEXTS, range(600))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [128, 64]).all()
    assert (boxes[:, 2:] - boxes[:, :2] > [25, 6]).all()
    more_contrast = 0
    for before, plate, box in zip(plates[..., 0], augmented[..., 0], boxes, strict=True):
        left, top, right, bottom = box
        more_contrast += plate[top:bottom, left:right].std() > plate.std()
        assert np.ptp(plate.astype(int)) >= 0.5 * MIN_CONTRAST
        if np.array_equal(before, plate):
            assert tuple(box) == bounding_box(before)
    assert more_contrast > 0.8 * len(plates)


def test_own_plates_become_dark_ink_on_white(plates):
    """Else all of a gray plate would be treated as ink and shrunk like digits."""
    rng = np.random.default_rng(0)
    for clean in plates[:50, :, :, 0]:
        assert normalize_background(clean) is clean
        gray = (60 + clean * 0.5 + rng.normal(0, 2, clean.shape)).astype(np.uint8)
        for plate in (gray, 255 - gray):
            normalized = normalize_background(plate)
            assert (normalized == 255).mean() > 0.7
            for threshold, tolerance in ((128, 1), (255, 2)):
                size = np.subtract(box_size(normalized, threshold), box_size(clean, threshold))
                assert np.abs(size).max() <= tolerance


def test_a_blank_plate_stays_blank():
    blank = np.full((64, 128), 255, np.uint8)
    for seed in range(20):
        plate, box = augment(Drawing(blank, blank), np.random.default_rng(seed))
        assert (plate == 255).all() and box == (0, 0, 0, 0)


def test_no_digit_leaves_the_plate_or_becomes_too_small(plates):
    rng = np.random.default_rng(0)
    stated, found = [], []
    for plate in plates[..., 0]:
        _, warped, height = random_geometry(Drawing(plate, plate), rng)
        # Nothing is cut off: about as much ink as before, for its size.
        scale = height / box_size(plate)[1]
        ink = (255.0 - warped).sum() / (255.0 - plate).sum() / scale**2
        assert ink > 0.35  # squeezed digits have less
        stated.append(height)
        found.append(box_size(warped)[1])
    assert min(stated) >= MIN_DIGIT_HEIGHT * 0.6
    assert np.quantile(stated, 0.05) >= MIN_DIGIT_HEIGHT * 0.9
    assert np.corrcoef(stated, found)[0, 1] > 0.8  # a rotated row is higher than its digits
    assert np.quantile(found, 0.95) > 28  # some as large as the plate allows
