"""Every font, and every instance a plate may be drawn in, has ten legible digits."""

import hashlib
import json

import pytest
from conftest import PROJECT

from fonts.prepare import Family, is_legible
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import FontError, load_fonts
from plate_ocr.utils import read_json

FAMILIES = [Family(**family) for family in read_json(PROJECT / "fonts" / "families.json")]


def test_twenty_two_families_with_a_license_each(fonts):
    assert len(fonts) == 22
    assert [font.family for font in fonts] == [family.family for family in FAMILIES]
    for font in fonts:
        license = font.path.with_name(font.path.stem + ".LICENSE.txt").read_text(encoding="utf-8")
        assert "Open Font License" in license or "Apache License" in license


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.slug)
def test_every_instance_draws_ten_different_legible_digits(fonts, family):
    (instances,) = (font.instances for font in fonts if font.path.name == family.path.name)
    assert len(set(instances)) == len(instances)
    for axes in instances:
        assert is_legible(family, dict(axes)), axes


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
