"""Damaged images: never a crash, a hang, a traceback or much memory."""

import json
import resource
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from conftest import PROJECT, run_python
from PIL import Image

from plate_ocr import ImageError
from plate_ocr.reading.reader import PlateReader

MAX_MEMORY = 150  # megabytes above a run without damaged images
GOOD = sorted((PROJECT / "data" / "test").glob("*.png"))
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
NUMBERS = (0, 2**15, 2**31 - 1, 2**32 - 1)


def text_bomb():
    """A plate as a PNG file, with a compressed text of 80 MB."""
    text = b"zTXta\0\0" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    png = GOOD[0].read_bytes()
    return png[:33] + chunk + png[33:]  # after the header


def damaged(rng):
    """A plate as a file in which bits are flipped, a number is another, or the end is missing."""
    Image.open(GOOD[0]).convert("RGB").save(buffer := BytesIO(), rng.choice(FORMATS))
    content = bytearray(buffer.getvalue())
    match rng.integers(3):
        case 0:
            for position in rng.integers(len(content), size=8):
                content[position] ^= 1 << rng.integers(8)
        case 1:  # in the header, where a size, an offset or a count may stand
            start, order = rng.integers(256), rng.choice(["little", "big"])
            content[start : start + 4] = int(rng.choice(NUMBERS)).to_bytes(4, order)
        case 2:
            del content[rng.integers(len(content)) :]
    return bytes(content)


def test_damaged_images_cost_no_other_image_its_reading(tmp_path):
    rng = np.random.default_rng(0)
    for number, content in enumerate([text_bomb(), *(damaged(rng) for _ in range(400))]):
        (tmp_path / f"{number}.png").write_bytes(content)
    done = run_python("-W", "ignore", __file__, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["unreadable"] > 100 and result["megabytes"] < MAX_MEMORY


def peak_memory():
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_damaged(folder):
    """Read damaged images with good ones among them; print how many, and the memory it took."""
    plate_reader = PlateReader()
    list(plate_reader.stream(GOOD * 10))
    clean = peak_memory()
    paths = sorted(Path(folder).iterdir())
    good = (GOOD * len(paths))[: len(paths)]
    pairs = zip(paths, good, strict=True)
    readings = list(plate_reader.stream(path for pair in pairs for path in pair))
    errors = [str(reading) for reading in readings[::2] if isinstance(reading, ImageError)]
    assert [reading.text for reading in readings[1::2]] == [path.stem for path in good]
    assert not any("\n" in error for error in errors)
    print(json.dumps({"unreadable": len(errors), "megabytes": peak_memory() - clean}))


if __name__ == "__main__":  # in a process of its own, whose memory is measured
    read_damaged(sys.argv[1])
