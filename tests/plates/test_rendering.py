from collections import Counter

import numpy as np
import pytest
from conftest import ink_columns

from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.rendering import (
    FONT_SIZES,
    HELD_OUT_START,
    MARGIN,
    MIN_SPACING,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    compose_plate,
    font_sizes,
    free_space,
    permuted_numbers,
    plate_text,
    render_glyphs,
    render_plate,
)


def assert_inside(image):
    assert image.shape == (PLATE_HEIGHT, PLATE_WIDTH) and image.dtype == np.uint8
    frame = image.copy()
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = 255
    assert (frame == 255).all()


def test_all_ink_is_inside_at_every_extreme(fonts):
    """Every font, instance and size, with its widest digits, in every corner."""
    for font in fonts:
        for axes in font.instances:
            for size in FONT_SIZES:
                glyphs = render_glyphs(font.path, axes, size)
                widest = max(glyphs, key=lambda glyph: glyph.ink.shape[1])
                highest = max(glyphs, key=lambda glyph: glyph.bearing_y)
                lowest = max(glyphs, key=lambda glyph: glyph.ink.shape[0] - glyph.bearing_y)
                for row in (5 * [widest], [highest, lowest, *3 * [widest]]):
                    columns, rows = free_space(row, MIN_SPACING)
                    assert columns >= 0 and rows >= 0, (font.family, axes, size)
                    for spacing in (MIN_SPACING, MIN_SPACING + columns // 4):
                        right, down = free_space(row, spacing)
                        assert_inside(compose_plate(row, spacing, MARGIN, MARGIN))
                        assert_inside(compose_plate(row, spacing, MARGIN + right, MARGIN + down))


def test_recorded_spacing_and_position_are_those_of_the_ink(fonts):
    plates = render_plates(range(2_000), seed=7)
    for image, record in zip(plates.images[..., 0], plates.records, strict=True):
        assert_inside(image)
        rows, columns = ((image < 255).any(axis=axis) for axis in (1, 0))
        assert np.argmax(rows) == record["y"] and record["spacing"] >= MIN_SPACING
        for first, behind in ink_columns(fonts, record):
            assert columns[first] and columns[behind - 1]
            columns[first:behind] = False
        assert not columns.any()  # between the digits and beside them


def test_plates_depend_on_seed_and_position_only():
    first, same, other = (render_plates(range(50), seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.images, same.images) and first.records == same.records
    assert first.labels != other.labels
    assert np.array_equal(render_plates([17], seed=3).images, first.images[17:18])


def test_every_number_is_on_one_plate():
    texts = [plate_text(1, index, digits=4) for index in range(10_000)]
    assert sorted(texts) == [f"{number:04d}" for number in range(10_000)]
    texts = {
        plate_text(1, 1_000 * position + 100_000 * cycle, digits=7)
        for position in range(100)
        for cycle in range(100)
    }
    assert len(texts) == 10_000 and len({text[5:] for text in texts}) == 100


def test_plates_of_other_lengths(fonts):
    sizes = [font_sizes(digits) for digits in (4, 5, 6, 7)]
    assert sizes == [FONT_SIZES, FONT_SIZES, range(15, 21), range(12, 18)]
    for digits in (4, 6, 7):
        for index in range(100):
            image, record = render_plate(fonts, 3, index, digits=digits)
            assert_inside(image)
            assert len(record.text) == digits and record.size in font_sizes(digits)


def test_fonts_and_sizes_are_used_evenly(fonts):
    records = render_plates(range(22 * 200)).records
    assert {Counter(record["font"] for record in records)[font.family] for font in fonts} == {200}
    sizes = Counter(record["size"] for record in records)
    assert min(sizes.values()) == pytest.approx(len(records) / len(FONT_SIZES), rel=0.15)


def test_later_cycles_repeat_the_numbers_in_another_order(fonts):
    first, second = permuted_numbers(1), permuted_numbers(1, cycle=1)
    assert sorted(second) == sorted(first) == list(range(100_000))
    assert (first != second).mean() > 0.99
    assert set(first[HELD_OUT_START:]) == set(second[HELD_OUT_START:])
    _, record = render_plate(fonts, 1, 100_003)
    assert record.text == f"{second[3]:05d}" and record.file_name == f"{record.text}-100003.png"
