import cv2
import numpy as np
import pytest

from plate_ocr.plates.dataset import render_plates
from plate_ocr.training.styles.row import Drawing
from plate_ocr.training.styles.surroundings import add_surroundings, crop_strip


@pytest.fixture(scope="module")
def inks():
    return render_plates(range(200)).images[..., 0]


def test_surroundings_depend_on_the_generator_alone_and_leave_the_ink(inks):
    def surround(ink, seed):
        return add_surroundings(Drawing(ink, ink), np.random.default_rng(seed))

    first, same, other = (surround(inks[0], seed) for seed in (1, 1, 2))
    assert first.plate.shape == (64, 128) and first.plate.dtype == np.uint8
    assert np.array_equal(first.plate, same.plate)
    assert not np.array_equal(first.plate, other.plate)
    assert first.has_surroundings and np.array_equal(first.ink, inks[0])
    blank = np.full((64, 128), 255, np.uint8)
    assert np.array_equal(surround(blank, 0).plate, blank)


def test_every_digit_stands_out(inks):
    rng = np.random.default_rng(0)
    light = 0
    for ink in inks:
        plate = add_surroundings(Drawing(ink, ink), rng).plate.astype(int)
        _, digits = cv2.connectedComponents((ink < 128).astype(np.uint8))
        for digit in range(1, digits.max() + 1):
            inside = (digits == digit).astype(np.uint8)
            around = cv2.dilate(inside, np.ones((7, 7), np.uint8)) > (ink < 255)
            strokes = plate[(inside > 0) & (ink <= ink[inside > 0].min() + 10)]
            contrast = np.median(plate[around]) - np.median(strokes)
            assert abs(contrast) > 45
            light += contrast < 0
    assert light  # tiles differ in polarity


@pytest.mark.parametrize(("box", "axis"), [((10, 20, 110, 40), 0), ((50, 5, 80, 60), 1)])
def test_a_strip_around_the_digits_is_kept_and_the_rest_gets_one_gray(box, axis):
    rng = np.random.default_rng(0)
    plate = rng.integers(0, 255, (64, 128), dtype=np.uint8)
    left, top, right, bottom = box
    for _ in range(50):
        cropped = crop_strip(plate, box, rng)
        kept = (cropped == plate).all(axis=1 - axis)
        assert kept[[top + 1, bottom - 2] if axis == 0 else [left + 3, right - 4]].all()
        assert len(np.unique(np.compress(~kept, cropped, axis))) <= 1
