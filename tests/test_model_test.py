"""`model_test.py` as a user runs it: a process, its output and its exit code."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, left_in_an_empty_home, start_interruptible
from PIL import Image

import model_test
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import load_metadata, write_metadata
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.reader import TTA_THRESHOLD, PlateReader, Reading

SUMMARY = {
    "images",
    "unreadable",
    "exact_match",
    "exact_match_greedy",
    "character_error_rate",
    "images_per_second",
}


def run(*arguments, cwd, backend="onnx"):
    command = [sys.executable, PROJECT / "model_test.py", "--backend", backend, *arguments]
    environment = os.environ | {"MPLBACKEND": "Agg"}
    environment.pop("DISPLAY", None)
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
def test_a_careful_look_reads_more_of_what_is_not_certain(tmp_path):
    hard = load_benchmark("tuning").sample(600)
    rows = np.flatnonzero(PlateReader().predict(hard.images).text_probability < TTA_THRESHOLD)
    (tmp_path / "hard").mkdir()
    for row in rows:
        Image.fromarray(hard.images[row, :, :, 0]).save(
            tmp_path / "hard" / f"{hard.labels[row]}.png"
        )
    exact = []
    for tta in ((), ("--tta",)):
        report, plot = tmp_path / "report.json", tmp_path / "plot.png"
        done = run(tmp_path / "hard", "--json", report, "--plot", plot, *tta, cwd=PROJECT)
        assert done.returncode == 0, done.stderr
        exact.append(json.loads(report.read_text(encoding="utf-8"))["summary"]["exact_match"])
    assert exact[0] < exact[1]


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
    """The command as it is described, default arguments, from the top of the project."""
    report = tmp_path / "report.json"
    plot = tmp_path / "plot.png"
    done = run("--json", report, "--plot", plot, cwd=PROJECT, backend="keras")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "restoring dr_model.h5 with keras"
    assert "exact match  60/60  100.00 %" in lines
    assert "greedy exact match  60/60  100.00 %" in lines
    assert "character error rate  0.00 %" in lines
    for start in ("mean confidence  ", "images per second  "):
        assert sum(line.startswith(start) for line in lines) == 1
    content = json.loads(report.read_text(encoding="utf-8"))
    assert set(content["summary"]) == SUMMARY
    assert content["summary"]["exact_match"] == 1 and content["summary"]["images"] == 60
    assert len(content["readings"]) == 60
    for reading in content["readings"]:
        assert set(reading) == {"file_name", "label", "text", "confidence", "greedy_text"}
        assert reading["text"] == reading["label"] == reading["file_name"][:5]
    with Image.open(plot) as image:
        assert image.size[0] > 500 and np.asarray(image.convert("L")).std() > 10


def test_an_empty_home_stays_empty(folder):
    command = (PROJECT / "model_test.py", "--backend", "onnx", folder / "plates")
    plot = folder / "plot.png"
    assert left_in_an_empty_home(folder / "home", *command, "--plot", plot) == []
    assert plot.is_file()


def test_unreadable_files_are_named_and_the_rest_is_read(folder):
    (folder / "plates" / "11111.png").write_bytes(b"no image")
    (folder / "plates" / "notes.txt").write_text("not an image name", encoding="utf-8")
    (folder / "plates" / "22222.jpg").mkdir()
    done = run("plates", "--json", "out.json", cwd=folder)
    assert done.returncode == 1
    assert "11111.png: not a PNG" in done.stderr and "22222.jpg: " in done.stderr
    content = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    summary = content["summary"]
    assert (summary["images"], summary["unreadable"]) == (7, 2)
    assert summary["exact_match"] == pytest.approx(5 / 7)  # unreadable ones count as wrong
    assert summary["character_error_rate"] == pytest.approx(10 / 35)
    assert content["unreadable"] == ["11111.png", "22222.jpg"]
    assert len(content["readings"]) == 5 and (folder / "predictions.png").is_file()


def test_of_many_plates_every_wrong_one_is_told(folder):
    shutil.rmtree(folder / "plates")
    (folder / "plates").mkdir()
    plates = render_plates(range(90_000, 90_070))
    for number, image in enumerate(plates.images[:, :, :, 0]):
        Image.fromarray(image).save(folder / "plates" / f"{number:05d}.png")  # no number of theirs
    Image.fromarray(plates.images[0, :, :, 0]).save(folder / "plates" / f"{plates.labels[0]}.png")
    done = run("plates", cwd=folder)
    assert done.returncode == 0 and "exact match  1/71" in done.stdout
    assert done.stdout.count("  wrong\n") == 70 and "... and 1 more" in done.stdout


def test_a_folder_of_nothing_readable(folder):
    for path in (folder / "plates").iterdir():
        path.write_bytes(b"")
    done = run("plates", cwd=folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 5
    assert not (folder / "predictions.png").exists()


def test_labels_of_another_length_are_told(folder):
    first = min((folder / "plates").iterdir())
    first.rename(first.with_name("1234567.png"))
    done = run("plates", "--backend", "onnx", cwd=folder)
    assert done.returncode == 0 and "exact match  4/4" in done.stdout
    assert "5 digits" in done.stderr and "1234567.png" in done.stderr


def test_images_without_record_count_for_nothing_beside_those_that_have_one(folder):
    """A name is no label where a table has the labels."""
    first, *others = sorted(path.name for path in (folder / "plates").iterdir())
    table = "file_name,text\n" + "".join(f"{name},{name[:5]}\n" for name in others)
    (folder / "plates" / "metadata.csv").write_text(table, encoding="utf-8")
    (folder / "plates" / "thumbnail.gif").touch()
    done = run("plates", "--backend", "onnx", cwd=folder)
    assert done.returncode == 0 and "exact match  4/4" in done.stdout
    left_out, unread = sorted(done.stderr.splitlines())
    assert first in left_out and "thumbnail.gif" in unread


def test_without_labels_it_only_reads(folder):
    for number, path in enumerate((folder / "plates").iterdir()):
        path.rename(path.with_name(f"photo-{number}.png"))
    done = run("plates", "--json", "out.json", "--min-confidence", "1", cwd=folder)
    assert done.returncode == 0 and "exact match" not in done.stdout
    assert "refused  " in done.stdout
    content = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert content["summary"]["exact_match"] is None
    assert content["summary"]["character_error_rate"] is None
    assert all(reading["label"] is None for reading in content["readings"])


def test_labels_from_metadata(folder):
    plates = render_plates(range(90_000, 90_002))
    shutil.rmtree(folder / "plates")
    (folder / "plates").mkdir()
    lines = []
    for number, (image, text) in enumerate(zip(plates.images, plates.labels, strict=True)):
        Image.fromarray(image[:, :, 0]).resize((256, 128)).save(folder / f"plates/{number}.webp")
        lines.append(json.dumps({"file_name": f"{number}.webp", "text": text}) + "\n")
    (folder / "plates" / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    done = run("plates", cwd=folder)
    assert done.returncode == 0 and "exact match  2/2" in done.stdout
    (folder / "plates" / "metadata.jsonl").unlink()
    table = f"file_name,text\n0.webp,{plates.labels[0]}\n1.webp,00000\n"
    (folder / "plates" / "metadata.csv").write_text(table, encoding="utf-8")
    done = run("plates", cwd=folder)
    assert done.returncode == 0 and "exact match  1/2" in done.stdout


def test_labels_of_seven_digits(folder):
    """The weights say how many digits there are; these are not trained for them."""
    weights = folder / "dr_model.h5"
    write_metadata(weights, load_metadata(weights) | {"digits": 7})
    plates = render_plates(range(90_000, 90_002), digits=7)
    for image, text in zip(plates.images, plates.labels, strict=True):
        Image.fromarray(image[:, :, 0]).save(folder / "plates" / f"{text}.png")
    done = run("plates", "--json", "out.json", cwd=folder)
    assert done.returncode == 0 and "/2 " in done.stdout
    content = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert {len(reading["text"]) for reading in content["readings"]} == {7}
    assert {reading["label"] for reading in content["readings"]} == {None, *plates.labels}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: No such file or directory"),
        (["empty"], "empty: holds no images"),
        (["plates", "--weights", "none.h5"], "none.h5: there is no such file"),
        (["plates", "--weights", "plates/none.h5"], "none.h5: there is no such file"),
        (["plates", "--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["plates", "--plot", "nowhere/plot.png"], "there is no folder nowhere"),
        (["plates", "--plot", "plot.docx", "--json", "out.json"], "plot.docx: not a kind of"),
        (["plates", "--weights", "."], ".: there is no such file"),
        (["plates", "--min-confidence", "2"], "--min-confidence: must be 0 to 1"),
        (["plates", "--json", "plates"], "plates: Is a directory"),
        (["plates", "--plot", "/proc/plot.png"], "/proc/plot.png: "),
        (["plates", "--json", "/proc/out.json"], "/proc/out.json: "),
        (["plates", "--json", "plot.svg", "--plot", "plot.svg"], "plot.svg"),
        (["plates", "--json", "dr_model.json"], "dr_model.json: is read here"),
        (["plates", "--json", "plates/metadata.jsonl"], "metadata.jsonl: is read here"),
        (["plates", "--plot", "plates/plot.png"], "plot.png: would lie among the plates"),
        (["plates/07303.png", "--plot", "plates/07303.png"], "07303.png: is read here"),
        ([""], "must name a file or folder"),
        (["plates", "--backend", "abacus"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_exits_with_two(folder, arguments, message):
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2 and message in done.stderr
    assert sorted(folder.rglob("*")) == before  # nothing half-written


def test_truncated_weights_exit_with_two(folder):
    path = folder / "dr_model.h5"
    path.write_bytes(path.read_bytes()[:1000])
    done = run("plates", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("dr_model.h5: truncated or changed")


def test_one_image_is_read_with_its_label(folder):
    image = min((folder / "plates").iterdir())
    done = run(f"plates/{image.name}", "--json", "out.json", cwd=folder)
    assert done.returncode == 0 and "exact match  1/1" in done.stdout
    assert (folder / "predictions.png").is_file()
    record = json.dumps({"file_name": image.name, "text": "00000"})
    (folder / "plates" / "metadata.jsonl").write_text(record, encoding="utf-8")
    done = run(f"plates/{image.name}", cwd=folder)
    assert done.returncode == 0 and "exact match  0/1" in done.stdout
    done = run("dr_model.json", cwd=folder)
    assert done.returncode == 1 and "dr_model.json: not a PNG" in done.stderr


def rows_of(*readings):
    """Rows of labels, texts, greedy texts and confidences."""
    return [
        model_test.Row(Path(f"{label}.png"), label, Reading(text, confidence, (), greedy))
        for label, text, greedy, confidence in readings
    ]


def test_greedy_decoding_is_counted_beside_the_reading(capsys):
    rows = rows_of(("11234", "11234", "1234", 0.6), ("56789", "56789", "56789", 0.9))
    summary = model_test.summary_of(rows, images_per_second=1)
    assert (summary["exact_match"], summary["exact_match_greedy"]) == (1.0, 0.5)
    model_test.report(rows, summary, min_confidence=0)
    lines = capsys.readouterr().out.splitlines()
    assert "exact match  2/2  100.00 %" in lines and "greedy exact match  1/2  50.00 %" in lines


def test_a_reading_exactly_at_the_threshold_is_accepted(capsys):
    rows = rows_of(("11234", "11234", "11234", 0.5))
    summary = model_test.summary_of(rows, images_per_second=1)
    for least, refused in ((0.5, 0), (math.nextafter(0.5, 1), 1)):
        model_test.report(rows, summary, min_confidence=least)
        out = capsys.readouterr().out
        assert f"refused  {refused}/1" in out and out.count("  refused\n") == refused


def test_an_output_that_nobody_reads_is_no_error(folder):
    command = f'"{sys.executable}" "{PROJECT}/model_test.py" plates --backend onnx | exec true'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_any_name_of_a_file_is_one_line(folder):
    image = min((folder / "plates").iterdir())
    for name in (b"a\nb.png", b"\xff.png"):
        shutil.copy(image, os.fsdecode(bytes(folder / "plates") + b"/" + name))
    done = run("plates", "--json", "out.json", cwd=folder)
    assert done.returncode == 0 and "\na\\nb.png" in done.stdout
    content = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert "a\nb.png" in [reading["file_name"] for reading in content["readings"]]


def test_interrupted_it_says_so(folder):
    command = [PROJECT / "model_test.py", "plates", "--backend", "keras"]
    process = start_interruptible(*command, cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith("restoring ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err.splitlines()[-1] == "interrupted", err
    assert "Traceback" not in err and not (folder / "predictions.png").exists()


def test_broken_metadata_exits_with_two(folder):
    (folder / "plates" / "metadata.jsonl").write_text("{", encoding="utf-8")
    done = run("plates", cwd=folder)
    assert done.returncode == 2 and "metadata.jsonl:1: " in done.stderr
