import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

from plate_ocr.utils import (
    atomic_write,
    check_writable,
    map_batches,
    read_json,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_or_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.suffix == ".json"
    assert path.read_text() == "new" and names(tmp_path) == ["run.json"]
    with atomic_write(tmp_path / "plates") as temporary:
        temporary.mkdir()
        assert names(tmp_path) == [temporary.name, "run.json"]
    assert names(tmp_path) == ["plates", "run.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("create", ["touch", "mkdir"])
def test_an_error_leaves_the_old_file_alone(tmp_path, error, create):
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        getattr(temporary, create)()
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("name", [245 * "x", "nowhere/run.json"])
def test_an_error_of_the_system_names_the_file(tmp_path, name):
    with pytest.raises(OSError) as error:
        write_text(tmp_path / name, "")
    assert error.value.filename == str(tmp_path / name) and names(tmp_path) == []


def test_a_file_that_cannot_be_written_is_found_early(tmp_path):
    check_writable(tmp_path / "new" / "run.json")
    assert names(tmp_path) == ["new"] and names(tmp_path / "new") == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "new", tmp_path / "file" / "run.json", Path("/proc/run.json")):
        with pytest.raises(OSError) as error:
            check_writable(path)
        assert str(error.value.filename) in (str(path), str(path.parent))


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_json_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json"):
        read_json(path)


def double(batch):
    return [2 * item for item in batch]


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_results_come_in_the_order_of_the_items(num_threads, count):
    before = threading.active_count()
    results = list(map_batches(double, iter(range(count)), num_threads=num_threads, size=7))
    assert results == [2 * number for number in range(count)]
    assert threading.active_count() == before


def test_a_stream_that_is_left_ends_its_threads_and_took_few_items():
    before, taken = threading.active_count(), []
    items = (taken.append(number) or number for number in range(10_000))
    stream = map_batches(double, items, num_threads=2, size=4)
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before and len(taken) <= 5 * 4


WITH_PROCESSES = """
import multiprocessing, time
from plate_ocr.utils import spawn_pool
if __name__ == "__main__":
    pool = spawn_pool(2)
    waiting = [pool.submit(time.sleep, 60) for _ in range(2)]
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def test_processes_end_with_a_killed_parent():
    command = [sys.executable, "-c", WITH_PROCESSES]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        workers = process.stdout.readline().split()
        process.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
