import cv2
import numpy as np
import pytest

from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.dataset import render_plates
from plate_ocr.training.styles import surroundings
from plate_ocr.training.styles.row import Drawing
from plate_ocr.training.styles.surroundings import MARKS, add_surroundings, crop_strip


@pytest.fixture(scope="module")
def inks():
    return render_plates(range(200)).images[..., 0]


def test_surroundings_depend_on_the_generator_alone_and_leave_the_ink(inks):
    first, same, other = (
        add_surroundings(Drawing(inks[0], inks[0]), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert first.plate.shape == (64, 128) and first.plate.dtype == np.uint8
    assert np.array_equal(first.plate, same.plate)
    assert not np.array_equal(first.plate, other.plate)
    assert first.has_surroundings and np.array_equal(first.ink, inks[0])
    blank = np.full((64, 128), 255, np.uint8)
    assert np.array_equal(
        add_surroundings(Drawing(blank, blank), np.random.default_rng(0)).plate, blank
    )


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


@pytest.mark.parametrize("mark", MARKS)
def test_marks_never_hide_digits(mark, inks):
    rng = np.random.default_rng(0)
    marked = 0
    for ink in inks[:100]:
        surface, row = np.zeros(ink.shape, np.float32), surroundings._measure_row(ink, NUM_DIGITS)
        mark(surface, row, rng)
        assert surface.min() >= 0 and surface.max() <= 1.001
        behind_digits = surface[ink < 200]
        assert behind_digits.mean() < 0.25
        if mark in (surroundings._draw_neighbours, surroundings._draw_text):
            assert not surface[row.top : row.bottom, row.left : row.right].any()
        if mark in (surroundings._draw_dividers, surroundings._draw_frame):
            assert behind_digits.max() < 0.45  # soft edges and shadows
        marked += surface.any()
    assert marked > 40


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
