import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_plates

from benchmarks import fine_tuning, real, report, results
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.plates.dataset import DatasetError


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command; its exit code, its output, its errors and what it wrote, if anything."""

    def command(*arguments):
        output = tmp_path / "results" / "real.json"
        monkeypatch.setattr(results, "RESULTS", output.parent)
        code = run_command(lambda: real.main([*map(str, arguments)]), *ERRORS)
        written = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
        return code, *capsys.readouterr(), written

    return command


def test_folders_are_measured_one_by_one_and_together(run, tmp_path):
    first = write_plates(tmp_path / "first" / "test", range(95_000, 95_003), size=(300, 150))
    second = write_plates(tmp_path / "second" / "test", range(95_003, 95_005))
    min(second.iterdir()).rename(second / "99999.png")
    code, printed, _, written = run(first, second)
    assert code == 0 and printed == real.result_table(written)
    for sets in (written["sets"], written["tta"]["sets"]):
        counts = [(name, row["images"], row["correct"]) for name, row in sets.items()]
        assert counts == [("first/test", 3, 3), ("second/test", 2, 1), (real.ALL, 5, 4)]
    assert written["origin"] == origin(DEFAULT_WEIGHTS)
    assert str(tmp_path) not in json.dumps(written)


@pytest.mark.parametrize(
    ("folders", "named"), [(["nothing"], "nothing"), (["x/a/test", "y/a/test"], "a/test")]
)
def test_a_folder_that_is_missing_or_has_the_name_of_another_is_refused(
    run, tmp_path, folders, named
):
    for name in "xy":
        write_plates(tmp_path / name / "a" / "test", range(1))
    code, printed, errors, written = run(*(tmp_path / folder for folder in folders))
    assert code == 2 and named in errors and len(errors.splitlines()) == 1
    assert not printed and written is None


def test_a_folder_under_the_root_is_a_row_of_tables():
    folders = [Path("/images"), Path("/data/images"), Path("/")]
    names = list(real.by_name(folders, parts=2))
    assert names == list(report.titles(names)) == ["/images", "data/images", "/"]


def test_fine_tuning_on_two_folders_of_one_name_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fine_tuning", "a/meters", "b/meters"])
    with pytest.raises(DatasetError, match="meters: two folders have this name"):
        fine_tuning.main()


def test_accepted_readings_are_those_at_the_threshold_or_above():
    labels = np.array(["11111", "22222", "33333", "44444"])
    texts = np.array(["11111", "22229", "33333", "44449"])
    confidence, records = np.array([0.9995, 0.99, 0.5, 0.2]), np.array([{}] * 4)
    measured = real.measure(EvaluationResult(labels, texts, texts, confidence, records))
    assert measured["accepted"] == {
        "0.99": {"coverage": 0.5, "wrong": 1},
        "0.999": {"coverage": 0.25, "wrong": 0},
    }
    assert measured["auroc_error_detection"] == 0.75
    alone = real.measure(EvaluationResult(labels, labels, labels, confidence, records))
    assert alone["auroc_error_detection"] is None  # there are no errors to detect
