"""`plate-ocr` as a user runs it: a process, its output and its exit code."""

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, PROJECT, environment_with_home, interrupt, run_python
from PIL import Image

from plate_ocr.cli import main
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.reader import PlateReader

TEST = PROJECT / "data" / "test"
COMMANDS = "read generate validate label draw-many read-many train fine-tune calibrate export"


def run(*arguments):
    done = run_python("-m", "plate_ocr", *arguments)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def plates():
    return sorted(TEST.glob("*.png"))[:3]


def test_files_and_folders_are_read_in_order(plates):
    code, out, err = run("read", *plates, TEST)
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and err == "" and len(lines) == 63
    assert [file for file, *_ in lines[:3]] == [str(path) for path in plates]
    assert all(text == Path(file).stem for file, text, _ in lines)
    assert all(0 <= float(confidence) <= 1 for *_, confidence in lines)


def test_json_and_csv_hold_the_same_readings(plates):
    rows = [json.loads(line) for line in run("read", "--json", *plates)[1].splitlines()]
    assert [set(row) for row in rows] == [{"file", "text", "confidence", "rejected", "digits"}] * 3
    assert "".join(digit["digit"] for digit in rows[0]["digits"]) == rows[0]["text"]
    table = list(csv.DictReader(io.StringIO(run("read", "--csv", *plates)[1])))
    for name in ("file", "text", "rejected"):
        assert [row[name] for row in table] == [str(row[name]) for row in rows]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_reading_leaves_an_empty_home_empty(plates, tmp_path, backend):
    command = [sys.executable, "-m", "plate_ocr", "read", "--backend", backend, plates[0]]
    environment = environment_with_home(tmp_path)
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", [(), ("--csv",), ("--json",)])
def test_readings_below_the_threshold_are_rejected(layout, plates, capsys):
    confidence = PlateReader().read(plates[0]).confidence
    for threshold, rejected in ((confidence, False), (math.nextafter(confidence, 2), True)):
        arguments = ["read", "--min-confidence", repr(threshold), *layout, str(plates[0])]
        assert main(arguments) == 0
        out = capsys.readouterr().out.lower()
        assert ("\trejected" in out or ",true" in out or '"rejected": true' in out) == rejected


def test_test_time_augmentation_changes_the_confidence_of_uncertain_plates(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert run("read", tmp_path / "noise.png")[1] != run("read", "--tta", tmp_path / "noise.png")[1]


def test_what_cannot_be_read_costs_no_other_image_its_reading(plates, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.webp")
    faults = [*tmp_path.iterdir(), "none.png", 300 * "x"]
    code, out, err = run("read", plates[0], *faults, plates[1])
    assert code == 1 and len(out.splitlines()) == 2 and len(err.splitlines()) == len(faults)
    assert all(str(fault) in err for fault in faults)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "required"),
        (("read", "--min-confidence", "2", "x.png"), "--min-confidence"),
        (("read", "--weights", PROJECT / "README.md", TEST), "README.md"),
        (("read", "--weights", "none.h5", TEST), "none.h5"),
        (("read", ""), "is empty"),
        (("generate", "elsewhere"), "give start and count"),
        (("train", TEST, "mine.weights.h5"), "mine.weights.h5"),
        (("train", "nowhere", "new/mine.h5"), "nowhere"),
        (("train", TEST, "new/mine.h5", "--initial-weights", "none.h5"), "none.h5"),
        (("train", ".", "x.h5", "--num-processes", "2"), "--coordinator-address"),
        (("fine-tune", TEST), "--output"),
        (("fine-tune", TEST, "--output", "mine", "--minutes", "0"), "--minutes"),
        (("label", "nowhere"), "nowhere"),
    ],
)
def test_invalid_arguments_exit_with_2_and_write_nothing(
    arguments, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):  # as argparse does
        sys.exit(main([*map(str, arguments)]))
    out, err = capsys.readouterr()
    assert out == "" and named in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS.split())
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"plate-ocr {command} " in capsys.readouterr().out


