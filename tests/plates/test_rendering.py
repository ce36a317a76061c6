import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import succeeds_in_a_fork

from plate_ocr.plates import rendering
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.rendering import (
    HELD_OUT,
    MARGIN,
    MIN_SPACING,
    NUM_DIGITS,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    SIZES,
    check_fits,
    compose_plate,
    font_and_instance,
    font_sizes,
    permuted_numbers,
    plate_text,
    render_glyphs,
    render_plate,
    room,
)


def assert_inside(image):
    assert image.shape == (PLATE_HEIGHT, PLATE_WIDTH) and image.dtype == np.uint8
    frame = image.copy()
    frame[MARGIN:-MARGIN, MARGIN:-MARGIN] = 255
    assert (frame == 255).all()


@pytest.mark.parametrize(
    "digits", [NUM_DIGITS, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 7))]
)
def test_all_ink_is_inside_at_every_extreme(fonts, digits):
    """Every font, instance and size, with its widest digit all over: at every corner."""
    for font in fonts:
        for axes in font.instances:
            for size in font_sizes(digits):
                glyphs = render_glyphs(font.path, axes, size)
                widest = max(glyphs, key=lambda glyph: glyph.ink.shape[1])
                highest = max(glyphs, key=lambda glyph: glyph.rise)
                lowest = max(glyphs, key=lambda glyph: glyph.ink.shape[0] - glyph.rise)
                for row in ([widest] * digits, [highest, lowest, *[widest] * (digits - 2)]):
                    columns, rows = room(row, MIN_SPACING)
                    assert columns >= 0 and rows >= 0, (font.family, axes, size)
                    for gap in (MIN_SPACING, MIN_SPACING + columns // (digits - 1)):
                        right, down = room(row, gap)
                        assert_inside(compose_plate(row, gap, MARGIN, MARGIN))
                        assert_inside(compose_plate(row, gap, MARGIN + right, MARGIN + down))


def test_recorded_gaps_and_places_are_those_of_the_ink(fonts):
    by_family = {font.family: font for font in fonts}
    for index in range(2_000):
        image, record = render_plate(fonts, 7, index)
        assert_inside(image)
        rows, columns = ((image < 255).any(axis=axis) for axis in (1, 0))
        assert (np.argmax(rows), np.argmax(columns)) == (record.y, record.x)
        font = by_family[record.font]
        glyphs = render_glyphs(font.path, tuple(record.axes.items()), record.size)
        left = record.x
        for digit in record.text:
            width = glyphs[int(digit)].ink.shape[1]
            assert columns[left] and columns[left + width - 1]
            gap = columns[left + width : left + width + record.spacing]
            assert record.spacing >= MIN_SPACING and not gap.any()
            left += width + record.spacing
        assert not columns[left - record.spacing :].any()


def test_a_plate_depends_on_its_seed_and_index_alone(fonts):
    forwards = [render_plate(fonts, 3, index) for index in range(200)]
    backwards = [render_plate(fonts, 3, index) for index in reversed(range(200))][::-1]
    for (image, record), (other, other_record) in zip(forwards, backwards, strict=True):
        assert np.array_equal(image, other) and record == other_record
    others = [render_plate(fonts, 4, index)[1].text for index in range(200)]
    assert others != [record.text for _, record in forwards]


def test_every_number_has_one_place():
    assert sorted(permuted_numbers(2026)) == list(range(100_000))
    assert plate_text(2026, 0) != plate_text(2026, 1)


def test_other_counts_of_digits(fonts):
    """Every number comes once, and its plate is inside the frame and smaller only if it must be."""
    assert sorted(plate_text(1, index, 4) for index in range(10_000)) == [
        f"{number:04d}" for number in range(10_000)
    ]
    # Of more than five digits, ten of the hundred rounds: none twice, all endings everywhere.
    texts = {
        plate_text(1, 1000 * place + turn * 100_000, 7)
        for place in range(100)
        for turn in range(100)
    }
    assert len(texts) == 10_000 and {len(text) for text in texts} == {7}
    assert len({text[5:] for text in texts}) == 100
    first = [plate_text(1, index, 6) for index in range(2_000)]
    assert len(set(first)) == 2_000 and {text[5] for text in first[:200]} == set("0123456789")
    assert [font_sizes(digits) for digits in (4, 5, 6, 7)] == [
        SIZES,
        SIZES,
        range(15, 21),
        range(12, 18),
    ]
    for digits in (4, 6, 7):
        image, record = render_plate(fonts, 3, 17, digits=digits)
        assert_inside(image)
        assert len(record.text) == digits and record.size in font_sizes(digits)


def test_digits_too_wide_are_refused(fonts):
    """Whatever number a plate shows: the widest digit must fit."""
    with pytest.raises(FontError, match=r"woff2: (\d)\1{6} at size 25 does not fit the plate"):
        for font in fonts:
            check_fits(font, font.instances[0], 25, 7)


def test_fonts_sizes_and_gaps_are_used_evenly(fonts):
    records = render_plates(range(22 * 400)).records
    for font in fonts:
        assert sum(record["font"] == font.family for record in records) == 400
    for size in SIZES:
        count = sum(record["size"] == size for record in records)
        assert count == pytest.approx(len(records) / len(SIZES), rel=0.1)
    assert len({record["spacing"] for record in records}) >= 20


def test_beyond_all_numbers_they_come_again_in_another_order(fonts):
    first, second = permuted_numbers(1), permuted_numbers(1, turn=1)
    assert sorted(second) == sorted(first) == list(range(100_000))
    assert (first != second).mean() > 0.99
    assert set(first[HELD_OUT:]) == set(second[HELD_OUT:])  # what is held out stays so
    _, record = render_plate(fonts, 1, 100_003)
    assert record.text == f"{second[3]:05d}" and record.file_name == f"{record.text}-100003.png"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_thread_draws_can_draw(fonts):
    font, axes = font_and_instance(fonts, 0)
    with ThreadPoolExecutor(1) as pool:
        begun = threading.Event()

        def draw():
            with rendering.DRAWING:
                begun.set()
                time.sleep(0.2)

        drawing = pool.submit(draw)
        assert begun.wait(10)
        size = 31  # no other test draws it, and keeps what it drew
        assert succeeds_in_a_fork(lambda: len(render_glyphs(font.path, axes, size)) == 10)
        drawing.result()
