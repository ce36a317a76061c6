import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plate_ocr.plates.images import (
    MAX_PIXELS,
    SUFFIXES,
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


def test_every_kind_of_source_gives_the_same_pixels(plate, tmp_path):
    image = Image.fromarray(plate)
    path = tmp_path / "plate.png"
    image.save(path)
    content = path.read_bytes()
    with path.open("rb") as file:
        sources = [path, str(path), content, bytearray(content), memoryview(content), file]
        for source in [*sources, image, plate, plate[:, :, None], np.dstack([plate] * 3)]:
            assert np.array_equal(load_plate(source), plate)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_files_of_every_supported_suffix_are_read(plate, tmp_path, suffix):
    assert is_image_name(f"PLATE{suffix.upper()}") and not is_image_name(f".plate{suffix}")
    Image.fromarray(plate).save(tmp_path / f"plate{suffix}")
    assert np.abs(load_plate(tmp_path / f"plate{suffix}").astype(int) - plate).mean() < 3


def test_other_formats_are_never_opened(plate):
    with pytest.raises(ImageError):
        load_plate(encoded(Image.fromarray(plate), format="GIF"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "CMYK", "I;16"])
def test_color_modes(plate, mode):
    binary = np.where(plate > 100, 255, 0).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(binary.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(binary).convert(mode)
    gray = load_gray(encoded(image, format="TIFF" if mode == "CMYK" else "PNG"))
    assert np.abs(gray.astype(int) - binary).max() <= 1


def test_transparency_is_white(plate):
    transparent = Image.fromarray(plate).convert("RGBA")
    transparent.putalpha(0)
    assert (load_plate(encoded(transparent, format="PNG")) == 255).all()
    by_value = encoded(Image.fromarray(plate), format="PNG", transparency=200)
    assert np.array_equal(load_plate(by_value), np.where(plate == 200, 255, plate))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "quarter_turns"), [(6, -1), (8, 1)])
def test_exif_orientation_is_applied(kind, orientation, quarter_turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    data = encoded(Image.fromarray(image), format=kind, exif=exif)
    assert np.array_equal(load_gray(data), np.rot90(image, quarter_turns))


def test_the_first_of_several_frames_is_read(plate):
    frames = [Image.fromarray(plate), Image.fromarray(255 - plate)]
    data = encoded(frames[0], format="TIFF", save_all=True, append_images=frames[1:])
    assert np.array_equal(load_plate(data), plate)


def test_array_values_are_scaled_to_8_bits(plate):
    sixteen_bits = plate.astype(np.uint16) * 257
    for array in (sixteen_bits, sixteen_bits.astype(">u2"), plate.astype(np.float32) / 255):
        assert np.array_equal(load_plate(array), plate)
        assert np.array_equal(load_plate(np.dstack([array] * 3)), plate)
    assert np.array_equal(load_plate(plate > 100), np.where(plate > 100, 255, 0))


def test_letterbox_centers_an_image_on_its_own_background():
    square = np.full((100, 100), 30, dtype=np.uint8)
    square[40:60, 40:60] = 220
    framed = letterbox(square)
    assert (framed[:, :30] == 30).all() and framed[32, 64] == 220
    for shape in ((100, 100), (64, 96), (32, 128), (128, 192)):
        image = np.zeros(shape, np.uint8)
        image[1:-1, 1:-1] = 255
        framed = letterbox(image)
        assert framed.shape == (64, 128) and np.array_equal(framed, framed[::-1, ::-1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (640, 1280)])
def test_any_size_becomes_a_plate(shape):
    assert (load_plate(np.full(shape, 77, dtype=np.uint8)) == 77).all()


@pytest.mark.parametrize(
    "array",
    [
        np.full((64, 128), np.nan),
        np.full((64, 128), 2.5),
        np.full((64, 128), 200),  # int64: is 200 light of 255, or dark of 65535?
        np.zeros((0, 128), np.uint8),
        np.zeros((2, 64, 128, 1), np.uint8),
        np.zeros((1, 70_000), np.uint8),
    ],
)
def test_arrays_that_are_not_images_are_refused(array):
    with pytest.raises(ImageError, match="array"):
        load_plate(array)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_truncated_files_are_refused_by_name(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 128), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format=kind)
    path = tmp_path / "cut.img"
    for fraction in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * fraction)])
        with pytest.raises(ImageError, match=r"cut\.img: "):
            load_plate(path)


def test_a_damaged_pillow_image_is_refused(plate):
    data = encoded(Image.fromarray(plate), format="PNG")
    with pytest.raises(ImageError, match="L 128 x 64"):
        load_plate(Image.open(BytesIO(data[:-40])))


@pytest.mark.parametrize(
    "source", ["data:image/png;base64," + 4_000_000 * "A", 4_000_000 * b"A", "two\nlines.png", {}]
)
def test_an_error_is_one_short_line(source):
    with pytest.raises(ImageError) as error:
        load_plate(source)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


@pytest.mark.parametrize("source", [Path.cwd(), "missing.png", b"plate.png"])  # bytes by mistake
def test_what_is_no_file_is_refused_by_name(source):
    with pytest.raises(ImageError, match=Path(os.fsdecode(source)).name):
        load_plate(source)


def test_too_many_pixels_are_refused():
    small = Image.new("1", (100, 50))
    for source in (small, encoded(small, format="PNG")):
        assert load_plate(source, max_pixels=5_000).shape == (64, 128)
        with pytest.raises(ImageError, match="pixels"):
            load_plate(source, max_pixels=4_000)
    large = Image.new("1", (MAX_PIXELS // 1000 + 1, 1000))
    for source in (encoded(large, format="PNG"), Image.new("L", (70_000, 1))):
        with pytest.raises(ImageError, match="pixels"):
            load_plate(source)
