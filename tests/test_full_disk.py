"""A disk that is full or read-only: nothing is half-written, and a second run completes."""

import shutil
import subprocess

import pytest

from plate_ocr.network.crnn import build_model
from plate_ocr.plates.dataset import DatasetError, generate_dataset
from plate_ocr.training.callbacks import MONITOR, ResumableCheckpoint
from plate_ocr.training.saving import save_model
from plate_ocr.utils import write_text


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


def write_checkpoint(path):
    callback = ResumableCheckpoint(path / "run", {}, patience=9)
    callback.set_model(build_model())
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {MONITOR: 9.0})


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda path: generate_dataset(path / "mine", start=0, count=200), DatasetError),
        (lambda path: write_text(path / "text", 100_000 * "x"), OSError),
        (write_checkpoint, OSError),
        (lambda path: save_model(build_model(), path / "mine.h5"), OSError),
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
    remount("rw", "size=16m")
    work(path)
