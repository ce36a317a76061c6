"""Work that is stopped anywhere: nothing is half-written, and running it again gives the same."""

import multiprocessing
import os
import shutil
import signal
import subprocess
from functools import partial

import pytest

from plate_ocr.plates.dataset import DatasetError, generate_dataset
from plate_ocr.training.fit import ResumableCheckpoint
from plate_ocr.utils import write_text


def killed_at_rename(number, when, work):
    """Do `work` in a process that is killed before or after its `number`-th rename.

    Returns whether it got so far.
    """
    renames, replace = iter(range(1, 1_000_000)), os.replace

    def replace_or_die(source, target):
        last = next(renames) == number
        if not (last and when == "before"):
            replace(source, target)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    def work_or_die():
        os.replace = replace_or_die
        work()

    process = multiprocessing.get_context("fork").Process(target=work_or_die)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def contents(folder):
    """The files of a folder, without hidden ones: what a killed process was writing."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def generate(folder, count):
    generate_dataset(folder, start=0, count=count, processes=1, progress=False)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_data_set_is_completed_after_a_kill_at_every_rename(tmp_path, when):
    generate(tmp_path / "undisturbed", 5)
    expected = contents(tmp_path / "undisturbed")
    number = 1
    while killed_at_rename(number, when, partial(generate, folder := tmp_path / str(number), 5)):
        assert contents(folder).items() <= expected.items()
        generate(folder, 5)
        assert contents(folder) == expected, number
        number += 1
    assert number == 1 + len(expected) and contents(folder) == expected


@pytest.fixture
def disk(tmp_path):
    """A small disk of the test's own, and a function that mounts it again with other options."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(path)]
        return subprocess.run(command, capture_output=True)

    if shutil.which("mount") is None or mount("size=64k").returncode:
        pytest.skip("mounting a disk is not permitted here")
    yield path, lambda *options: mount("remount", *options).check_returncode()
    subprocess.run(["umount", str(path)], check=True)


class Model:
    """Stands in for a network."""

    stop_training = False

    def count_params(self):
        return 1_000

    def save_weights(self, path):
        path.write_bytes(b"weights")


def write_checkpoint(path):
    callback = ResumableCheckpoint(path / "run", {}, patience=9)
    callback.set_model(Model())
    for _ in range(5):
        callback.on_epoch_begin(0)
        callback.on_epoch_end(callback.state["epoch"], {"loss": 9.0})


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda path: generate(path / "mine", 200), DatasetError),
        (lambda path: write_text(path / "text", 100_000 * "x"), OSError),
        (write_checkpoint, OSError),
    ],
)
def test_a_full_and_a_read_only_disk_are_one_clear_error(disk, work, error):
    path, remount = disk
    for options, problem in (("size=16k", "No space left on"), ("ro", "Read-only file system")):
        remount(options)
        with pytest.raises(error, match=problem) as raised:
            work(path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
        assert not list(path.glob("**/.*.part.*"))
    remount("rw", "size=8m")
    work(path)
