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
COMPRESSIONS = ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
NUMBERS = (0, 2**15, 2**31 - 1, 2**32 - 1)


def originals():
    """Good files of all formats, as bytes."""
    options = [{"format": name} for name in FORMATS]
    options += [{"format": "TIFF", "compression": name} for name in COMPRESSIONS]
    files = []
    for mode in ("L", "RGB"):
        for option in options:
            Image.open(GOOD[0]).convert(mode).save(buffer := BytesIO(), **option)
            files.append(buffer.getvalue())
    return files


def bombs():
    """Small files that promise, or unpack to, a great many bytes."""
    text = b"zTXta\0\0" + zlib.compress(bytes(80_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    png = GOOD[0].read_bytes()
    yield png[:33] + chunk + png[33:]  # after the header
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (-5, 7), (7, -(2**31))):
        header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
        yield b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header


def mutate(content, other, rng):
    """Flip bits, overwrite a number, truncate, or splice with another file."""
    # Every other time in the header, where the structure is.
    start = int(rng.integers(len(content) if rng.integers(2) else 256))
    match rng.integers(4):
        case 0:
            changed = bytearray(content)
            for position in rng.integers(len(content), size=8):
                changed[position] ^= 1 << rng.integers(8)
            return bytes(changed)
        case 1:  # where a size, an offset or a count may stand
            number = int(rng.choice(NUMBERS)).to_bytes(4, rng.choice(["little", "big"]))
            return content[:start] + number + content[start + 4 :]
        case 2:
            return content[:start]
        case _:
            return content[:start] + other[int(rng.integers(len(other))) :]


def test_damaged_images_cost_no_other_image_its_reading(tmp_path):
    rng, files = np.random.default_rng(0), originals()
    damaged = [
        mutate(*(files[i] for i in rng.integers(len(files), size=2)), rng) for _ in range(400)
    ]
    for number, content in enumerate([*bombs(), *damaged]):
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
    damaged = sorted(Path(folder).iterdir())
    good = (GOOD * len(damaged))[: len(damaged)]
    pairs = zip(damaged, good, strict=True)
    readings = list(plate_reader.stream(path for pair in pairs for path in pair))
    errors = [str(reading) for reading in readings[::2] if isinstance(reading, ImageError)]
    assert [reading.text for reading in readings[1::2]] == [path.stem for path in good]
    assert not any("\n" in error for error in errors)
    print(json.dumps({"unreadable": len(errors), "megabytes": peak_memory() - clean}))


if __name__ == "__main__":  # in a process of its own, whose memory is measured
    read_damaged(sys.argv[1])