def test_a_generated_folder_is_valid_until_a_plate_is_lost(tmp_path):
    folder = tmp_path / "mine"
    assert run("generate", folder, "--start", 9_000, "--count", 4, "--digits", 4)[0] == 0
    assert [len(path.stem) for path in folder.glob("*.png")] == [4] * 4
    assert (run("validate", folder)[0], run("validate", folder, "--digits", 5)[0]) == (0, 1)
    path = min(folder.glob("*.png"))
    path.unlink()
    code, out, _ = run("validate", folder)
    assert code == 1 and path.name in out


def test_ctrl_c_while_a_folder_is_written(tmp_path):
    command = ["-m", "plate_ocr", "generate", tmp_path / "mine", "--start", "0", "--count", "6000"]
    interrupt(lambda: any(tmp_path.glob("mine/[0-9]*.png")), *command)


def test_proposed_labels_are_valid_and_never_replaced(plates, tmp_path, random_weights, capsys):
    for number, path in enumerate(plates):
        shutil.copy(path, tmp_path / f"a, {number}.png")
    (tmp_path / "cut.png").write_bytes(b"")
    command = ["label", str(tmp_path), "--weights", str(random_weights), "--digits", "4"]
    assert main(command) == 1 and "cut.png" in capsys.readouterr().err
    path = tmp_path / "metadata.csv"
    content = path.read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    confidence = [float(row["confidence"]) for row in rows]
    assert len(rows) == 3 and confidence == sorted(confidence)
    (tmp_path / "cut.png").unlink()
    assert main(["validate", str(tmp_path), "--digits", "4"]) == 0
    texts = {row["file_name"]: row["text"] for row in rows}
    assert load_folder(tmp_path, digits=4).labels == [texts[name] for name in sorted(texts)]
    capsys.readouterr()
    assert main(command) == 2 and str(path) in capsys.readouterr().err
    assert path.read_bytes() == content


def test_an_image_whose_name_is_no_text_gets_no_proposals(plates, tmp_path, random_weights, capsys):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(plates[0].read_bytes())
    assert main(["label", str(tmp_path), "--weights", str(random_weights)]) == 2
    assert len(list(tmp_path.iterdir())) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def in_shell(command):
    # Buffered, as for most users: then output may fail only when Python ends.
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=PROJECT,
        env=ENVIRONMENT | {"PYTHONUNBUFFERED": "", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("-m plate_ocr read data/test data/test data/test | head -n 1 > /dev/null", 0),
        ("-m plate_ocr validate data/test | exec true", 0),
        ("model_test.py data/test/32045.png --backend onnx --plot {tmp}/x.png | exec true", 0),
    ],
)
def test_a_closed_pipe_is_no_error(command, code, tmp_path):
    done = in_shell(f"$PYTHON {command.format(tmp=tmp_path)}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_full_disk_behind_the_output_is_one_line():
    done = in_shell("$PYTHON -m plate_ocr read data/test > /dev/full")
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_standard_input_is_read_and_named():
    done = in_shell("$PYTHON -m plate_ocr read - < data/test/32045.png")
    assert done.returncode == 0 and done.stdout.split("\t")[:2] == ["-", "32045"]
    done = in_shell("$PYTHON -m plate_ocr read - data/test/32045.png < README.md")
    assert done.returncode == 1 and "32045" in done.stdout
    assert "standard input: " in done.stderr and done.stderr.count("\n") == 1


def test_a_file_may_have_the_name_of_standard_input(plates, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(plates[0], "-")
    assert main(["read", "./-"]) == 0
    assert capsys.readouterr().out.split("\t")[:2] == ["./-", plates[0].stem]


@pytest.mark.parametrize("command", [("read",), ("read", "--csv"), ("read", "--json")])
def test_any_file_name_is_printed(command, plates, tmp_path):
    for name in (b"a\nb.png", b"\xff.png", b"c\td.png"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(plates[0].read_bytes())
    (tmp_path / "cut\n.png").write_bytes(b"")
    code, out, err = run(*command, tmp_path)
    assert code == 1 and out.count(plates[0].stem) == 3
    assert len(err.splitlines()) == 1 and "cut" in err
    if command == ("read",):  # the other layouts have their own quotes
        assert [line.split("\t")[1] for line in out.splitlines()] == [plates[0].stem] * 3
