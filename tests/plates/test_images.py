import os
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from conftest import succeeds_in_a_fork
from PIL import Image, ImageFile, ImageOps

from plate_ocr.plates.images import (
    FORMATS,
    MAX_PIXELS,
    SUFFIXES,
    UNREAD_SUFFIXES,
    ImageError,
    is_image_name,
    letterbox,
    load_gray,
    load_plate,
)


@pytest.fixture
def plate():
    image = np.full((64, 128), 200, dtype=np.uint8)
    image[20:40, 30:90] = 10
    return image


def encoded(image, **options):
    buffer = BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def test_every_way_in_gives_the_same_pixels(plate, tmp_path):
    image = Image.fromarray(plate)
    path = tmp_path / "plate.png"
    image.save(path)
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, image, plate, plate[:, :, None]]
        for source in sources:
            assert np.array_equal(load_plate(source), plate)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG", "WEBP"])
def test_the_five_formats(plate, kind):
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    read = load_plate(encoded(Image.fromarray(plate), format=kind, **options))
    assert read.shape == (64, 128) and np.abs(read.astype(int) - plate).mean() < 3


def test_other_formats_are_never_opened(plate):
    with pytest.raises(ImageError, match="not a PNG, JPEG, BMP, WebP or TIFF"):
        load_plate(encoded(Image.fromarray(plate), format="GIF"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "CMYK", "I;16"])
def test_colour_modes(plate, mode):
    binary = np.where(plate > 100, 255, 0).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(binary.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(binary).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    read = load_plate(encoded(image, format=kind))
    assert np.abs(read.astype(int) - binary).max() <= 1


def test_transparency_is_white(plate):
    image = Image.fromarray(plate).convert("RGBA")
    image.putalpha(0)
    assert (load_plate(encoded(image, format="PNG")) == 255).all()


def packed(values, bits):
    """Rows of pixels of 1 to 16 bits, the most significant first."""
    each = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row).tobytes() for row in each.reshape(len(values), -1).astype(np.uint8)]


def png(values, bits, colour, transparent):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row for row in packed(values, bits)))
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def tiff(values, bits, photometric):
    """A gray TIFF file, as Pillow does not write all of them."""
    height, width = values.shape
    data = values.astype("<u2").tobytes() if bits == 16 else b"".join(packed(values, bits))
    start = 8 + 2 + 9 * 12 + 4
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric}
    tags |= {273: start, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (16, 2)])
def test_transparency_by_value_is_white_in_every_depth(plate, bits, colour):
    paper = (2**bits - 1) // 3  # in 16 bits, 0x5555; neither black nor white, but of one bit
    values = np.where(plate > 100, paper, 0 if paper else 1)
    if colour:
        values = np.stack([values, values, values + 1], axis=2)  # 0x5556
    transparent = struct.pack(f">{max(1, colour + colour // 2)}H", *np.atleast_1d(values[0, 0]))
    expected = np.where(plate > 100, 255, 0 if paper else 255)
    assert np.array_equal(load_plate(png(values, bits, colour, transparent)), expected)


@pytest.mark.parametrize(
    ("bits", "white_is_zero"),
    [(1, 0), (1, 1), (4, 0), (4, 1), (8, 0), (8, 1), (12, 0), (16, 0), (16, 1)],
)
def test_gray_tiffs_of_every_depth(plate, bits, white_is_zero):
    values = np.where(plate > 100, 2**bits - 1, 0)
    data = tiff(values, bits, photometric=0 if white_is_zero else 1)
    expected = np.where(plate > 100, 255, 0)
    assert np.array_equal(load_plate(data), 255 - expected if white_is_zero else expected)


def test_twelve_bits_are_as_light_as_eight(plate):
    data = tiff(np.rint(plate * (4095 / 255)).astype(int), 12, photometric=1)
    assert np.array_equal(load_plate(data), plate)


@pytest.mark.parametrize("make", [np.asarray, Image.fromarray])
def test_sixteen_bits_that_are_fewer_are_warned_of(plate, make, recwarn):
    load_plate(make(plate.astype(np.uint16) * 257))
    load_plate(make(np.zeros((64, 128), np.uint16)))
    assert not recwarn
    load_plate(make(plate.astype(np.uint16) * 16))
    load_plate(make(plate.astype(np.uint16) * 8))
    (warning,) = recwarn
    assert "16 bits" in str(warning.message)


@pytest.mark.parametrize("kind", ["uint16", "float32", "float64"])
def test_arrays_in_the_other_byte_order(plate, kind):
    array = plate.astype(np.uint16) * 257 if kind == "uint16" else plate.astype(kind) / 255
    swapped = array.astype(array.dtype.newbyteorder("S"))
    assert np.array_equal(load_plate(swapped), plate)
    assert np.array_equal(load_plate(np.dstack([swapped] * 3)), plate)


