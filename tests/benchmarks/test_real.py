import json

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from benchmarks import real
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.plates.dataset import render_plates


def write_folder(folder, positions, records=""):
    """Plates whose file names are their labels, or that have these rows of metadata.csv."""
    folder.mkdir(parents=True)
    plates = render_plates(positions)
    for number, (image, label) in enumerate(zip(plates.images, plates.labels, strict=True)):
        name = number if records else label
        Image.fromarray(image[..., 0]).resize((300, 150)).save(folder / f"{name}.png")
    if records:
        text = f"file_name,text\n{records}".format(*plates.labels)
        (folder / "metadata.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command; its exit code, its output, its errors and what it wrote, if anything."""

    def command(*arguments):
        output = tmp_path / "real.json"
        options = [*map(str, arguments), "--output", str(output)]
        code = run_command(lambda: real.main(options), *ERRORS)
        written = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
        return code, *capsys.readouterr(), written

    return command


def test_folders_are_measured_one_by_one_and_together(run, tmp_path):
    named = write_folder(tmp_path / "first" / "test", range(95_000, 95_003))
    wrong = write_folder(
        tmp_path / "second" / "test", range(95_003, 95_005), "0.png,{0}\n1.png,99999"
    )
    code, printed, _, written = run(named, wrong)
    assert code == 0 and printed == real.result_table(written)
    for sets in (written["sets"], written["tta"]["sets"]):
        counts = [(name, row["images"], row["correct"]) for name, row in sets.items()]
        assert counts == [("first/test", 3, 3), ("second/test", 2, 1), (real.ALL, 5, 4)]
    metadata = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    assert written["origin"]["weights"] == metadata["sha256"]["dr_model.h5"]
    assert str(tmp_path) not in json.dumps(written)


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ("0.png,1234", "0.png"),  # too short
        ("1.png,12345", "0.png"),  # without a record
        (None, "nothing"),  # no folder
    ],
)
def test_a_folder_that_cannot_be_used_costs_one_line(records, named, run, tmp_path):
    folder = tmp_path / "nothing"
    if records is not None:
        write_folder(folder, range(95_000, 95_001), records)
    code, printed, errors, written = run(folder)
    assert code == 2 and named in errors and len(errors.splitlines()) == 1
    assert not printed and written is None


def test_two_folders_of_one_name_are_refused(run, tmp_path):
    first, second = (
        write_folder(tmp_path / name / "a" / "test", range(95_000, 95_001)) for name in "xy"
    )
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
