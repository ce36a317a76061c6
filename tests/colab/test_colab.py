"""The notebooks as Colab runs them: each alone in an empty folder, with the versions it has."""

import re
import subprocess
from importlib.metadata import version
from importlib.util import find_spec

import nbformat
import pytest
from conftest import PROJECT
from nbclient import NotebookClient

from plate_ocr.evaluation.benchmark import evaluate
from plate_ocr.network.checkpoint import load_metadata
from plate_ocr.plates.dataset import load_folder
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import read_json

# What each writes into quick/ of the clone, and part of what it prints.
RESULTS = {
    "training.ipynb": (
        ["dr_model.h5", "dr_model.json", "results/training_quick_robust.json"],
        "downloaded quick/dr_model.h5\ndownloaded quick/dr_model.json\n",
    ),
    "fine_tuning.ipynb": (
        [f"fine_tuned/example_{digits}_digits/dr_model.h5" for digits in (5, 4)],
        "downloaded quick/fine_tuned/example_5_digits/dr_model.h5\n",
    ),
    "evaluation.ipynb": (["results/evaluation.json"], "dr_model.h5, backend keras"),
    "data_generation.ipynb": (["train", "results/predictions.png"], "exact match  60/60"),
}
PROGRESS = re.compile(r"\d+%\|")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The project as it lies here, as a repository to clone."""
    folder = tmp_path_factory.mktemp("repository") / "project.git"
    git = ["git", f"--git-dir={folder}", f"--work-tree={PROJECT}", "-c", "user.name=Test"]
    git += ["-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Snapshot"]):
        subprocess.run(git + command, cwd=PROJECT, check=True, capture_output=True)
    return folder


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """An empty folder, in which `google.colab` can be imported."""
    modules = tmp_path / "modules" / "google" / "colab"
    modules.mkdir(parents=True)
    (modules / "__init__.py").touch()
    download = "def download(path):\n    open(path).close()\n    print('downloaded', path)\n"
    (modules / "files.py").write_text(download, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    for name in ("MPLBACKEND", "TF_CPP_MIN_LOG_LEVEL"):  # of these tests, not of Colab
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def test_the_versions_are_those_of_colab():
    lines = (PROJECT / "requirements-colab.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split("==") for line in lines if "==" in line)
    assert listed == {name: version(name) for name in listed}
    assert not any(map(find_spec, ("onnxruntime", "openvino", "papermill", "tf2onnx")))


@pytest.mark.parametrize("name", RESULTS)
def test_each_notebook_works_alone_in_an_empty_folder(name, colab, repository):
    notebook = nbformat.read(PROJECT / name, as_version=4)
    setup, parameters, *_ = (cell for cell in notebook.cells if cell.cell_type == "code")
    address = f'REPOSITORY = "{repository.as_uri()}"'
    setup.source = "import google.colab\n" + setup.source.replace('REPOSITORY = ""', address)
    parameters.source = parameters.source.replace("quick = False", "quick = True")
    NotebookClient(notebook, resources={"metadata": {"path": str(colab)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    streams = {"stdout": "", "stderr": ""}
    for output in outputs:
        if output.output_type == "stream":
            streams[output.name] += output.text
    lines = [line for line in streams["stderr"].splitlines() if not PROGRESS.search(line)]
    assert not any(line.strip() for line in lines), lines
    files, line = RESULTS[name]
    assert line in streams["stdout"]
    assert [path.name for path in colab.iterdir()] == ["plate-ocr"]
    assert all((colab / "plate-ocr" / "quick" / path).exists() for path in files)
    status = ["git", "-C", colab / "plate-ocr", "status", "--porcelain"]
    assert not subprocess.run(status, check=True, capture_output=True).stdout
    check = {"training.ipynb": check_training, "fine_tuning.ipynb": check_fine_tuning}.get(name)
    if check:
        check(colab / "plate-ocr" / "quick")


def check_training(quick):
    """Part I learns to read, and Part II starts from it and reads augmented plates better."""
    part_1, part_2 = (
        read_json(quick / "results" / f"training_{name}.json") for name in ("quick", "quick_robust")
    )
    weights = quick / "dr_model.h5"
    assert part_2["origin"]["weights"] == load_metadata(weights)["sha256"][weights.name]
    assert part_2["initial_weights"] == part_1["origin"]["weights"]
    measured = part_1["measured"]
    assert measured["held_out_correct"] > 0.5 * measured["held_out_plates"]
    augmented = [part["measured"]["sets"]["augmented"]["correct"] for part in (part_1, part_2)]
    assert augmented[0] < augmented[1]


def check_fine_tuning(quick):
    """The new weights read displays of five and of four digits better."""
    for digits in (5, 4):
        folder = quick / "fine_tuned" / "example" / f"{digits}_digits" / "validation"
        weights = quick / "fine_tuned" / f"example_{digits}_digits" / "dr_model.h5"
        tuned = PlateReader(weights, backend="keras")
        before, after = (
            evaluate(reader, load_folder(folder, digits))
            for reader in (PlateReader(backend="keras", digits=digits), tuned)
        )
        assert tuned.digits == digits
        assert after.correct.mean() > before.correct.mean() + 0.2
