"""What pages state was measured, with the shipped weights; and their links lead somewhere."""

import json
import re
from dataclasses import fields

import pytest
from conftest import PROJECT

from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.training.config import TrainConfig
from tools import tables

PAGES = [
    *tables.PAGES,
    PROJECT / "CHANGELOG.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted(PROJECT.glob("results/*.md")),
    *(PROJECT / folder / "README.md" for folder in ("data", "data/benchmark", "fonts")),
]


def read(name):
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_tables_of_a_page_are_those_of_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert tables.fill(text) == text  # else: make figures


def test_generated_reports_are_those_of_the_results():
    for name, content in tables.reports().items():
        assert read(f"results/{name}") == content  # else: make figures


def test_every_setting_of_a_run_has_a_title():
    names = {field.name for field in fields(TrainConfig)} - {"name", "seed"}
    assert tables.SETTINGS.keys() == names


# All but those of ablations, which train networks of their own.
RESULTS = sorted({path.stem for path in tables.RESULTS.glob("*.json")} - {"ablations"})


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_of_the_shipped_weights(name):
    assert tables.load(name)["origin"].keys() == origin(DEFAULT_WEIGHTS).keys()


@pytest.mark.parametrize("content", [{}, {"origin": {"weights": "0" * 64}}])
def test_a_result_of_other_weights_is_refused(content, tmp_path, monkeypatch):
    (tmp_path / "tta.json").write_text(json.dumps(content | {"sets": {}}))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(tables.ResultsError, match=r"tta\.json"):
        tables.tta_ablation()


def test_the_readme_prints_what_it_says(capsys, monkeypatch):
    code, output = re.search(
        r"```python\n(.*?)```\s+```\n(.*?)```", read("README.md"), re.S
    ).groups()
    monkeypatch.chdir(PROJECT)
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
            assert anchor in slugs, link
