"""`model_test.py` as a user runs it: a process, its output and its exit code."""

import shutil

import numpy as np
import pytest
from conftest import PROJECT, run_python, write_plates
from PIL import Image

from plate_ocr.utils import read_json

SCRIPT = PROJECT / "model_test.py"


def run(*arguments, cwd, backend="onnx"):
    return run_python(SCRIPT, "--backend", backend, *arguments, cwd=cwd)


@pytest.fixture
def folder(tmp_path):
    """Five plates of the test set in a folder, beside the weights."""
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy(PROJECT / f"dr_model{suffix}", tmp_path)
    (tmp_path / "plates").mkdir()
    for path in sorted((PROJECT / "data" / "test").glob("*.png"))[:5]:
        shutil.copy(path, tmp_path / "plates")
    return tmp_path


def test_the_committed_test_set_with_keras(tmp_path):
    outputs = ("--json", tmp_path / "out.json", "--plot", tmp_path / "new" / "plot.png")
    done = run(*outputs, cwd=PROJECT, backend="keras")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "exact match  60/60  100.00%" in lines
    assert "greedy exact match  60/60  100.00%" in lines
    content = read_json(tmp_path / "out.json")
    assert content["summary"]["exact_match"] == 1 and content["summary"]["images"] == 60
    assert content["summary"]["character_error_rate"] == 0
    assert len(content["readings"]) == 60
    for reading in content["readings"]:
        assert set(reading) == {"file_name", "label", "text", "confidence", "greedy_text"}
        assert reading["text"] == reading["label"] == reading["file_name"][:5]
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.size[0] > 500 and np.asarray(image.convert("L")).std() > 10


def test_unreadable_files_are_named_and_count_as_wrong(folder):
    (folder / "plates" / "11111.png").write_bytes(b"no image")
    (folder / "plates" / "notes.txt").touch()
    (folder / "plates" / "22222.jpg").mkdir()
    shutil.copy(folder / "plates" / "07303.png", folder / "plates" / "a\nb.png")
    done = run("plates", "--json", "out.json", cwd=folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 2
    assert "11111.png" in done.stderr and "22222.jpg" in done.stderr
    assert "\na\\nb.png" in done.stdout  # any file name takes one line
    content = read_json(folder / "out.json")
    assert (content["summary"]["images"], content["summary"]["unreadable"]) == (8, 2)
    assert content["summary"]["exact_match"] == pytest.approx(5 / 7)
    assert content["summary"]["character_error_rate"] == pytest.approx(10 / 35)
    assert content["unreadable"] == ["11111.png", "22222.jpg"]
    assert len(content["readings"]) == 6 and (folder / "predictions.png").is_file()


def test_a_folder_of_nothing_readable_is_not_plotted(folder):
    for path in (folder / "plates").iterdir():
        path.write_bytes(b"")
    assert run("plates", cwd=folder).returncode == 1
    assert not (folder / "predictions.png").exists()


def test_the_table_of_a_large_folder_has_every_wrong_plate(folder):
    _, *paths = write_plates(folder / "large", range(90_000, 90_071)).iterdir()
    for number, path in enumerate(paths):
        path.rename(path.with_stem(f"{number:05d}"))  # wrong labels
    done = run("large", cwd=folder)
    assert done.returncode == 0 and "exact match  1/71" in done.stdout
    assert done.stdout.count("  wrong\n") == 70 and "... and 1 more" in done.stdout


def test_images_without_a_label_are_not_counted(folder):
    path = min((folder / "plates").iterdir())
    path.rename(path.with_stem("1234567"))
    done = run("plates", cwd=folder)
    assert done.returncode == 0 and "exact match  4/4" in done.stdout
    assert "1234567.png" in done.stderr


def test_without_labels_it_only_reads(folder):
    for number, path in enumerate((folder / "plates").iterdir()):
        path.rename(path.with_name(f"photo-{number}.png"))
    done = run("plates", "--json", "out.json", "--min-confidence", "1", cwd=folder)
    assert done.returncode == 0 and "exact match" not in done.stdout and done.stderr == ""
    assert "rejected  " in done.stdout
    content = read_json(folder / "out.json")
    assert content["summary"]["exact_match"] is content["summary"]["character_error_rate"] is None
    assert all(reading["label"] is None for reading in content["readings"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["plates", "--weights", "plates/none.h5", "--plot", "new/plot.png"], "none.h5"),
        (["plates", "--plot", "plot.docx", "--json", "out.json"], "plot.docx"),
        (["plates", "--plot", "new/plot.png", "--json", "plates"], "plates"),
        (["plates", "--json", "plot.svg", "--plot", "plot.svg"], "plot.svg"),
        (["plates", "--json", "dr_model.json"], "dr_model.json"),
        (["plates", "--plot", "plates/plot.png"], "plot.png"),
        (["plates/07303.png", "--plot", "plates/07303.png"], "07303.png"),
    ],
)
def test_invalid_arguments_exit_with_2_and_write_nothing(folder, arguments, named):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2 and named in done.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_one_image_is_read_with_its_label(folder):
    done = run("plates/07303.png", cwd=folder)
    assert done.returncode == 0 and "exact match  1/1" in done.stdout
    assert (folder / "predictions.png").is_file()
