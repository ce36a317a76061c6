from itertools import chain

import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.synthetic_fonts import handwriting
from plate_ocr.training.synthetic_fonts.handwriting import (
    STROKE_TEMPLATES,
    parse_template,
    render_handwriting,
    write_digits,
)
from plate_ocr.training.synthetic_fonts.interpolation import FontInterpolator
from plate_ocr.training.synthetic_fonts.row import SDF_PADDING, SDF_SIZE


@pytest.fixture(scope="module")
def interpolator(fonts):
    return FontInterpolator(fonts[::5])


@pytest.fixture(params=["interpolated", "handwriting"])
def render(request, interpolator):
    return interpolator.render if request.param == "interpolated" else render_handwriting


def test_a_plate_depends_on_its_generator_alone(render):
    first, same, other = (render("01234", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (64, 128) and first.dtype == np.uint8
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_five_dark_digits_are_inside_the_margins(render):
    rng = np.random.default_rng(0)
    separate = 0
    for _ in range(300):
        plate = render(f"{rng.integers(100_000):05d}", rng)
        assert plate.max() == 255 and plate.min() < 100
        ink = plate < 200
        edge = MARGIN - 1
        assert ink.sum() == ink[edge:-edge, edge:-edge].sum()
        columns = np.diff(ink.any(axis=0).astype(int), prepend=0, append=0)
        separate += (columns == 1).sum() >= 5
    assert separate > 0.7 * 300  # slanted and close digits share columns


def test_every_template_fills_the_height_of_a_digit_and_runs_through_its_points():
    for notation in chain(*STROKE_TEMPLATES):
        template = parse_template(notation)
        trajectory = template.basis @ template.points
        assert 0.9 < np.ptp(trajectory[:, 1]) < 1.15 and np.ptp(trajectory[:, 0]) < 0.8
        for point in template.points:
            assert np.abs(trajectory - point).sum(axis=1).min() < 1e-9


def test_pieces_meet_in_a_corner_and_strokes_do_not():
    template = parse_template("0,0 / 58,0 / 20,100 ; 12,50 / 52,48")
    assert len(template.points) == 5
    first, second = np.split(template.basis @ template.points, template.pen_up)
    assert np.abs(np.diff(first, axis=0)).max() < 0.3
    assert first[0].tolist() == [0, 0] and first[-1].tolist() == [0.2, 1]
    assert second[0].tolist() == [0.12, 0.5] and second[-1].tolist() == [0.52, 0.48]


def test_a_writer_repeats_a_digit_with_small_changes():
    fields, boxes, _, _ = write_digits([8, 3, 8], np.random.default_rng(5))
    difference = np.abs(fields[0] - fields[2]).mean()
    assert 0 < difference < 0.5 * np.abs(fields[0] - fields[1]).mean()
    assert np.abs(boxes[0] - boxes[2]).max() < 0.15


def test_a_vertical_line_is_as_wide_as_the_nib(monkeypatch):
    monkeypatch.setattr(handwriting, "STROKE_TEMPLATES", (("20,0 / 20,100",),))
    for name in ("WRITER_STD", "SAMPLE_STD", "P_BROAD_NIB"):
        monkeypatch.setattr(handwriting, name, 0)
    for seed in range(8):
        fields, boxes, half_stroke, _ = write_digits([0], np.random.default_rng(seed))
        assert fields.max() == pytest.approx(half_stroke, abs=0.02)
        columns = (fields[0] > 0).sum(axis=1)[15:25].mean()
        width = columns * (boxes[0, 0] + 2 * SDF_PADDING) / SDF_SIZE[0]
        assert width == pytest.approx(2 * half_stroke, rel=0.25, abs=0.02)
        assert boxes[0, 1] == pytest.approx(1 + 2 * half_stroke)
