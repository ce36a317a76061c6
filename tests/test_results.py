"""Every figure that is told was measured: README and notebooks against results/."""

import json
import re

import nbformat
import pytest
from conftest import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def described():
    path = PROJECT / "results" / "training_described.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_bars(described):
    measured = described["measured"]
    assert measured["test_exact"] == measured["test_plates"] == 60
    assert measured["fresh_plates"] == 9_940
    assert described["recipe"]["plates"] == 60_000


def test_readme_tells_the_measured_figures(described):
    measured = described["measured"]
    exact, fresh = measured["fresh_exact"], measured["fresh_plates"]
    for figure in (
        f"{exact:,} of {fresh:,}",
        f"{100 * exact / fresh:.2f} %",
        f"{measured['loss_on_training_plates']:.6f}",
        f"{measured['test_exact']} of {measured['test_plates']}",
        f"{described['epochs']} epochs",
        f"epoch {described['best_epoch']}",
        f"{described['minutes']:.0f} minutes",
    ):
        assert figure in README, figure


def test_readme_tells_the_size_of_the_network():
    from plate_ocr.model import build_model, count_multiply_adds

    model = build_model()
    assert f"{model.count_params():,} parameters" in README
    assert f"{count_multiply_adds(model) / 1e6:.1f} million multiply-adds" in README


def test_training_notebook_concludes_with_the_measured_figures(described):
    notebook = nbformat.read(PROJECT / "training.ipynb", as_version=4)
    conclusion = notebook.cells[-1].outputs[0]["data"]["text/markdown"]
    measured = described["measured"]
    assert f"{measured['fresh_exact']:,} of {measured['fresh_plates']:,}" in conclusion
    assert f"{measured['loss_on_training_plates']:.6f}" in conclusion
    assert f"for {described['epochs']} epochs" in conclusion


def test_every_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) >= 4
    for link in links:
        assert link.startswith("http") or (PROJECT / link).exists(), link
