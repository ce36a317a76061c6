import cv2
import numpy as np

from plate_ocr.training.styles.segments import design_display
from plate_ocr.training.styles.squared import square_digits


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
