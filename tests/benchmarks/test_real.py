import json

import numpy as np
import pytest
from conftest import PROJECT, write_plates

from benchmarks import real
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.metrics import EvaluationResult


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command; its exit code, its output, its errors and what it wrote, if anything."""

    def command(*arguments):
        output = tmp_path / "real.json"
        monkeypatch.setattr(real, "OUTPUT", output)
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
    metadata = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    assert written["origin"]["weights"] == metadata["sha256"]["dr_model.h5"]
    assert str(tmp_path) not in json.dumps(written)


def test_a_folder_that_cannot_be_used_costs_one_line(run, tmp_path):
    code, printed, errors, written = run(tmp_path / "nothing")
    assert code == 2 and "nothing" in errors and len(errors.splitlines()) == 1
    assert not printed and written is None


def test_two_folders_of_one_name_are_refused(run, tmp_path):
    first, second = (write_plates(tmp_path / name / "a" / "test", range(1)) for name in "xy")
    code, _, errors, written = run(first, second)
    assert code == 2 and "a/test" in errors and written is None


def test_accepted_readings_are_those_at_the_threshold_or_above():
    labels = np.array(["11111", "22222", "33333", "44444"])
    texts = np.array(["11111", "22229", "33333", "44449"])
    confidence = np.array([0.9995, 0.99, 0.5, 0.2])
    measured = real.measure(EvaluationResult(labels, texts, texts, confidence, {}))
    assert measured["accepted"] == {
        "0.99": {"coverage": 0.5, "wrong": 1},
        "0.999": {"coverage": 0.25, "wrong": 0},
    }
    assert measured["auroc_error_detection"] == 0.75
    alone = real.measure(EvaluationResult(labels, labels, labels, confidence, {}))
    assert alone["auroc_error_detection"] is None  # there are no errors to detect
