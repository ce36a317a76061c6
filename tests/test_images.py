from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from plate_ocr.images import LARGEST_PIXELS, UnreadableImage, letterbox, load_plate


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
    with pytest.raises(UnreadableImage, match="not a PNG, JPEG, BMP, WebP or TIFF"):
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


def test_rotation_by_exif_is_applied(plate):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    data = encoded(Image.fromarray(plate), format="PNG", exif=exif)
    assert np.array_equal(load_plate(data), plate[::-1, ::-1])


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
    with pytest.raises(UnreadableImage, match="array"):
        load_plate(array)


def test_a_png_cut_anywhere_is_refused_by_name(plate, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, plate.shape, dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format="PNG")
    path = tmp_path / "cut.png"
    for length in range(0, len(data) - 16, 64):
        path.write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match=r"cut\.png: "):
            load_plate(path)


def test_a_pillow_image_that_cannot_be_decoded(plate):
    data = encoded(Image.fromarray(plate), format="PNG")
    with pytest.raises(UnreadableImage, match="image L 128 x 64: "):
        load_plate(Image.open(BytesIO(data[:-40])))


def test_bombs_folders_and_missing_files(tmp_path):
    wide = Image.new("1", (LARGEST_PIXELS // 1000 + 1, 1000))
    with pytest.raises(UnreadableImage, match="not a size we read"):
        load_plate(encoded(wide, format="PNG"))
    small = Image.new("1", (100, 50))
    for source in (small, encoded(small, format="PNG")):
        assert load_plate(source, max_pixels=5_000).shape == (64, 128)
        with pytest.raises(UnreadableImage, match="100 x 50"):
            load_plate(source, max_pixels=4_999)
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(UnreadableImage, match=path.name):
            load_plate(path)
    with pytest.raises(UnreadableImage, match="dict"):
        load_plate({})
