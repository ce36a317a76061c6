"""Damaged images for the fuzzing tests: five formats, mutated as files go bad."""

import struct
import zlib
from io import BytesIO

import numpy as np
from conftest import PROJECT
from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".tiff": "TIFF"}
MODES = ("L", "RGB", "RGBA", "P", "1", "I;16", "CMYK", "LA")
CUT_STEP = 64  # bytes between the positions where a file is truncated
NUMBERS = (0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)


def mutated(count, seed=0):
    """Yield `count` damaged files, (suffix, bytes): the same for one seed and one Pillow."""
    files = originals()
    truncated = [
        (suffix, whole[:end]) for suffix, whole in files for end in range(0, len(whole), CUT_STEP)
    ]
    systematic = (bombs() + truncated)[: count // 2]
    yield from systematic
    rng = np.random.default_rng(seed)
    for _ in range(count - len(systematic)):
        suffix, content = files[rng.integers(len(files))]
        _, other = files[rng.integers(len(files))]
        yield suffix, mutate(content, rng, other)


def originals():
    """Good files of all formats and modes: (suffix, bytes)."""
    plate = Image.open(PROJECT / "data" / "test" / "12891.png").convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    files = []
    for suffix, name in FORMATS.items():
        options = [{}, {"exif": exif}]
        if name == "TIFF":
            names = ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4")
            options += [{"compression": compression} for compression in names]
        for mode in MODES:
            if mode == "I;16":
                image = Image.fromarray(np.asarray(plate).astype(np.uint16) * 257)
            else:
                image = plate.convert("RGB").convert(mode)
            for option in options:
                try:
                    image.save(buffer := BytesIO(), format=name, **option)
                except (OSError, ValueError):  # this format has no such mode
                    continue
                files.append((suffix, buffer.getvalue()))
    return files


def bombs():
    """Small files that promise, or unpack to, a great many pixels: (suffix, bytes)."""
    files = []
    for width, height in ((65_535, 65_535), (2**31 - 1, 1), (0, 5)):
        files.append((".png", _png(width, height, b"")))
    for width, height in ((7_000, 7_000), (30_000, 30_000)):
        for colour_type, channels in ((0, 1), (2, 3), (6, 4)):
            rows = zlib.compress(bytes(1 + width * channels) * 50)
            files.append((".png", _png(width, height, rows, colour_type)))
    Image.new("RGB", (7_000, 7_000)).save(buffer := BytesIO(), "PNG", compress_level=1)
    files.append((".png", buffer.getvalue()))
    text = struct.pack(">I", 80_000_000) + b"zTXt" + b"a\0\0" + zlib.compress(bytes(80_000_000))
    files.append((".png", _png(5, 5, zlib.compress(bytes(30)))[:33] + text))
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (-5, 7), (7, -(2**31))):
        header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
        files.append((".bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header))
    return files


def _png(width, height, data, colour_type=0):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def mutate(content, rng, other=b""):
    """Flip bits, overwrite a number, insert, delete, truncate, or splice with another file."""

    def position(data):
        # Every other time in the header, where the structure is.
        return int(rng.integers(len(data) if rng.integers(2) else min(len(data), 256)))

    start = position(content)
    match rng.integers(6):
        case 0:
            changed = bytearray(content)
            for _ in range(rng.integers(1, 17)):
                changed[position(content)] ^= 1 << rng.integers(8)
            return bytes(changed)
        case 1:  # where a size, an offset or a count may stand
            number = int(rng.choice(NUMBERS)).to_bytes(4, rng.choice(["little", "big"]))
            return content[:start] + number + content[start + 4 :]
        case 2:
            return content[:start] + rng.bytes(rng.integers(1, 65)) + content[start:]
        case 3:
            return content[:start] + content[start + rng.integers(1, 65) :]
        case 4:
            return content[:start]
        case _:
            return content[:start] + (other[position(other) :] if other else b"")
