"""`plate-ocr` as a user runs it: a process, its output and its exit code."""

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PROJECT, left_in_an_empty_home, start_interruptible

import plate_ocr
from plate_ocr.cli import main
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS
from plate_ocr.reading.reader import PlateReader

TEST = PROJECT / "data" / "test"
MEASURING = ("compare", "compatibility", "soak")  # commands with options; scale needs Ray
COMMAND = [sys.executable, "-m", "plate_ocr"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT)}


def run(*arguments, stdin=None, cwd=PROJECT):
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, input=stdin, capture_output=True, timeout=120
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def plates():
    return sorted(TEST.glob("*.png"))[:3]


def test_reads_files_and_folders_in_order(plates):
    code, out, err = run("read", *plates, TEST)
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and err == "" and len(lines) == 63
    assert [file for file, *_ in lines[:3]] == list(map(str, plates))
    assert all(len(text) == 5 and 0 <= float(confidence) <= 1 for _, text, confidence in lines)


def test_json_csv_and_standard_input(plates):
    _, out, _ = run("read", "--json", *plates)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [set(row) for row in rows] == [{"file", "text", "confidence", "refused", "digits"}] * 3
    assert "".join(digit["digit"] for digit in rows[0]["digits"]) == rows[0]["text"]
    _, out, _ = run("read", "--csv", *plates)
    table = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in table] == [row["text"] for row in rows]
    code, out, _ = run("read", "-", stdin=plates[0].read_bytes())
    assert code == 0 and out.split("\t")[:2] == ["-", rows[0]["text"]]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_reading_leaves_an_empty_home_empty(plates, tmp_path, backend):
    command = ("-m", "plate_ocr", "read", "--backend", backend, plates[0])
    assert left_in_an_empty_home(tmp_path / "home", *command) == []


def test_refuses_what_is_not_sure(plates):
    _, out, _ = run("read", "--min-confidence", 1, *plates)
    assert all(line.endswith("\trefused") for line in out.splitlines())
    # docs/reading.md: the sure ones only
    _, out, _ = run("read", "--csv", "--min-confidence", 1, *plates)
    assert [line.endswith(",True") for line in out.split("\n")] == [False, True, True, True, False]


def test_a_bad_image_costs_no_other_its_reading(plates, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    too_long = 300 * "x"
    code, out, err = run("read", plates[0], tmp_path / "bad.png", "none.png", too_long, plates[1])
    assert code == 1 and len(out.splitlines()) == 2
    assert len(err.splitlines()) == 3 and "bad.png" in err and "none.png" in err
    assert f"{too_long}: File name too long" in err


def test_a_folder_without_images_costs_no_other_its_readings(plates, tmp_path):
    (tmp_path / "empty").mkdir()
    code, out, err = run("read", tmp_path / "empty", plates[0])
    assert code == 1 and len(out.splitlines()) == 1
    assert len(err.splitlines()) == 1 and "empty: holds no images" in err


def test_it_tells_its_version():
    assert run("--version")[:2] == (0, f"{plate_ocr.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required"),
        (("read", "--min-confidence", "2", "x.png"), "must be 0 to 1"),
        (("read", "--min-confidence", "much", "x.png"), "must be 0 to 1, not much"),
        (("read", "--weights", PROJECT / "README.md", TEST), "give the HDF5 file, README.h5"),
        (("train", "data/test", "mine.weights.h5"), "must end in .h5"),
        (("train", "data/test", ".h5"), "must end in .h5"),
        (
            ("generate", PROJECT / "README.md", "--start", 0, "--count", 1),
            "README.md: is not a folder",
        ),
        (("read", "--weights", "none.h5", TEST), "none.h5: there is no such file"),
        (("read", "."), "holds no images"),
        (("read", "none.png", "nor-this.png"), "nor-this.png: No such file"),
        (("read", ""), "No such file"),
        (("check", ""), "directory: must name"),
        (("train", "nowhere", "mine.h5"), "nowhere: No such file"),
        (("calibrate", DEFAULT_WEIGHTS, "nowhere"), "nowhere: No such file"),
        (("generate", "elsewhere"), "needs start and count"),
        (("generate", "train", "--digits", "8"), "invalid choice: 8"),
        (("generate", "train", "--seed", "-1"), "a whole number of 0 or more, not -1"),
        (("read", "--num-threads", "x", "x.png"), "a whole number of 0 or more, not x"),
        (("train", ".", "x.h5", "--hosts", "2"), "no --coordinator, where they meet"),
        (("check", "nowhere"), "nowhere"),
        (("train", ".", "x.h5", "--config", "x"), "x: no config; take one of shipped, described"),
        (("calibrate", DEFAULT_WEIGHTS, TEST), "60 plates; calibrating takes 200"),
        (("export", "--weights", "none.h5"), "none.h5: there is no such file"),
    ],
)
def test_unusable_arguments(arguments, message, tmp_path):
    code, out, err = run(*arguments, cwd=tmp_path) if arguments else run()
    assert code == 2 and out == "" and message in err


