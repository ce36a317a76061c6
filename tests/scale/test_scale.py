"""Drawing and reading on Ray Data; every test starts a Ray of its own, which takes seconds."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pyarrow
import pytest
from conftest import PROJECT
from pyarrow import parquet
from test_killing import killed_at_random

from benchmarks import scale as proof
from plate_ocr.plates.dataset import DatasetError, encode_png
from plate_ocr.plates.rendering import render_plate
from plate_ocr.ray_data import DRAWING, draw_many, read_many

TEST = PROJECT / "data" / "test"


def run(*arguments):
    command = [sys.executable, "-m", "plate_ocr", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_drawn_and_read_by_command_across_the_end_of_the_numbers(tmp_path, fonts):
    done = run("draw-many", tmp_path / "plates", "--start", 99_990, "--count", 20)
    assert done.returncode == 0 and "20 plates" in done.stdout, done.stderr
    rows = parquet.read_table(tmp_path / "plates").sort_by("index").to_pylist()
    for index, row in enumerate(rows, start=99_990):
        image, record = render_plate(fonts, 2026, index)
        assert row.pop("image") == encode_png(image)
        assert row | {"axes": json.loads(row["axes"])} == asdict(record)
    assert len(rows) == 20 == len({row["file_name"] for row in rows})
    done = run("read-many", tmp_path / "plates", tmp_path / "readings")
    assert done.returncode == 0, done.stderr
    texts = {row["file_name"]: row["text"] for row in rows}
    read = parquet.read_table(tmp_path / "readings").to_pylist()
    assert {row["file_name"]: row["text"] for row in read} == texts
    done = run("draw-many", tmp_path / "plates", "--count", 20)
    assert done.returncode == 2 and "is there already" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"plates", "readings"}


@pytest.mark.slow
def test_bad_files_land_in_the_error_column(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    good = sorted(TEST.glob("*.png"))[:5]
    for path in good:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:100])
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("nothing")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(good[0].read_bytes())
    done = run("read-many", folder, tmp_path / "readings")
    assert done.returncode == 1 and "4 images could not be read" in done.stdout, done.stderr
    rows = parquet.read_table(tmp_path / "readings").to_pylist()
    errors = {row["file_name"]: row["error"] for row in rows if row["error"]}
    assert set(errors) == {"cut.png", "folder.png", "nowhere.png", "\\udcff.png"}
    assert all(name in error for name, error in errors.items())
    assert {row["text"] for row in rows if not row["error"]} == {path.stem for path in good}


READ = """
import sys
from pathlib import Path
from plate_ocr.scale import read_many

plates, readings = Path(sys.argv[2]), Path(sys.argv[1])
if not readings.exists():  # whole: a run was killed as it ended
    read_many(plates, readings)
"""


@pytest.mark.slow
def test_reading_killed_at_random(tmp_path):
    images = [path.read_bytes() for path in TEST.glob("*.png")]
    plates = tmp_path / "plates"
    plates.mkdir()
    for part in range(8):
        names = [f"{part}-{number}.png" for number in range(600)]
        table = pyarrow.table({"file_name": names, "image": images * 10})
        parquet.write_table(table, plates / f"{part}.parquet")
    folders = killed_at_random(READ, tmp_path, plates, times=3)
    undisturbed, killed = (proof.rows_of(folder, "file_name") for folder in folders)
    assert len(undisturbed) == 4_800 and killed.keys() == undisturbed.keys()
    for name, row in killed.items():
        confidence = pytest.approx(undisturbed[name]["confidence"], abs=proof.TOLERANCE)
        assert row == undisturbed[name] | {"confidence": confidence}
    assert set(tmp_path.iterdir()) == {plates, *folders}


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(tmp_path):
    """Two workers, one killed while drawing and one while reading: all is there and equal."""
    assert proof.main(["--count", "8000", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "scale.json").read_text(encoding="utf-8"))
    assert result["drawing"]["missing_or_different"] == result["drawing"]["surplus"] == 0
    assert result["reading"]["missing_or_different"] == result["reading"]["surplus"] == 0


def test_what_cannot_be_done_is_refused_before_ray_starts(tmp_path):
    with pytest.raises(DatasetError, match="no such plates"):
        draw_many(tmp_path / "out", start=-1, count=5)
    with pytest.raises(DatasetError, match="is there already"):
        draw_many(tmp_path, start=0, count=5)
    with pytest.raises(DatasetError, match="holds no images"):
        read_many(tmp_path, tmp_path / "out")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"a\.parquet: not a Parquet file"):
        read_many(tmp_path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    parquet.write_table(DRAWING.empty_table(), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="holds no plates"):
        read_many(tmp_path, tmp_path / "out")


def test_images_beside_parquet_files_are_not_passed_over(tmp_path):
    image = min(TEST.glob("*.png"))
    (tmp_path / image.name).write_bytes(image.read_bytes())
    parquet.write_table(DRAWING.empty_table(), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=image.name):
        read_many(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
