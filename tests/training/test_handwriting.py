import numpy as np
import pytest

from plate_ocr.training.synthetic_fonts import handwriting
from plate_ocr.training.synthetic_fonts.handwriting import FORMS, _read, _run, write_digits

RIM, SIZE = 0.1, (32, 40)


def write(digits, seed):
    return write_digits(digits, RIM, SIZE, np.random.default_rng(seed))


def test_every_digit_has_several_forms_and_each_fills_its_height():
    assert len(FORMS) == 10
    for forms in FORMS:
        assert len(forms) >= 4
        for form in map(_read, forms):
            way = form.way @ form.points
            assert 0.9 < np.ptp(way[:, 1]) < 1.15 and 0 <= np.ptp(way[:, 0]) < 0.8


def test_the_pen_runs_through_its_points():
    points = np.array([[0, 0], [1, 2], [3, 1], [4, 4.0]])
    way = _run(len(points)) @ points
    for point in points:
        assert np.abs(way - point).sum(axis=1).min() < 1e-9
    straight = _run(2) @ points[:2]
    assert np.allclose(straight[:, 1], 2 * straight[:, 0])


def test_pieces_meet_in_a_corner_and_strokes_do_not():
    form = _read("0,0 / 58,0 / 20,100 ; 12,50 / 52,48")
    assert len(form.points) == 5
    first, second = np.split(form.way @ form.points, form.lifts)
    assert np.abs(np.diff(first, axis=0)).max() < 0.3
    assert first[0].tolist() == [0, 0] and first[-1].tolist() == [0.2, 1]
    assert second[0].tolist() == [0.12, 0.5] and second[-1].tolist() == [0.52, 0.48]


def test_a_number_depends_on_its_generator_alone():
    one, again, other = (write([0, 1, 2, 3, 4], seed)[0] for seed in (1, 1, 2))
    assert one.shape == (5, 40, 32) and one.dtype == np.float32
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_a_hand_writes_a_digit_nearly_the_same_twice():
    fields, boxes, _ = write([8, 3, 8], 5)
    apart = np.abs(fields[0] - fields[2]).mean()
    assert 0 < apart < 0.5 * np.abs(fields[0] - fields[1]).mean()
    assert np.abs(boxes[0] - boxes[2]).max() < 0.15


@pytest.mark.parametrize("seed", range(8))
def test_an_upright_line_is_as_wide_as_the_pen(seed, monkeypatch):
    monkeypatch.setattr(handwriting, "FORMS", (("20,0 / 20,100",),))
    monkeypatch.setattr(handwriting, "UNEVEN", 0)
    monkeypatch.setattr(handwriting, "UNSTEADY", 0)
    monkeypatch.setattr(handwriting, "_pick_pen", lambda random: np.eye(2))
    handwriting._forms.cache_clear()
    fields, boxes, half_stroke = write([0], seed)
    handwriting._forms.cache_clear()
    assert fields.max() == pytest.approx(half_stroke, abs=0.02)
    inked = (fields[0] > 0).sum(axis=1)[15:25].mean() * (boxes[0, 0] + 2 * RIM) / SIZE[0]
    assert inked == pytest.approx(2 * half_stroke, rel=0.25, abs=0.02)
    # The rest of the box is what the line leans by.
    assert boxes[0, 1] == pytest.approx(1 + 2 * half_stroke)