@pytest.mark.parametrize("command", [(), ("read",), ("check",), ("train",)])
def test_the_help_tells_the_exit_codes(command):
    _, out, _ = run(*command, "--help")
    assert all(f" {code} " in " ".join(out.split()) for code in (0, 1, 2, 130))


def test_the_help_names_all_recipes():
    from plate_ocr.training.config import CONFIGS

    _, out, _ = run("train", "--help")
    assert all(name in out for name in CONFIGS)


def test_interrupted_while_it_waits_for_standard_input_it_says_so():
    process = start_interruptible(*COMMAND[1:], "read", "-", cwd=PROJECT, stdin=subprocess.PIPE)
    process.stdin.write("x" * 200_000)  # more than a pipe holds: until it reads
    process.stdin.flush()
    time.sleep(0.5)  # until it has read all of that and waits for more
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr.read() == "interrupted\n"
    process.stdin.close()
    process.stderr.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc")
def test_interrupted_while_its_processes_start_it_says_so(tmp_path):
    command = [*COMMAND[1:], "generate", tmp_path / "mine", "--start", 0, "--count", 60_000]
    process = start_interruptible(*command, cwd=PROJECT, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2:  # one of them tracks resources
        time.sleep(0.002)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "interrupted", err
    assert "Traceback" not in err, err


def test_interrupted_it_says_so(tmp_path):
    command = [*COMMAND[1:], "generate", tmp_path / "mine", "--start", 0, "--count", 60_000]
    process = start_interruptible(*command, cwd=PROJECT, start_new_session=True)
    while not any(tmp_path.glob("mine/[0-9]*.png")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate()
    assert process.returncode == 130 and err.splitlines()[-1] == "interrupted", err
    assert "Traceback" not in err, err


def test_generate_then_check(tmp_path):
    folder = tmp_path / "mine"
    code, out, _ = run("generate", folder, "--start", 90_000, "--count", 30)
    assert code == 0 and "30 plates" in out
    assert run("check", folder)[0] == 0
    path = min(folder.glob("*.png"))
    path.unlink()
    code, out, _ = run("check", folder)
    assert code == 1 and path.name in out


def test_other_counts_of_digits(tmp_path):
    folder = tmp_path / "mine"
    code, _, _ = run("generate", folder, "--start", 90_000, "--count", 4, "--digits", 4)
    assert code == 2  # there are only ten thousand
    code, _, _ = run("generate", folder, "--start", 9_000, "--count", 4, "--digits", 4)
    assert code == 0 and {len(path.stem) for path in folder.glob("*.png")} == {4}
    assert run("check", folder)[0] == 0
    code, out, _ = run("check", folder, "--digits", 5)
    assert code == 1 and out.count("its label is not 5 digits") == 4


def in_shell(command):
    # Buffered, as for most users: then output may fail only as Python ends.
    buffered = ENVIRONMENT | {"PYTHONUNBUFFERED": "", "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=PROJECT,
        env=buffered,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_closed_pipe_is_no_error():
    done = in_shell("$PYTHON -m plate_ocr read data/test data/test data/test | head -n 1")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("-m plate_ocr check data/test", 0),
        ("-m plate_ocr read --help", 0),
        ("-m plate_ocr read none.png 2>&1", 2),
        ("-m benchmarks.soak --help", 0),
        ("tools/clean_notebooks.py none.ipynb 2>&1", 2),
    ],
)
def test_an_output_that_nobody_reads_is_no_error(command, code):
    done = in_shell(f"$PYTHON {command} | exec true")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_full_disk_behind_the_output_is_one_line():
    done = in_shell("$PYTHON -m plate_ocr read data/test > /dev/full")
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_full_disk_behind_the_errors_stops_no_reading():
    done = in_shell("$PYTHON -m plate_ocr read none.png data/test/12891.png 2> /dev/full")
    assert done.returncode == 1 and "12891" in done.stdout


def test_closed_outputs_stay_empty_and_take_nothing_of_one_another():
    done = in_shell("$PYTHON -m plate_ocr read data/test/12891.png none.png 2>&-")
    assert done.returncode == 1 and done.stdout.count("\n") == 1 and "12891" in done.stdout
    done = in_shell("$PYTHON -m plate_ocr read data/test/12891.png none.png >&-")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "none.png" in done.stderr


@pytest.mark.parametrize("given", ["< /dev/null", "<&-", "< README.md"])
def test_a_standard_input_that_is_no_image_is_named(given):
    done = in_shell(f"$PYTHON -m plate_ocr read - data/test/12891.png {given}")
    assert done.returncode == 1 and "12891" in done.stdout
    assert done.stderr.startswith("unreadable: standard input: ") and done.stderr.count("\n") == 1


def test_any_name_of_a_file_is_one_line(plates, tmp_path):
    for name in (b"a\nb.png", b"\xff.png", b"c\td.png"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(plates[0].read_bytes())
    (tmp_path / "cut\n.png").write_bytes(b"")
    code, out, err = run("read", tmp_path)
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 1 and [text for _, text, _ in lines] == [plates[0].stem] * 3
    assert len(err.splitlines()) == 1 and "cut" in err
    code, out, _ = run("check", tmp_path)
    names = ("a\\nb.png", "c\\td.png", "cut\\n.png", "udcff.png")
    assert code == 1 and all(name in out for name in names)
    assert all(line.startswith(f"{tmp_path}/") for line in out.splitlines())


@pytest.mark.parametrize(
    "command",
    ["-m plate_ocr", "model_test.py", *(f"-m benchmarks.{name}" for name in MEASURING)],
)
def test_commands_run_without_docstrings(command):
    done = in_shell(f"$PYTHON -OO {command} --help")
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr


@pytest.mark.parametrize("layout", [(), ("--csv",), ("--json",)])
def test_a_reading_exactly_at_the_threshold_is_accepted(layout, plates, capsys):
    confidence = PlateReader().read(plates[0]).confidence
    for least, refused in ((confidence, False), (math.nextafter(confidence, 2), True)):
        arguments = ["read", "--min-confidence", repr(least), *layout, str(plates[0])]
        assert main(arguments) == 0
        out = capsys.readouterr().out.lower()
        assert ("\trefused" in out or ",true" in out or '"refused": true' in out) == refused


def test_without_ray_the_command_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = sys.modules['pyarrow'] = None;"
        "from plate_ocr.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "draw-many", tmp_path / "out", "--count", "5"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("pyarrow is missing: ") and done.stderr.count("\n") == 1
    assert "pip install '.[ray]'" in done.stderr