def test_colours_are_red_green_blue():
    """Of the lightness of a gray, 30 % is red, 59 % green and 11 % blue."""
    colours = np.zeros((1, 3, 3), np.uint8)
    colours[0, [0, 1, 2], [0, 1, 2]] = 255
    for source in (
        colours,
        Image.fromarray(colours),
        encoded(Image.fromarray(colours), format="PNG"),
    ):
        assert load_gray(source).tolist() == [[76, 150, 29]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])  # Pillow turns a TIFF itself
def test_rotation_by_exif_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6))
    data = encoded(image, format=kind, exif=exif)
    with Image.open(BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(load_gray(data), expected)


def test_a_quarter_turn_by_exif_is_clockwise_for_6_and_back_for_8(plate):
    for orientation, turns in ((6, -1), (8, 1)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(Image.fromarray(plate), format="PNG", exif=exif)
        assert np.array_equal(load_gray(data), np.rot90(plate, turns))


def test_the_first_frame_of_several(plate):
    frames = [Image.fromarray(plate), Image.fromarray(255 - plate)]
    data = encoded(frames[0], format="TIFF", save_all=True, append_images=frames[1:])
    assert np.array_equal(load_plate(data), plate)


def test_another_size_is_framed_in_its_own_grey():
    square = np.full((100, 100), 30, dtype=np.uint8)
    square[40:60, 40:60] = 220
    framed = letterbox(square)
    assert framed.shape == (64, 128)
    assert (framed[:, :30] == 30).all() and (framed[:, -30:] == 30).all()
    assert framed[32, 64] == 220


@pytest.mark.parametrize("shape", [(64, 96), (32, 128), (128, 192)])
def test_another_size_stands_in_the_middle(shape):
    """Black around white: what is added is black, and as much on either side."""
    image = np.zeros(shape, np.uint8)
    image[1:-1, 1:-1] = 255
    framed = letterbox(image)
    assert np.array_equal(framed, framed[::-1, ::-1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (640, 1280), (3, 2)])
def test_any_size(shape):
    assert load_plate(np.full(shape, 77, dtype=np.uint8)).shape == (64, 128)


def test_array_values():
    halves = np.full((64, 128), 0.5)
    assert (load_plate(halves) == 128).all()
    assert (load_plate(np.full((64, 128), 65535, np.uint16)) == 255).all()
    assert (load_plate(np.ones((64, 128), bool)) == 255).all()


@pytest.mark.parametrize(
    "array",
    [
        np.full((64, 128), np.nan),
        np.full((64, 128), 2.5),
        np.full((64, 128), 200),  # int64: is 200 light of 255, or dark of 65535?
        np.zeros((64, 128, 2), np.uint8),
        np.zeros((64,), np.uint8),
        np.zeros((0, 128), np.uint8),
        np.zeros((64, 128), complex),
        np.zeros((2, 64, 128, 1), np.uint8),
    ],
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(ImageError, match="array"):
        load_plate(array)


def test_a_png_cut_anywhere_is_refused_by_name(plate, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, plate.shape, dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format="PNG")
    path = tmp_path / "cut.png"
    for length in range(0, len(data) - 16, 64):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"cut\.png: "):
            load_plate(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_cut_files_are_refused_though_pillow_was_told_to_take_them(monkeypatch, kind, options):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (64, 128), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format=kind, **options)
    assert load_plate(data).shape == (64, 128)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        cut = data[: int(len(data) * share)]
        for source in (cut, BytesIO(cut)):
            with pytest.raises(ImageError):
                load_plate(source)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # as the other library wants it


def test_a_damaged_file_is_refused_though_pillow_was_told_to_take_it(monkeypatch, plate):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = bytearray(encoded(Image.fromarray(plate), format="PNG"))
    data[60] ^= 0xFF
    with pytest.raises(ImageError):
        load_plate(bytes(data))


def test_threads_refuse_cut_files_and_leave_pillow_as_it_was(monkeypatch, plate):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(Image.fromarray(plate).resize((600, 300)), format="JPEG")

    def is_read(data):
        try:
            load_gray(data)
        except ImageError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(is_read, [whole, whole[:-500]] * 200))
    assert found == [True, False] * 200
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


class SlowFile(BytesIO):
    """A file whose pixels come when they are waited for no longer."""

    def __init__(self, data):
        super().__init__(data)
        self.is_read, self.may_go_on = threading.Event(), threading.Event()

    def read(self, size=-1):
        if size > 10_000:
            self.is_read.set()
            self.may_go_on.wait(20)
        return super().read(size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_large_image_is_decoded_reads_one_too(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    large = Image.new("L", (1100, 1000))
    file = SlowFile(encoded(large, format="BMP"))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(load_gray, file)
        assert file.is_read.wait(10)
        good = succeeds_in_a_fork(
            lambda: ImageFile.LOAD_TRUNCATED_IMAGES and load_gray(large).shape == (1000, 1100)
        )
        file.may_go_on.set()
        assert future.result().shape == (1000, 1100) and good


def test_every_ending_of_the_formats_is_an_image():
    Image.init()
    registered = Image.registered_extensions()
    assert {ending for ending, kind in registered.items() if kind in FORMATS} == SUFFIXES
    assert is_image_name("PLATE.JFIF") and not is_image_name(".plate.png")
    assert not SUFFIXES & UNREAD_SUFFIXES


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_file_of_every_ending_is_read(plate, tmp_path, suffix):
    Image.fromarray(plate).save(tmp_path / f"plate{suffix}")
    assert np.abs(load_plate(tmp_path / f"plate{suffix}").astype(int) - plate).mean() < 3


@pytest.mark.parametrize("source", [b"plate.png", bytearray(b"plates/one.jpg")])
def test_a_path_in_bytes_is_told_from_the_content_of_an_image(source):
    with pytest.raises(ImageError, match="path") as error:
        load_plate(source)
    assert bytes(source).decode() in str(error.value)


@pytest.mark.parametrize("source", ["data:image/png;base64," + 4_000_000 * "A", 4_000_000 * b"A"])
def test_what_is_quoted_is_cut(source):
    with pytest.raises(ImageError) as error:
        load_plate(source)
    assert len(str(error.value)) < 300


def test_an_error_is_one_line(tmp_path):
    with pytest.raises(ImageError) as error:
        load_plate(tmp_path / "two\nlines.png")
    assert "\n" not in str(error.value) and "lines.png" in str(error.value)


class Nowhere(os.PathLike):
    def __fspath__(self):
        raise RuntimeError


def test_strange_sources_are_unreadable(plate, tmp_path):
    with pytest.raises(ImageError, match="Nowhere"):
        load_plate(Nowhere())
    data = encoded(Image.fromarray(plate), format="PNG")
    every_other = bytearray(2 * len(data))
    every_other[::2] = data
    assert np.array_equal(load_plate(memoryview(every_other)[::2]), plate)
    (tmp_path / "plate.png").write_bytes(data)
    with os.scandir(os.fsencode(tmp_path)) as entries:
        assert np.array_equal(load_plate(next(entries)), plate)


def test_a_pillow_image_that_cannot_be_decoded(plate):
    data = encoded(Image.fromarray(plate), format="PNG")
    with pytest.raises(ImageError, match="image L 128 x 64: "):
        load_plate(Image.open(BytesIO(data[:-40])))


def tiff_of_one_tile(side):
    """A TIFF file of a single pixel, in a tile of so many pixels a side."""
    tile = zlib.compress(bytes(side * side))
    tags = {256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    tags |= {324: 10 + 12 * 10 + 4, 325: len(tile)}  # where the tile lies, and its bytes
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def test_a_tile_of_more_pixels_than_the_image_is_refused():
    assert load_plate(tiff_of_one_tile(512)).shape == (64, 128)
    with pytest.raises(ImageError, match="not a size we read"):
        load_plate(tiff_of_one_tile(5_008))
    with pytest.raises(ImageError, match="not a size we read"):
        load_plate(tiff_of_one_tile(512), max_pixels=512 * 512 - 1)


def tiff_of_planes(bits):
    """A TIFF file of 16 x 8 gray pixels, with red, green and blue one after another."""
    plane = (np.arange(128, dtype=f"<u{bits // 8}") << (bits - 8)).tobytes()
    start = 10 + 12 * 10 + 4
    three = struct.pack("<3H", *3 * [bits])
    data = start + len(three) + 24
    tags = [(256, 4, 1, 16), (257, 4, 1, 8), (258, 3, 3, start), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 3, start + 6), (277, 3, 1, 3), (278, 4, 1, 8), (279, 4, 3, start + 18)]
    tags += [(284, 3, 1, 2)]
    places = struct.pack("<3I", *(data + number * len(plane) for number in range(3)))
    lengths = struct.pack("<3I", *3 * [len(plane)])
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + three + places + lengths + 3 * plane


def test_planes_of_sixteen_bits_are_refused_and_not_read_wrong():
    assert np.array_equal(load_gray(tiff_of_planes(8)).ravel(), np.arange(128))
    with pytest.raises(ImageError, match="planes"):
        load_gray(tiff_of_planes(16))


def test_a_side_that_is_very_long_is_refused():
    for source in (np.zeros((1, 70_000), np.uint8), Image.new("L", (70_000, 1))):
        with pytest.raises(ImageError, match="not a size we read"):
            load_plate(source)


def test_bombs_folders_and_missing_files(tmp_path):
    wide = Image.new("1", (MAX_PIXELS // 1000 + 1, 1000))
    with pytest.raises(ImageError, match="not a size we read"):
        load_plate(encoded(wide, format="PNG"))
    small = Image.new("1", (100, 50))
    for source in (small, encoded(small, format="PNG")):
        assert load_plate(source, max_pixels=5_000).shape == (64, 128)
        with pytest.raises(ImageError, match="100 x 50"):
            load_plate(source, max_pixels=4_999)
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(ImageError, match=path.name):
            load_plate(path)
    with pytest.raises(ImageError, match="dict"):
        load_plate({})
