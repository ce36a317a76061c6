"""Drawing and reading on Ray Data; every test starts a Ray of its own, which takes seconds."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

import pyarrow
import pytest
import ray
from conftest import PROJECT, run_python
from pyarrow import parquet
from ray.cluster_utils import Cluster

from plate_ocr.plates.dataset import DatasetError, encode_png
from plate_ocr.plates.rendering import DEFAULT_SEED, render_plate
from plate_ocr.ray_data import draw_many, read_many
from plate_ocr.reading.reader import PlateReader

TEST = PROJECT / "data" / "test"
EMPTY = pyarrow.table({"file_name": [], "image": []})
OBJECT_STORE = 200 * 2**20  # bytes of shared memory per worker


def run(*arguments):
    return run_python("-m", "plate_ocr", *arguments)


@pytest.mark.slow
def test_plates_are_drawn_and_read_by_command(tmp_path, fonts):
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
    assert done.returncode == 2 and "plates" in done.stderr
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


@pytest.fixture
def cluster():
    """A Ray cluster on this machine: a head that does no work; the test adds workers."""
    head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path, fonts, cluster):
    plates, readings = tmp_path / "plates", tmp_path / "readings"
    workers = []

    def kill_worker_during(output):
        while not list(tmp_path.glob(f".*.part.{output.name}/*.parquet")):
            time.sleep(0.01)
        cluster.remove_node(workers.pop(), allow_graceful=False)
        return not output.exists()

    with ThreadPoolExecutor(1) as thread:
        for output, work in (
            (plates, partial(draw_many, plates, start=0, count=8_000)),
            (readings, partial(read_many, plates, readings)),
        ):
            while len(workers) < 2:
                workers.append(cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE))
            killed = thread.submit(kill_worker_during, output)
            work()
            assert killed.result(60)

    rows = parquet.read_table(plates).sort_by("index").to_pylist()
    assert [row["index"] for row in rows] == list(range(8_000))
    for row in rows:
        assert row["image"] == encode_png(render_plate(fonts, DEFAULT_SEED, row["index"])[0])
    texts = [reading.text for reading in PlateReader().stream(row["image"] for row in rows)]
    read = {row["file_name"]: row for row in parquet.read_table(readings).to_pylist()}
    assert len(read) == len(rows)
    assert [read[row["file_name"]]["text"] for row in rows] == texts


def test_bad_arguments_are_refused_before_ray_starts(tmp_path):
    with pytest.raises(DatasetError, match="no such plates"):
        draw_many(tmp_path / "out", start=-1, count=5)
    with pytest.raises(DatasetError, match=tmp_path.name):
        draw_many(tmp_path, start=0, count=5)
    with pytest.raises(DatasetError, match="holds no images"):
        read_many(tmp_path, tmp_path / "out")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"a\.parquet"):
        read_many(tmp_path, tmp_path / "out")
    parquet.write_table(EMPTY, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="holds no plates"):
        read_many(tmp_path, tmp_path / "out")
    (tmp_path / "beside.png").touch()
    with pytest.raises(DatasetError, match=r"beside\.png"):
        read_many(tmp_path, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"a.parquet", "beside.png"}
