import base64
from io import BytesIO

import nbformat
import numpy as np
import pytest
from conftest import PROJECT
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from tools.clean_notebooks import clean


def cleaned(path, *outputs):
    """The first cell of a notebook with these outputs, after it was cleaned."""
    cell = new_code_cell("run()", outputs=list(outputs), metadata={"execution": {}, "tags": ["x"]})
    notebook = new_notebook(cells=[cell], metadata={"papermill": {"duration": 1}})
    nbformat.write(notebook, path)
    clean(path)
    return nbformat.read(path, as_version=4).cells[0]


def stream(name, text):
    return new_output("stream", name=name, text=text)


def test_a_picture_keeps_its_pixels_in_fewer_bytes(tmp_path):
    gray = 10 * np.random.default_rng(0).integers(0, 16, (40, 60), np.uint8)
    Image.fromarray(np.dstack([gray] * 3)).save(buffer := BytesIO(), "PNG")
    png = base64.b64encode(buffer.getvalue()).decode()
    picture = new_output("display_data", {"image/png": png, "text/plain": "<Figure>"})
    cell = cleaned(tmp_path / "a.ipynb", picture)
    found = cell.outputs[0].data["image/png"]
    assert len(found) < 0.8 * len(png)
    image = Image.open(BytesIO(base64.b64decode(found))).convert("L")
    assert np.array_equal(np.asarray(image), gray)
    assert cell.metadata == {"tags": ["x"]}  # without times
    assert "papermill" not in nbformat.read(tmp_path / "a.ipynb", as_version=4).metadata


def test_printed_text_is_joined_as_it_looked_at_the_end(tmp_path):
    pieces = ["Epoch 1\n", "\r 1/2", "\r 2/2", " - loss: 3\n", "Epoch 2\n"]
    cell = cleaned(tmp_path / "a.ipynb", *(stream("stdout", piece) for piece in pieces))
    assert [output.text for output in cell.outputs] == ["Epoch 1\n 2/2 - loss: 3\nEpoch 2\n"]


def test_standard_error_is_dropped_and_reported(tmp_path, capsys):
    outputs = (stream("stdout", "1\n"), stream("stderr", "WARNING\n"), stream("stdout", "2\n"))
    cell = cleaned(tmp_path / "a.ipynb", *outputs)
    assert [output.text for output in cell.outputs] == ["1\n2\n"]
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_show_the_committed_results(tmp_path):
    from tools import figures

    figures.draw_all(tmp_path)
    drawn = sorted(tmp_path.glob("*.png"))
    assert drawn
    for path in drawn:
        actual, committed = (
            np.asarray(Image.open(name), float) for name in (path, PROJECT / "results" / path.name)
        )
        assert actual.shape == committed.shape, path.name  # else: make figures
        assert np.abs(actual - committed).mean() < 1, path.name
