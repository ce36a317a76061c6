"""The notebooks run top to bottom in any folder; what is committed is one real run.

`make test-colab` runs them alone, with the versions that Colab has.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.reader import PlateReader

NOTEBOOKS = ("data_generation.ipynb", "training.ipynb", "evaluation.ipynb")


def read(name):
    return nbformat.read(PROJECT / name, as_version=4)


def execute(name, folder, python_path, **parameters):
    """Run a notebook of the project, or of a path, with papermill in `folder`; returns it."""
    path = PROJECT / name
    executed = folder / f"executed-{path.name}"
    command = [sys.executable, "-m", "papermill", path, executed, "--no-progress-bar"]
    for key, value in parameters.items():
        command += ["-p", key, value]
    environment = os.environ | {"PYTHONPATH": str(python_path), "JUPYTER_PLATFORM_DIRS": "1"}
    environment.pop("MPLBACKEND", None)  # the kernel chooses its own, which keeps the figures
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(executed, as_version=4)


def text_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("text", "") + output.get("data", {}).get("text/markdown", "")
        for output in outputs
    )


def figures_of(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    images = [
        output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    return [base64.b64decode(image) for image in images]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed(name):
    assert (PROJECT / name).stat().st_size < 300 * 1024
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)  # nor progress, nor logs
    assert "\r" not in "".join(output.get("text", "") for output in outputs)
    assert "quick = True" not in "".join(cell.source for cell in code)
    assert "def " not in "".join(cell.source for cell in code)  # the package works, cells narrate
    assert figures_of(notebook)


def test_the_committed_readings_are_of_the_committed_weights():
    line = re.compile(r"^(\S+\.png) +\d+ +(\d+) +([\d.]+)%", re.MULTILINE)
    rows = line.findall(text_of(read("data_generation.ipynb")))
    printed = {name: (text, pytest.approx(float(share), abs=0.05)) for name, text, share in rows}
    readings = dict(PlateReader().read_folder(PROJECT / "data" / "test"))
    assert printed == {
        path.name: (one.text, 100 * one.confidence) for path, one in readings.items()
    }


@pytest.mark.slow
def test_data_generation(tmp_path, installed):
    notebook = execute("data_generation.ipynb", tmp_path, installed, quick=True)
    text = text_of(notebook)
    assert "6,000 plates, 6,000 different numbers" in text and "no problems found" in text
    assert len(figures_of(notebook)) == 3
    assert len(list((tmp_path / "quick" / "train").glob("*.png"))) == 6_000
    assert {path.name for path in tmp_path.iterdir()} == {"executed-data_generation.ipynb", "quick"}


@pytest.mark.slow
def test_plates_of_seven_digits_are_not_followed_by_readings_of_five(tmp_path):
    (tmp_path / "model_test.py").write_text("raise AssertionError", encoding="utf-8")
    plates = {"directory": "mine", "start": 0, "count": 60, "digits": 7}
    modules = f"{tmp_path}{os.pathsep}{PROJECT}"
    notebook = execute("data_generation.ipynb", tmp_path, modules, **plates)
    assert "no problems found" in text_of(notebook)
    names = [path.stem for path in (tmp_path / "7_digits" / "mine").glob("*.png")]
    assert len(names) == 60 and {len(name) for name in names} == {7}


@pytest.mark.slow
def test_own_plates_by_parameters_alone(tmp_path):
    """A few of seven digits, from weights that read five."""
    for name, positions in (("train", range(200)), ("test", range(200, 230))):
        (tmp_path / name).mkdir()
        plates = render_plates(positions, digits=7)
        for image, text in zip(plates.images, plates.labels, strict=True):
            Image.fromarray(image[:, :, 0]).save(tmp_path / name / f"{text}.jpg", quality=95)
    notebook = execute(
        "training.ipynb",
        tmp_path,
        PROJECT,
        quick=True,
        digits=7,
        initial_weights=PROJECT / "dr_model.h5",
        train_directory=tmp_path / "train",
        test_directory=tmp_path / "test",
    )
    text = text_of(notebook)
    assert "before: 0 of 30" in text and "trained on 200 plates" in text
    assert "0.0015" not in text  # the loss of the described run, which had other plates
    made = tmp_path / "quick" / "7_digits"
    assert json.loads((made / "dr_model.json").read_text(encoding="utf-8"))["digits"] == 7


@pytest.mark.slow
def test_quick_evaluation_measures_what_quick_training_made(tmp_path, installed):
    quick = tmp_path / "quick"
    quick.mkdir()
    for name in ("dr_model.h5", "dr_model.json"):  # and no export
        shutil.copy(PROJECT / name, quick)
    benchmark = PROJECT / "data" / "benchmark"
    notebook = execute(
        "evaluation.ipynb", tmp_path, installed, quick=True, benchmark_directory=benchmark
    )
    text = text_of(notebook)
    assert "quick/dr_model.h5 in keras" in text
    assert "| held_out_fonts | 300 |" in text and "Its confidence is off by" in text
    assert len(figures_of(notebook)) >= 8
    result = json.loads((quick / "results" / "evaluation.json").read_text(encoding="utf-8"))
    assert result["sets"]["held_out"]["images"] == 300


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_alone_and_without_an_address_the_first_cell_says_what_to_do(name, tmp_path):
    setup = next(cell for cell in read(name).cells if cell.cell_type == "code")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", setup.source]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr == ("plate_ocr is missing: set REPOSITORY above, then run this cell again\n")


def test_the_installed_package_reads(installed, tmp_path):
    code = (
        "import sys, plate_ocr; from plate_ocr.reading.reader import PlateReader;"
        "assert str(plate_ocr.__file__).startswith(sys.argv[2]);"
        "print(PlateReader(backend='onnx').read(sys.argv[1]).text)"
    )
    path = min((PROJECT / "data" / "test").glob("*.png"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(installed)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == path.stem, done.stderr
