"""Every font, and every instance a plate may be drawn in, has ten legible digits."""

import json
import shutil

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FontError, load_fonts
from plate_ocr.plates.rendering import SIZES, render_glyphs

FAMILIES = [font.family for font in load_fonts()]


def test_twenty_two_families_with_a_licence_each(fonts):
    assert len(fonts) == len(set(FAMILIES)) == 22
    for font in fonts:
        licence = font.path.with_name(font.path.stem + ".LICENSE.txt").read_text(encoding="utf-8")
        assert "Open Font License" in licence or "Apache License" in licence


@pytest.mark.parametrize("family", FAMILIES)
def test_every_instance_draws_ten_different_legible_digits(fonts, family):
    font = next(font for font in fonts if font.family == family)
    assert len(set(font.instances)) == len(font.instances)
    for axes in font.instances:
        for size in (SIZES[0], SIZES[-1]):
            glyphs = render_glyphs(font.path, axes, size)
            heights = np.array([glyph.ink.shape[0] for glyph in glyphs])
            feet = np.array([glyph.rise - glyph.ink.shape[0] for glyph in glyphs])
            assert heights.min() >= 8
            # A hand-lettered face dances a little; old-style figures would differ by a third.
            assert np.ptp(heights) <= max(3, 0.25 * heights.max()), (axes, size, heights)
            assert np.abs(feet).max() <= max(3, 0.2 * heights.max()), (axes, size, feet)
            for glyph in glyphs:
                assert np.quantile(glyph.ink[glyph.ink > 0], 0.9) >= 140, (axes, size)
                assert glyph.ink.mean() >= 20, (axes, size)
            shapes = {glyph.ink.tobytes() + bytes(glyph.ink.shape) for glyph in glyphs}
            assert len(shapes) == 10


def copy_one_font(folder):
    """A folder of one font, and its table."""
    entry = json.loads((PROJECT / "fonts" / "fonts.json").read_text(encoding="utf-8"))[0]
    shutil.copy(PROJECT / "fonts" / entry["file"], folder)
    (folder / "fonts.json").write_text(json.dumps([entry]), encoding="utf-8")
    return folder / entry["file"], entry


def test_a_missing_font_is_named(tmp_path):
    path, _ = copy_one_font(tmp_path)
    path.unlink()
    with pytest.raises(FontError, match=f"{path.name}: No such file"):
        load_fonts(tmp_path)


def test_a_changed_font_is_named(tmp_path):
    path, _ = copy_one_font(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FontError, match=f"{path.name}: differs"):
        load_fonts(tmp_path)


@pytest.mark.parametrize("table", ["", "{}", "[{}]", '[{"family": 1}]', "[]", "[" * 100_000])
def test_a_broken_table_is_named(tmp_path, table):
    (tmp_path / "fonts.json").write_text(table, encoding="utf-8")
    with pytest.raises(FontError, match=r"fonts\.json"):
        load_fonts(tmp_path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    _, entry = copy_one_font(tmp_path)
    table = json.dumps([entry | {"file": "a\0b"}])
    (tmp_path / "fonts.json").write_text(table, encoding="utf-8")
    with pytest.raises(FontError, match=r"fonts\.json"):
        load_fonts(tmp_path)


def use_file(folder, entry, path):
    import hashlib

    entry |= {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "fonts.json").write_text(json.dumps([entry | {"instances": [{}]}]), encoding="utf-8")


def test_an_unreadable_font_is_named(tmp_path):
    path, entry = copy_one_font(tmp_path)
    path.write_bytes(b"no font at all")
    use_file(tmp_path, entry, path)
    with pytest.raises(FontError, match=f"{path.name}: not a readable font"):
        render_plates(range(1), fonts=tmp_path)


def test_a_font_without_digits_is_named(tmp_path):
    from fontTools import subset

    path, entry = copy_one_font(tmp_path)
    letters = path.with_name("letters.ttf")
    subset.main([str(path), "--text=ABC", f"--output-file={letters}", "--flavor="])
    use_file(tmp_path, entry, letters)
    with pytest.raises(FontError, match=r"letters\.ttf: (has no digits|draws no ink)"):
        render_plates(range(1), fonts=tmp_path)
