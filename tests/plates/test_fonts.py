"""Every font, and every instance a plate may be drawn in, has ten legible digits."""

import hashlib
import json

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FontError, load_fonts
from plate_ocr.plates.rendering import FONT_SIZES, render_glyphs

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
        for size in (FONT_SIZES[0], FONT_SIZES[-1]):
            glyphs = render_glyphs(font.path, axes, size)
            heights = np.array([glyph.ink.shape[0] for glyph in glyphs])
            feet = np.array([glyph.bearing_y - glyph.ink.shape[0] for glyph in glyphs])
            assert heights.min() >= 8
            # Hand-lettered digits vary a little; old-style figures would differ by a third.
            assert np.ptp(heights) <= max(3, 0.25 * heights.max()), (axes, size, heights)
            assert np.abs(feet).max() <= max(3, 0.2 * heights.max()), (axes, size, feet)
            for glyph in glyphs:
                assert np.quantile(glyph.ink[glyph.ink > 0], 0.9) >= 140, (axes, size)
                assert glyph.ink.mean() >= 20, (axes, size)
            shapes = {glyph.ink.tobytes() + bytes(glyph.ink.shape) for glyph in glyphs}
            assert len(shapes) == 10


def write_font(folder, content=None):
    """A folder of the first font of the project, or of this content in its place; its path."""
    entry = json.loads((PROJECT / "fonts" / "fonts.json").read_text(encoding="utf-8"))[0]
    content = content or (PROJECT / "fonts" / entry["file"]).read_bytes()
    (folder / entry["file"]).write_bytes(content)
    entry["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "fonts.json").write_text(json.dumps([entry]), encoding="utf-8")
    return folder / entry["file"]


def test_missing_and_changed_fonts_are_named(tmp_path):
    path = write_font(tmp_path)
    assert load_fonts(tmp_path)[0].path == path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FontError, match=path.name):
        load_fonts(tmp_path)
    path.unlink()
    with pytest.raises(FontError, match=path.name):
        load_fonts(tmp_path)


@pytest.mark.parametrize("table", ["{", "[{}]"])
def test_a_malformed_table_is_named(tmp_path, table):
    (tmp_path / "fonts.json").write_text(table, encoding="utf-8")
    with pytest.raises(FontError, match=r"fonts\.json"):
        load_fonts(tmp_path)


def test_a_file_that_is_no_font_is_named(tmp_path):
    path = write_font(tmp_path, b"no font at all")
    with pytest.raises(FontError, match=path.name):
        render_plates(range(1), fonts=tmp_path)
