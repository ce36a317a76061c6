import cv2
import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.styles.segments import design_display, render_segments
from plate_ocr.training.styles.squared import render_squared, square_digits


@pytest.fixture(params=[render_segments, render_squared], ids=["segments", "squared"])
def render(request):
    return request.param


def test_a_plate_depends_on_its_generator_alone(render):
    first, same, other = (render("01234", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.plate.shape == (64, 128) and first.plate.dtype == np.uint8
    assert np.array_equal(first.plate, same.plate) and np.array_equal(first.ink, same.ink)
    assert not np.array_equal(first.plate, other.plate)


def test_the_ink_is_where_digits_stand_out_from_the_plate(render):
    rng = np.random.default_rng(0)
    edge, near = MARGIN - 1, np.ones((15, 15), np.uint8)
    for _ in range(100):
        plate, ink, has_surroundings = render(f"{rng.integers(100_000):05d}", rng)
        assert has_surroundings or np.array_equal(plate, ink)
        assert ink.max() == 255 and (ink < 200).sum() == (ink[edge:-edge, edge:-edge] < 200).sum()
        assert np.ptp(np.nonzero(ink < 200)[1]) > 20
        contrast = np.maximum(cv2.dilate(plate, near) - plate, plate - cv2.erode(plate, near))
        assert contrast[ink < 60].min(initial=255) > 30


def test_some_plates_are_plain_and_some_have_tiles_of_their_own_light():
    drawings = [render_segments("88888", np.random.default_rng(seed)) for seed in range(100)]
    assert 10 < sum(drawing.has_surroundings for drawing in drawings) < 90
    grays = [np.unique(drawing.plate[drawing.ink == 0]) for drawing in drawings]
    assert 10 < sum(np.ptp(gray) > 10 for gray in grays if len(gray)) < 50


def test_every_design_of_segments_tells_all_digits_apart():
    lit = [design_display(range(10), np.random.default_rng(seed)).lit for seed in range(60)]
    assert all(len(np.unique(segments, axis=0)) == 10 for segments in lit)
    counts = np.array(lit).sum(axis=2)
    for digit, with_and_without in ((6, {5, 6}), (7, {3, 4}), (9, {5, 6})):
        assert set(counts[:, digit]) == with_and_without


def test_squared_digits_keep_their_counters():
    counters = {1: 0, 2: 0, 3: 0, 5: 0, 6: 1, 7: 0, 8: 2, 9: 1}
    whole = 0
    for seed in range(60):
        fields = square_digits(range(10), np.random.default_rng(seed)).fields
        areas = [cv2.connectedComponents((f <= 0).astype(np.uint8), None, 4)[0] - 2 for f in fields]
        if areas[8] == 2:  # no stencil
            whole += 1
            assert {digit: areas[digit] for digit in counters} == counters, seed
    assert whole > 40
