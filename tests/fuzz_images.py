"""Damaged images for the fuzzing tests: five formats, mutated as files go bad."""

import struct
import zlib
from io import BytesIO

import numpy as np
from conftest import PROJECT
from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".tiff": "TIFF"}
MODES = ("L", "RGB", "RGBA", "P", "1", "CMYK", "LA")
NUMBERS = (0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)


def mutated(count, seed=0):
    """Yield `count` damaged files, (suffix, bytes): the same for one seed and one Pillow."""
    files, bombs = originals(), decompression_bombs()
    yield from bombs
    rng = np.random.default_rng(seed)
    for _ in range(count - len(bombs)):
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
        images = [plate.convert("RGB").convert(mode) for mode in MODES]
        images.append(Image.fromarray(np.asarray(plate).astype(np.uint16) * 257))
        for image in images:
            for option in options:
                try:
                    image.save(buffer := BytesIO(), format=name, **option)
                except (OSError, ValueError):  # this format has no such mode
                    continue
                files.append((suffix, buffer.getvalue()))
    return files


def decompression_bombs():
    """Small files that promise, or unpack to, a great many pixels: (suffix, bytes)."""
    files = []
    for width, height in ((0, 5), (7_000, 7_000), (30_000, 30_000), (2**31 - 1, 1)):
        row = zlib.compress(bytes(1 + min(width, 30_000)) * 50)
        files.append((".png", _png(width, height, row)))
    Image.new("RGB", (7_000, 7_000)).save(buffer := BytesIO(), "PNG", compress_level=1)
    files.append((".png", buffer.getvalue()))
    text = struct.pack(">I", 80_000_000) + b"zTXt" + b"a\0\0" + zlib.compress(bytes(80_000_000))
    files.append((".png", _png(5, 5, zlib.compress(bytes(30)))[:33] + text))
    for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (-5, 7), (7, -(2**31))):
        header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
        files.append((".bmp", b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header))
    return files


def _png(width, height, data):
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + checksum
    return content


def mutate(content, rng, other):
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
            return content[:start] + other[position(other) :]
