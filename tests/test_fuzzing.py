"""Damaged images: never a crash, a hang, a traceback or much memory."""

import csv
import io
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, run_python
from fuzz_images import mutated

from plate_ocr import ImageError
from plate_ocr.reading.reader import PlateReader

MAX_MEMORY = 150  # megabytes above a run without damaged images
GOOD = sorted((PROJECT / "data" / "test").glob("*.png"))


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


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_images_cost_no_other_image_its_reading(count, tmp_path):
    for number, (suffix, content) in enumerate(mutated(count)):
        (tmp_path / f"{number}{suffix}").write_bytes(content)
    done = run_python("-W", "ignore", __file__, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result["unreadable"] <= count and result["megabytes"] < MAX_MEMORY


def test_a_folder_of_damaged_images_through_the_command(tmp_path):
    for number, (suffix, content) in enumerate(mutated(80, seed=1)):
        (tmp_path / f"damaged-{number}{suffix}").write_bytes(content)
    for path in GOOD[:20]:
        shutil.copy(path, tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.webp")
    done = run_python("-m", "plate_ocr", "read", "--csv", tmp_path)
    assert done.returncode == 1 and "Warning" not in done.stderr
    texts = {row["file"]: row["text"] for row in csv.DictReader(io.StringIO(done.stdout))}
    assert all(texts[str(tmp_path / path.name)] == path.stem for path in GOOD[:20])
    for name in ("folder.png", "endless.png", "pipe.webp"):
        assert f"{tmp_path / name}: " in done.stderr
    assert run_python("-m", "plate_ocr", "validate", tmp_path).returncode == 1


if __name__ == "__main__":  # in a process of its own, whose memory is measured
    read_damaged(sys.argv[1])
