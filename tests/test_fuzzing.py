"""Damaged images and weights: never a crash, a hang, a traceback or much memory."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, run_python
from fuzz_images import mutate, mutated

from plate_ocr.network import checkpoint
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.reading import backends, reader
from plate_ocr.reading.reader import PlateReader

MEMORY = 150  # megabytes above a clean run


def counts(small, full):
    return pytest.mark.parametrize("count", [small, pytest.param(full, marks=pytest.mark.slow)])


def run(*command):
    done = run_python(*command)
    assert "Warning" not in done.stderr, done.stderr
    return done


@counts(400, 20_000)
def test_damaged_images_through_the_library(count, tmp_path):
    for number, (suffix, data) in enumerate(mutated(count)):
        (tmp_path / f"{number}{suffix}").write_bytes(data)
    done = run("-W", "ignore", PROJECT / "tests" / "fuzz_worker.py", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sources"] == count + found["good"] and found["lost"] == 0
    assert 0 < found["unreadable"] <= count and found["of_several_lines"] == []
    assert found["megabytes"] < MEMORY


@pytest.fixture
def folder(tmp_path, request):
    """Damaged images, with all else that can have the name of one, and twenty good plates."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (suffix, data) in enumerate(mutated(request.getfixturevalue("count"), seed=1)):
        (folder / f"damaged-{number}{suffix}").write_bytes(data)
    for path in sorted((PROJECT / "data" / "test").glob("*.png"))[:20]:
        shutil.copy(path, folder)
    (folder / "folder.png").mkdir()
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "nowhere.jpg").symlink_to("nothing")
    (folder / "up.bmp").symlink_to("..")
    (folder / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.webp")
    (folder / "empty.tif").touch()
    (folder / os.fsdecode(b"no text \xff.png")).write_bytes(
        next(folder.glob("[0-9]*")).read_bytes()
    )
    return folder


STRANGE = ("folder.png", "circle.png", "nowhere.jpg", "up.bmp", "endless.png", "pipe.webp")


@counts(80, 2_000)
def test_damaged_images_through_the_command(folder, count):
    done = run("-m", "plate_ocr", "read", "--csv", folder)
    assert done.returncode == 1
    read = {row["file"]: row["text"] for row in csv.DictReader(io.StringIO(done.stdout))}
    for path in folder.glob("[0-9]*.png"):
        assert read[str(path)] == path.stem
    for name in STRANGE:
        assert f"unreadable: {folder / name}: " in done.stderr
    assert run("-m", "plate_ocr", "check", folder).returncode == 1


@counts(80, 2_000)
def test_damaged_images_through_the_script(folder, count, tmp_path):
    output = ("--plot", tmp_path / "plot.png", "--json", tmp_path / "out.json")
    done = run("model_test.py", folder, "--backend", "onnx", *output)
    assert done.returncode == 1 and (tmp_path / "plot.png").is_file()
    content = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    labelled = [one for one in content["readings"] if one["label"]]
    assert len(labelled) == 20 and content["summary"]["exact_match"] == 1
    assert content["summary"]["images"] == len(list(folder.iterdir()))
    for name in STRANGE:
        assert f"unreadable: {folder / name}: " in done.stderr


@counts(60, 2_000)
@pytest.mark.parametrize("backend", ["keras", "onnx"])
def test_damaged_weights_are_refused_before_a_parser_opens_them(
    tmp_path, monkeypatch, random_weights, count, backend
):
    """Only the hash and the JSON of the description, which is data, are looked at."""

    def opened(*_):
        raise AssertionError("a parser was given damaged weights")

    monkeypatch.setattr(reader, "restore", opened)
    monkeypatch.setattr(reader, "OnnxBackend", opened)
    names = [random_weights.with_suffix(suffix).name for suffix in (".h5", ".onnx", ".json")]
    whole = {name: random_weights.with_name(name).read_bytes() for name in names}
    for name, data in whole.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(AssertionError):
        PlateReader(tmp_path / random_weights.name, backend=backend)  # undamaged, they are opened
    names.remove(random_weights.with_suffix({"keras": ".onnx", "onnx": ".h5"}[backend]).name)
    random = np.random.default_rng(0)
    for number in range(count):
        name = names[number % len(names)]
        damaged = mutate(whole[name], random)
        if damaged == whole[name] or (name.endswith(".json") and harmless(damaged, whole[name])):
            continue
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsError) as error:
            PlateReader(tmp_path / random_weights.name, backend=backend)
        assert "\n" not in str(error.value)
        (tmp_path / name).write_bytes(whole[name])


def harmless(damaged, whole):
    """Whether a description says what it said."""
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 10_000, "NaN", '{"sha256": [[]]}'])
def test_descriptions_made_to_hurt(tmp_path, random_weights, content):
    path = tmp_path / "random.h5"
    shutil.copy(random_weights, path)
    path.with_suffix(".json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"random\.json: does not describe"):
        PlateReader(path)


def test_nothing_is_deserialised_as_code():
    for module in (reader, backends, checkpoint):
        source = Path(module.__file__).read_text()
        assert "pickle" not in source and "load_model" not in source and "eval(" not in source
