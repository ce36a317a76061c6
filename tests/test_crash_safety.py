"""Work that is stopped anywhere: nothing is half-written, and running it again gives the same."""

import builtins
import os
import shutil
import subprocess
from functools import partial
from unittest import mock

import numpy as np
import pytest

from plate_ocr.network.checkpoint import write_metadata
from plate_ocr.plates.dataset import DatasetError, generate_dataset
from plate_ocr.training.fit import ResumableCheckpoint
from plate_ocr.utils import write_text

MOMENTS = ("half-written", "before rename", "after rename")
EXIT = 42  # of a process that was stopped


def stopped_at(moment, number, work):
    """Do `work` in a process that ends, as by SIGKILL, at its `number`-th write or rename.

    Returns:
        Whether it was stopped; else it has done its work.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == EXIT
    remaining = number
    real_open, real_replace = open, os.replace

    def stop(current):
        nonlocal remaining
        remaining -= current == moment
        if current == moment and remaining == 0:
            os._exit(EXIT)

    def open_(path, mode="r", **options):
        file = real_open(path, mode, **options)
        if mode == "wb":
            file.write(b"half")
            file.flush()
            stop("half-written")
            file.seek(0)
            file.truncate()
        return file

    def replace(path, target):
        stop("before rename")
        real_replace(path, target)
        stop("after rename")

    builtins.open, os.replace = open_, replace
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def contents(folder):
    """The files of a folder, without hidden ones: what a killed process was writing."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def draw(folder):
    generate_dataset(folder, start=0, count=5, processes=1, progress=False)


def describe(folder):
    folder.mkdir(exist_ok=True)
    write_metadata(folder / "weights.h5", {"sha256": {}})


class Model:
    """Stands in for a network: its weights are a text that the epoch decides."""

    stop_training = False
    layers = ()

    epoch = 0

    def predict_on_batch(self, images):
        self.epoch += 1
        return np.zeros((len(images), 16, 11))

    def count_params(self):
        return 1_000

    def save_weights(self, path):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"weights of %d" % self.epoch)


def checkpoint(folder):
    """Four epochs of training, or those that are left."""
    callback = ResumableCheckpoint(folder, {"name": "run"}, 9, np.zeros((1, 64, 128, 1)))
    model = Model()
    model.epoch = callback.state["epoch"]
    callback.set_model(model)
    with mock.patch("time.perf_counter", return_value=0.0):  # the time is no part of the result
        for epoch in range(callback.state["epoch"], 4):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {"loss": 9.0 - epoch})


@pytest.mark.parametrize("work", [draw, describe, checkpoint])
@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_every_write_and_rename(tmp_path, work, moment):
    undisturbed = tmp_path / "undisturbed"
    work(undisturbed)
    expected = contents(undisturbed)
    number = 1
    while stopped_at(moment, number, partial(work, tmp_path / str(number))):
        folder = tmp_path / str(number)
        for name, content in (contents(folder) if folder.exists() else {}).items():
            assert work is checkpoint or content == expected[name]  # later epochs replace files
        work(folder)
        # Older weights stay if the run was stopped before it removed them.
        assert expected.items() <= contents(folder).items(), (moment, number)
        number += 1
    assert number > 1 and contents(tmp_path / str(number)) == expected


@pytest.fixture
def disk(tmp_path):
    """A small disk of the test's own; it is called with options to mount it anew."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(path)],
            capture_output=True,
        )

    if shutil.which("mount") is None or mount("size=64k").returncode:
        pytest.skip("mounting a disk is not permitted here")
    yield path, lambda *options: mount("remount", *options).check_returncode()
    subprocess.run(["umount", str(path)], check=True)


def test_generation_on_a_full_and_on_a_read_only_disk(tmp_path, disk):
    path, remount = disk
    with pytest.raises(DatasetError, match="No space left on device"):
        generate_dataset(path / "mine", start=0, count=200, processes=1, progress=False)
    assert not list((path / "mine").glob(".*"))
    remount("ro", "size=64k")
    with pytest.raises(DatasetError, match="Read-only file system"):
        generate_dataset(path / "mine", start=0, count=200, processes=1, progress=False)
    remount("rw", "size=8m")
    generate_dataset(path / "mine", start=0, count=200, processes=1, progress=False)
    generate_dataset(tmp_path / "mine", start=0, count=200, processes=1, progress=False)
    assert contents(path / "mine") == contents(tmp_path / "mine")


def test_checkpoints_on_a_full_and_on_a_read_only_disk(disk):
    """Refused in one line that names the folder; the last epoch is kept."""
    path, remount = disk
    folder = path / "run"
    callback = ResumableCheckpoint(folder, {}, 9)
    callback.set_model(Model())
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 9.0})
    kept = contents(folder)
    callback.on_epoch_begin(1)
    for free, problem in (("size=16k", "No space left on device"), ("ro", "Read-only file system")):
        remount(free)
        with pytest.raises(OSError, match=problem) as error:
            callback.on_epoch_end(1, {"loss": 8.0})
        assert str(folder) in str(error.value) and "\n" not in str(error.value)
        assert contents(folder) == kept
    with pytest.raises(OSError, match="Read-only file system"):
        ResumableCheckpoint(path / "another", {}, 9)


def test_a_text_on_a_full_and_on_a_read_only_disk(disk):
    path, remount = disk
    write_text(path / "a.txt", "old")
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'"):
        write_text(path / "a.txt", "new" * 100_000)
    assert contents(path) == {"a.txt": b"old"}
    remount("ro", "size=64k")
    with pytest.raises(OSError, match=r"Read-only file system: '.*/a\.txt'"):
        write_text(path / "a.txt", "new")
    assert contents(path) == {"a.txt": b"old"}
