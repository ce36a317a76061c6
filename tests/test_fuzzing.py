"""Damaged images and weights: never a crash, a hang, a traceback or much memory."""

import csv
import io
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, run_python
from fuzz_images import mutate, mutated

from plate_ocr import ImageError
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.reading.reader import PlateReader

MAX_MEMORY = 150  # megabytes above a run without damaged images
GOOD = sorted((PROJECT / "data" / "test").glob("*.png"))
SPECIAL = ("folder.png", "circle.png", "nowhere.jpg", "up.bmp", "endless.png", "pipe.webp")


def counts(small, full):
    return pytest.mark.parametrize("count", [small, pytest.param(full, marks=pytest.mark.slow)])


def peak_memory():
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_damaged(folder):
    """Read damaged images with good ones among them; print how many, and the memory it took."""
    plate_reader = PlateReader()
    list(plate_reader.stream(GOOD * 10))
    clean = peak_memory()
    damaged = sorted(Path(folder).iterdir())
    sources = [
        source for pair in zip(damaged, GOOD * len(damaged), strict=False) for source in pair
    ]
    readings = list(plate_reader.stream(sources))
    errors = [str(reading) for reading in readings[::2] if isinstance(reading, ImageError)]
    assert [reading.text for reading in readings[1::2]] == [path.stem for path in sources[1::2]]
    assert not any("\n" in error for error in errors)
    print(json.dumps({"unreadable": len(errors), "megabytes": peak_memory() - clean}))


@counts(400, 20_000)
def test_damaged_images_cost_no_other_image_its_reading(count, tmp_path):
    for number, (suffix, content) in enumerate(mutated(count)):
        (tmp_path / f"{number}{suffix}").write_bytes(content)
    done = run_python("-W", "ignore", __file__, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["unreadable"] <= count and result["megabytes"] < MAX_MEMORY


@counts(80, 2_000)
def test_a_folder_of_damaged_images_through_the_command(count, tmp_path):
    for number, (suffix, content) in enumerate(mutated(count, seed=1)):
        (tmp_path / f"damaged-{number}{suffix}").write_bytes(content)
    for path in GOOD[:20]:
        shutil.copy(path, tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "nowhere.jpg").symlink_to("nothing")
    (tmp_path / "up.bmp").symlink_to("..")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.webp")
    (tmp_path / "empty.tif").touch()
    done = run_python("-m", "plate_ocr", "read", "--csv", tmp_path)
    assert done.returncode == 1 and "Warning" not in done.stderr
    texts = {row["file"]: row["text"] for row in csv.DictReader(io.StringIO(done.stdout))}
    assert all(texts[str(tmp_path / path.name)] == path.stem for path in GOOD[:20])
    assert all(f"{tmp_path / name}: " in done.stderr for name in SPECIAL)
    assert run_python("-m", "plate_ocr", "validate", tmp_path).returncode == 1


@counts(60, 2_000)
@pytest.mark.parametrize("backend", ["keras", "onnx"])
def test_damaged_weights_are_refused_before_a_parser_opens_them(
    tmp_path, monkeypatch, random_weights, count, backend
):
    def opened(*_):
        raise AssertionError("a parser was given damaged weights")

    monkeypatch.setattr("plate_ocr.network.checkpoint.load_model", opened)
    monkeypatch.setattr("plate_ocr.reading.backends.OnnxBackend", opened)
    suffixes = [".h5", ".json"] if backend == "keras" else [".onnx", ".json"]
    weights = tmp_path / "random.h5"
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy(random_weights.with_suffix(suffix), tmp_path)
    with pytest.raises(AssertionError):
        PlateReader(weights, backend=backend)  # undamaged, they are opened
    rng = np.random.default_rng(0)
    for number in range(count):
        path = weights.with_suffix(suffixes[number % 2])
        whole = path.read_bytes()
        damaged = mutate(whole, rng)
        if same_json(damaged, whole) if path.suffix == ".json" else damaged == whole:
            continue
        path.write_bytes(damaged)
        with pytest.raises(WeightsError) as error:
            PlateReader(weights, backend=backend)
        assert "\n" not in str(error.value)
        path.write_bytes(whole)


def same_json(damaged, whole):
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 10_000, "NaN", '{"sha256": [[]]}'])
def test_metadata_that_is_no_metadata_is_refused(tmp_path, random_weights, content):
    shutil.copy(random_weights, tmp_path)
    (tmp_path / "random.json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=r"random\.json"):
        PlateReader(tmp_path / "random.h5")


if __name__ == "__main__":  # in a process of its own, whose memory is measured
    read_damaged(sys.argv[1])
