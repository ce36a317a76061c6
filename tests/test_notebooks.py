"""The notebooks run top to bottom, here and alone; what is committed is one real run."""

import base64
import json
import os
import subprocess
import sys

import nbformat
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.dataset import draw_plates

NOTEBOOKS = sorted(path.name for path in PROJECT.glob("*.ipynb"))


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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_committed(name):
    assert (PROJECT / name).stat().st_size < 300 * 1024
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert "quick = True" not in "".join(cell.source for cell in code)
    assert "def " not in "".join(cell.source for cell in code)  # the package works, cells narrate
    assert figures_of(notebook)


def test_data_generation(tmp_path):
    notebook = execute("data_generation.ipynb", tmp_path, PROJECT, quick=True)
    text = text_of(notebook)
    assert "6,000 plates, 6,000 different numbers" in text and "no problems found" in text
    assert len(figures_of(notebook)) == 3
    assert len(list((tmp_path / "quick" / "train").glob("*.png"))) == 6_000


@pytest.mark.slow
def test_data_generation_of_the_test_set(tmp_path):
    execute("data_generation.ipynb", tmp_path, PROJECT, directory="test")
    ours, drawn = (
        {path.name for path in folder.glob("*.png")}
        for folder in (PROJECT / "data" / "test", tmp_path / "data" / "test")
    )
    assert ours == drawn and len(ours) == 60


@pytest.mark.slow
def test_training(tmp_path):
    notebook = execute("training.ipynb", tmp_path, PROJECT, quick=True)
    text = text_of(notebook)
    assert "of 60 read exactly" in text and "The run `quick` trained on 6,000 plates" in text
    assert len(figures_of(notebook)) == 6
    quick = tmp_path / "quick"
    assert {"dr_model.h5", "dr_model.json", "results", "train"} <= {p.name for p in quick.iterdir()}
    assert not (tmp_path / "dr_model.h5").exists()  # a quick run never replaces the real one


@pytest.mark.slow
def test_seven_digits_by_one_parameter(tmp_path):
    notebook = execute("data_generation.ipynb", tmp_path, PROJECT, quick=True, digits=7)
    assert "no problems found" in text_of(notebook)
    names = [path.stem for path in (tmp_path / "quick" / "7_digits" / "train").glob("*.png")]
    assert len(names) == 6_000 and {len(name) for name in names} == {7}


@pytest.mark.slow
def test_own_plates_by_parameters_alone(tmp_path):
    """A few of seven digits, from weights that read five."""
    for name, positions in (("train", range(200)), ("test", range(200, 230))):
        (tmp_path / name).mkdir()
        plates = draw_plates(positions, digits=7)
        for image, text in zip(plates.images, plates.texts, strict=True):
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
    made = tmp_path / "quick" / "7_digits"
    assert json.loads((made / "dr_model.json").read_text(encoding="utf-8"))["digits"] == 7


@pytest.mark.slow
def test_evaluation(tmp_path):
    benchmark = PROJECT / "data" / "benchmark"
    notebook = execute(
        "evaluation.ipynb", tmp_path, PROJECT, quick=True, benchmark_directory=benchmark
    )
    text = text_of(notebook)
    assert "| unseen_fonts | 300 |" in text and "Its confidence is off by" in text
    assert len(figures_of(notebook)) >= 8
    result = json.loads((tmp_path / "quick" / "results" / "evaluation.json").read_text())
    assert result["sets"]["fresh"]["images"] == 300


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_alone_in_a_bare_folder_beside_the_installed_package(name, tmp_path, installed):
    parameters = {"quick": True}
    if name == "evaluation.ipynb":  # its plates are not in the package
        parameters["benchmark_directory"] = PROJECT / "data" / "benchmark"
    execute(name, tmp_path, installed, **parameters)
    made = {path.name for path in tmp_path.iterdir()}
    assert made <= {f"executed-{name}", "quick", "data", "checkpoints"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The project as it lies here, as a repository to clone."""
    folder = tmp_path_factory.mktemp("repository") / "project.git"
    git = ["git", f"--git-dir={folder}", f"--work-tree={PROJECT}", "-c", "user.name=Test"]
    git += ["-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "As it is"]):
        subprocess.run(git + command, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_in_colab_from_a_bare_upload(name, tmp_path, repository):
    """Nothing but the notebook and the address set in it; `google.colab` can be imported."""
    colab = tmp_path / "colab" / "google" / "colab"
    colab.mkdir(parents=True)
    (colab / "__init__.py").touch()
    content, notebook = tmp_path / "content", read(name)
    content.mkdir()
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert setup.source.count('REPOSITORY = ""') == 1
    setup.source = setup.source.replace('REPOSITORY = ""', f'REPOSITORY = "{repository.as_uri()}"')
    setup.source = "import google.colab\n" + setup.source
    nbformat.write(notebook, content / name)
    execute(content / name, content, tmp_path / "colab", quick=True)
    assert {path.name for path in content.iterdir()} == {name, f"executed-{name}", "plate-ocr"}
    assert any((content / "plate-ocr" / "quick").iterdir())


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
        "import sys, plate_ocr; from plate_ocr.reader import PlateReader;"
        "assert str(plate_ocr.__file__).startswith(sys.argv[2]);"
        "print(PlateReader(engine='onnx').read(sys.argv[1]).text)"
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
