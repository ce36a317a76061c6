"""The notebooks take parameters; what is committed is one real run. See also tests/colab."""

import json
import os
import re
import shutil
import subprocess
import sys
from statistics import fmean

import nbformat
import pytest
from conftest import PROJECT, write_plates

from plate_ocr.evaluation.benchmark import TITLES
from plate_ocr.reading.reader import PlateReader

NOTEBOOKS = ("data_generation.ipynb", "training.ipynb", "evaluation.ipynb", "fine_tuning.ipynb")


def read(path):
    """The notebook, its outputs and their text."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [out.get("text", "") + out.get("data", {}).get("text/markdown", "") for out in outputs]
    assert not outputs or any("image/png" in output.get("data", {}) for output in outputs)
    return notebook, outputs, "\n".join(texts)


def run_python(*arguments, folder, python_path=""):
    environment = os.environ | {"PYTHONPATH": str(python_path), "JUPYTER_PLATFORM_DIRS": "1"}
    environment.pop("MPLBACKEND", None)  # the kernel has its own, which keeps the figures
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def execute(name, folder, python_path=PROJECT, /, **parameters):
    """Run a notebook in `folder`, and return the text of its outputs."""
    options = [part for key, value in parameters.items() for part in ("-p", key, value)]
    command = ("-m", "papermill", PROJECT / name, folder / name, *options)
    done = run_python(*command, folder=folder, python_path=python_path)
    assert done.returncode == 0, done.stderr[-3000:]
    return read(folder / name)[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it."""
    target = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", target)
    done = run_python("-m", "pip", "install", *options, PROJECT, folder=target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_committed_notebook_shows_the_present_source(name):
    shown = re.findall(
        r"`(plate_ocr[.\w]+)`\n```python\n(.*?)```", read(PROJECT / name)[2], re.DOTALL
    )
    assert shown
    for module, source in shown:
        assert source in (PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_committed_notebook_is_one_clean_run(name):
    assert (PROJECT / name).stat().st_size < 300 * 1024
    notebook, outputs, text = read(PROJECT / name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.get("name", output.output_type) for output in outputs}
    assert outputs and not {"error", "stderr"} & kinds and "\r" not in text
    assert not any("quick = True" in cell.source or "def " in cell.source for cell in code)


def test_the_committed_readings_are_of_the_committed_weights():
    _, _, text = read(PROJECT / "data_generation.ipynb")
    (printed,) = re.findall(r"^mean confidence +([\d.]+) ?%", text, re.MULTILINE)
    readings = dict(PlateReader().read_folder(PROJECT / "data" / "test"))
    correct = sum(path.stem == reading.text for path, reading in readings.items())
    assert f"exact match  {correct}/{len(readings)}" in text
    confidence = fmean(reading.confidence for reading in readings.values())
    assert float(printed) == pytest.approx(100 * confidence, abs=0.01)


def test_the_committed_evaluation_is_the_one_in_results():
    _, _, text = read(PROJECT / "evaluation.ipynb")
    result = json.loads((PROJECT / "results" / "evaluation.json").read_text(encoding="utf-8"))
    for name, title in TITLES.items():
        row = result["sets"][name]
        assert f"| {title} | {row['images']:,} | {row['images'] - row['correct']:,} |" in text


@pytest.mark.slow
def test_data_generation_draws_the_plates_of_its_parameters(tmp_path, installed):
    parameters = {"directory": "own", "start": 0, "count": 60, "digits": 7}
    text = execute("data_generation.ipynb", tmp_path, installed, **parameters)
    assert "60 different numbers" in text and "no problems found" in text
    names = [path.stem for path in (tmp_path / "7_digits" / "own").glob("*.png")]
    assert len(names) == 60 and {len(name) for name in names} == {7}


@pytest.mark.slow
def test_quick_evaluation_measures_the_weights_of_quick_training(tmp_path, installed):
    (tmp_path / "quick").mkdir()
    for name in ("dr_model.h5", "dr_model.json"):  # without an export
        shutil.copy(PROJECT / name, tmp_path / "quick")
    parameters = {"quick": True, "benchmark_directory": PROJECT / "data" / "benchmark"}
    text = execute("evaluation.ipynb", tmp_path, installed, **parameters)
    assert "weights quick/dr_model.h5, backend keras" in text
    path = tmp_path / "quick" / "results" / "evaluation.json"
    assert json.loads(path.read_text(encoding="utf-8"))["sets"]["held_out"]["images"] == 300


@pytest.mark.slow
def test_fine_tuning_of_a_folder_of_images_validates_on_a_fifth(tmp_path):
    own = write_plates(tmp_path / "own", range(9_000, 9_030), digits=4)
    parameters = {"quick": True, "digits": 4, "minutes": 0.1, "folder": own}
    text = execute("fine_tuning.ipynb", tmp_path, **parameters)
    folder = tmp_path / "quick" / "fine_tuned"
    assert [path.name for path in folder.iterdir()] == ["4_digits"]
    assert PlateReader(folder / "4_digits" / "dr_model.h5").digits == 4
    assert "24 training images and 6 validation images" in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_without_the_package_the_first_cell_says_what_to_do(name, tmp_path):
    setup = next(cell for cell in read(PROJECT / name)[0].cells if cell.cell_type == "code")
    done = run_python("-c", setup.source, folder=tmp_path)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert "REPOSITORY" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_installed_package_reads(installed, tmp_path):
    path = min((PROJECT / "data" / "test").glob("*.png"))
    done = run_python("-m", "plate_ocr", "read", path, folder=tmp_path, python_path=installed)
    assert path.stem in done.stdout, done.stderr
