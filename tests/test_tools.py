import base64
import os
import shutil
import subprocess
import sys
from io import BytesIO

import nbformat
import numpy as np
import pytest
from conftest import PROJECT
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from tools.clean_notebooks import tidy


def test_tidy_keeps_every_pixel_and_drops_times(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    image = Image.fromarray(np.dstack([picture] * 3 + [np.full_like(picture, 255)]))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode()
    output = new_output("display_data", {"image/png": png, "text/plain": "<Figure>"})
    cell = new_code_cell("draw()", outputs=[output], metadata={"execution": {}, "tags": ["x"]})
    notebook = new_notebook(cells=[cell], metadata={"papermill": {"duration": 1}})
    path = tmp_path / "some.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, PROJECT / "tools" / "clean_notebooks.py", path]
    subprocess.run([*map(str, command)], check=True)
    tidied = nbformat.read(path, as_version=4)
    found = tidied.cells[0].outputs[0]["data"]["image/png"]
    assert len(found) < 0.6 * len(png)
    kept = Image.open(BytesIO(base64.b64decode(found))).convert("RGB")
    assert np.array_equal(np.asarray(kept), np.dstack([picture] * 3))
    assert tidied.cells[0].metadata == {"tags": ["x"]} and "papermill" not in tidied.metadata


def tidied_outputs(path, *outputs):
    """The outputs of a cell after its notebook was tidied."""
    nbformat.write(new_notebook(cells=[new_code_cell("run()", outputs=list(outputs))]), path)
    tidy(path)
    return nbformat.read(path, as_version=4).cells[0].outputs


def stream(name, text):
    return new_output("stream", name=name, text=text)


def test_tidy_joins_what_a_cell_prints_and_drops_what_was_written_over(tmp_path):
    pieces = ["Epoch 1\n", "\r 1/2", "\r 2/2", " - loss: 3\n", "Epoch 2\r\n"]
    outputs = tidied_outputs(tmp_path / "a.ipynb", *(stream("stdout", one) for one in pieces))
    assert [output.text for output in outputs] == ["Epoch 1\n 2/2 - loss: 3\nEpoch 2\n"]


def test_tidy_drops_standard_error_and_tells_it(tmp_path, capsys):
    figure = new_output("display_data", {"text/plain": "<Figure>"})
    outputs = tidied_outputs(
        tmp_path / "a.ipynb",
        stream("stdout", "one\n"),
        stream("stderr", "\r 1% plates"),
        stream("stderr", "\r 100% plates\nWARNING: of a library\n"),
        stream("stdout", "two\n"),
        figure,
        stream("stdout", "three\n"),
    )
    assert [output.get("text") for output in outputs] == ["one\ntwo\n", None, "three\n"]
    said = capsys.readouterr().err
    assert "WARNING: of a library" in said and "100% plates" in said and " 1% plates" not in said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_make_train_shows_what_the_notebook_prints_while_it_runs(tmp_path):
    """Its own commands, on a notebook that waits until what it printed was seen."""
    make = ["make", "-n", "-o", ".venv/ready", "train", f"RUN={sys.executable}"]
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    told = subprocess.run(
        make, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    commands = told.partition(" -m plate_ocr export")[0].splitlines()[:-1]
    waits = "import time, pathlib\nprint('Epoch 1')\nwhile not pathlib.Path('seen').exists():\n"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cell = new_code_cell(waits + "    time.sleep(0.1)")
    nbformat.write(new_notebook(cells=[cell], metadata=kernel), tmp_path / "training.ipynb")
    with subprocess.Popen(
        ["bash", "-ec", "\n".join(commands)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert any("Epoch 1" in line for line in process.stdout)
        (tmp_path / "seen").touch()
    assert process.returncode == 0
    executed = nbformat.read(tmp_path / "training.ipynb", as_version=4)
    assert executed.cells[0].outputs[0]["text"] == "Epoch 1\n"


@pytest.mark.slow
def test_pictures_show_the_figures_beside_them(tmp_path):
    results = PROJECT / "results"
    for path in [*results.glob("*.json"), *results.glob("*.csv")]:
        shutil.copy(path, tmp_path)
    command = [sys.executable, PROJECT / "tools" / "draw_figures.py", tmp_path]
    subprocess.run([*map(str, command)], check=True)
    drawn = {path.name: path for path in tmp_path.glob("*.png")}
    committed = {path.name for path in results.glob("*.png")}
    assert set(drawn) == committed - {"samples.png"}  # which shows plates, not figures
    for name, path in drawn.items():
        ours, theirs = (np.asarray(Image.open(one), float) for one in (path, results / name))
        assert ours.shape == theirs.shape and np.abs(ours - theirs).mean() < 1, name
