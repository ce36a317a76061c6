"""Damaged images for the fuzzing tests: five formats, mutated in every way that files go bad."""

import struct
import zlib
from io import BytesIO

import numpy as np
from conftest import PROJECT
from PIL import Image

KINDS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".tiff": "TIFF"}
MODES = ("L", "RGB", "RGBA", "P", "1", "I;16", "CMYK", "LA")
TRUNCATION = 64  # bytes between the places where a file is cut


def originals():
    """Good files of all formats and modes: (suffix, bytes)."""
    plate = Image.open(PROJECT / "data" / "test" / "12891.png").convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    files = []
    for suffix, kind in KINDS.items():
        for mode in MODES:
            image = plate.convert("RGB").convert(mode) if mode != "I;16" else _sixteen_bits(plate)
            for options in _options(kind, exif):
                buffer = BytesIO()
                try:
                    image.save(buffer, format=kind, **options)
                except (OSError, ValueError):  # this format has no such mode
                    continue
                files.append((suffix, buffer.getvalue()))
    return files


def _sixteen_bits(plate):
    return Image.fromarray(np.asarray(plate).astype(np.uint16) * 257)


def _options(kind, exif):
    if kind == "TIFF":
        compressions = (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4")
        return [{"compression": one} for one in compressions] + [{"exif": exif}]
    if kind in ("PNG", "JPEG", "WEBP"):
        return [{}, {"exif": exif}]
    return [{}]


def bombs():
    """Small files that promise, or unpack to, a great many pixels: (suffix, bytes)."""
    files = []
    for width, height in ((65_535, 65_535), (1_000_000, 1_000_000), (2**31 - 1, 1), (0, 5)):
        files.append((".png", _png(width, height, b"")))
    for width, height in ((4_000, 4_000), (7_000, 7_000), (30_000, 30_000)):
        for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4)):
            if width < 10_000:
                buffer = BytesIO()
                Image.new(mode, (width, height)).save(buffer, "PNG", compress_level=1)
                files.append((".png", buffer.getvalue()))
            rows = zlib.compress(bytes(1 + width * channels) * 50)
            files.append((".png", _png(width, height, rows, {1: 0, 3: 2, 4: 6}[channels])))
    text = struct.pack(">I", 80_000_000) + b"zTXt" + b"a\0\0" + zlib.compress(bytes(80_000_000))
    files.append((".png", _png(5, 5, zlib.compress(bytes(30)))[:33] + text))
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (-5, 7), (7, -(2**31))):
        header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
        files.append((".bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header))
    return files


def _png(width, height, data, colour=0):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def mutated(count, seed=0):
    """Yield `count` damaged files, (suffix, bytes): the same ones for one seed and one Pillow."""
    files = originals()
    cut = [(suffix, whole[:end]) for suffix, whole in files for end in _cuts(whole)]
    systematic = (bombs() + cut)[: count // 2]  # the rest is left to chance
    yield from systematic
    random = np.random.default_rng(seed)
    for _ in range(count - len(systematic)):
        suffix, data = files[random.integers(len(files))]
        _, other = files[random.integers(len(files))]
        yield suffix, mutate(data, random, other)


def mutate(data, random, other=b""):
    """Damage `data` somehow; `other` is a file to splice it with."""
    change = (_flip_bits, _overwrite, _insert, _delete, _cut, _splice)[random.integers(6)]
    return change(data, random, other)


def _cuts(data):
    return range(0, len(data), TRUNCATION)


def _place(data, random):
    """Anywhere, but every other time in the header, where the structure is."""
    end = len(data) if random.integers(2) else min(len(data), 256)
    return int(random.integers(end))


def _flip_bits(data, random, _):
    changed = bytearray(data)
    for _ in range(random.integers(1, 17)):
        changed[_place(data, random)] ^= 1 << random.integers(8)
    return bytes(changed)


def _overwrite(data, random, _):
    """A number where a size, an offset or a count may stand."""
    number = int(random.choice([0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
    place, order = _place(data, random), random.choice(["little", "big"])
    return data[:place] + number.to_bytes(4, order) + data[place + 4 :]


def _insert(data, random, _):
    place = _place(data, random)
    return data[:place] + random.bytes(random.integers(1, 65)) + data[place:]


def _delete(data, random, _):
    place = _place(data, random)
    return data[:place] + data[place + random.integers(1, 65) :]


def _cut(data, random, _):
    return data[: _place(data, random)]


def _splice(data, random, other):
    """The head of one file with the tail of another."""
    return data[: _place(data, random)] + (other[_place(other, random) :] if other else b"")
