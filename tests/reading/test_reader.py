import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from conftest import ink_columns
from PIL import Image

from plate_ocr.network.checkpoint import WeightsError, write_metadata
from plate_ocr.plates.dataset import DatasetError, render_plates
from plate_ocr.plates.images import ImageError
from plate_ocr.reading.reader import BATCH_SIZE, PlateReader, Reading

WHITE = np.full((64, 128), 255, np.uint8)


def noise(count, shape=(64, 128)):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def texts(readings):
    return [reading.text for reading in readings]


@pytest.mark.parametrize(
    ("scale", "left", "top", "right", "bottom", "tta"),
    [
        (1, 0, 0, 0, 0, True),
        (1, 40, 0, 10, 0, False),
        (2.5, 0, 60, 0, 20, False),
        (0.8, 5, 5, 30, 2, False),
    ],
)
def test_digits_stand_in_their_ink(fonts, scale, left, top, right, bottom, tta):
    plates = render_plates(range(96_000, 96_300))
    columns = np.array([ink_columns(fonts, record) for record in plates.records]) * scale + left
    size = (round(128 * scale), round(64 * scale))
    images = []
    for plate in plates.images[..., 0]:
        scaled = np.asarray(Image.fromarray(plate).resize(size, Image.Resampling.BICUBIC))
        images.append(np.pad(scaled, ((top, bottom), (left, right)), constant_values=255))
    readings = PlateReader(tta=tta).read(images)
    correct = np.array(texts(readings)) == plates.labels
    assert correct.mean() > 0.97
    xs = np.array([[digit.x for digit in reading.digits] for reading in readings])[correct]
    first, behind = np.moveaxis(columns[correct], 2, 0)
    assert ((first <= xs) & (xs <= behind)).mean() > 0.95
    offset = xs - (first + behind) / 2
    assert abs(offset.mean()) < scale and np.abs(offset).max() < 8 * scale


def test_digits_stand_in_the_image_after_its_exif_rotation_and_not_outside():
    (plate,) = render_plates([96_000]).images[..., 0]
    large = np.asarray(Image.fromarray(plate).resize((640, 320), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by a quarter to the right
    Image.fromarray(np.rot90(large)).save(buffer := BytesIO(), "PNG", exif=exif)
    upright, turned, narrow = PlateReader().read([large, buffer.getvalue(), *noise(1, (300, 20))])
    assert turned == upright and 128 < upright.digits[-1].x < 640
    assert all(0 <= digit.x <= 20 for digit in narrow.digits)


def test_a_reading_prints_as_its_text_and_confidence():
    reading = Reading("12891", 0.9954, (), "12891")
    assert str(reading) == f"{reading}" == "12891 (99.5%)"
    assert "99.9%" in str(replace(reading, confidence=0.99999))  # not certain


def test_one_image_a_list_and_none(random_weights):
    reader = PlateReader(random_weights)
    images = list(noise(3))
    assert [reader.read(image).text for image in images] == texts(reader.read(images))
    assert reader.read([]) == []


@pytest.mark.parametrize("count", [3, 2 * BATCH_SIZE])  # without and with a stream
def test_a_list_is_read_up_to_the_first_image_that_is_unreadable(random_weights, count):
    sources = [WHITE, b"first", *[WHITE] * count, "last.png"]
    with pytest.raises(ImageError, match="first"):
        PlateReader(random_weights, num_threads=2).read(sources)


def test_a_stream_keeps_order_and_names_what_cannot_be_read(random_weights):
    reader = PlateReader(random_weights, num_threads=3)
    images = noise(300)
    unreadable = {7: None, 100: b"no image", 210: np.empty(0, object), 303: "missing.png"}
    sources = list(images)
    for place, source in unreadable.items():
        sources.insert(place, source)
    results = list(reader.stream(iter(sources)))
    for place in unreadable:
        assert isinstance(results[place], ImageError) and "\n" not in str(results[place])
    assert "no image" in str(results[100]) and "missing.png" in str(results[303])
    readings = [result for result in results if isinstance(result, Reading)]
    assert texts(readings) == texts(reader.read(list(images)))


def test_a_stream_is_not_of_one_image(random_weights):
    with pytest.raises(TypeError, match="read takes one"):
        next(PlateReader(random_weights).stream("a.png"))


def test_a_folder_is_read_in_name_order(random_weights, tmp_path):
    images = noise(2)
    for name, image in zip("ca", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").touch()
    reader = PlateReader(random_weights)
    (a, first), (b, error), (c, last) = reader.read_folder(tmp_path)
    assert [path.name for path in (a, b, c)] == ["a.png", "b.png", "c.png"]
    assert first == reader.read(images[1]) and last == reader.read(images[0])
    assert isinstance(error, ImageError) and "b.png" in str(error)
    with pytest.raises(DatasetError, match="nowhere"):
        reader.read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("arguments", [{"backend": "abacus"}, {"num_threads": -1}])
def test_arguments_that_are_not_known_are_named(random_weights, arguments):
    with pytest.raises(ValueError, match=str(*arguments)):
        PlateReader(random_weights, **arguments)


@pytest.fixture
def weights(random_weights, tmp_path):
    """Weights, metadata and export in a folder of the test's own."""
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy(random_weights.with_suffix(suffix), tmp_path)
    return tmp_path / random_weights.name


def change_metadata(weights, **changes):
    """Change the metadata, with the hash of the weights as they are now."""
    metadata = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8")) | changes
    metadata["sha256"][weights.name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_metadata(weights, metadata)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".h5", None),
        (".h5", b"truncated"),
        (".h5", {"network": "another"}),
        (".json", None),
        (".json", b"\xff"),
        (".json", b'{"sha256": {}}'),
        (".json", {"alphabet": "0123456789ABC"}),
        (".json", {"image": [32, 128]}),
        (".json", {"digits": 8}),
        (".onnx", None),
        (".onnx", b"changed"),
        (".onnx", {"onnx_source_sha256": "0" * 64}),
    ],
)
def test_weights_metadata_or_export_that_cannot_be_used_are_named(weights, suffix, damage):
    path = weights.with_suffix(suffix)
    if isinstance(damage, dict):
        change_metadata(weights, **damage)
    elif damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(WeightsError, match=rf"random\{suffix}"):
        PlateReader(weights, backend="keras" if suffix == ".h5" else "onnx")


def test_weights_that_are_no_hdf5_are_named_though_their_hash_is_right(weights):
    weights.write_bytes(b"no HDF5")
    change_metadata(weights)
    with pytest.raises(WeightsError, match=r"random\.h5") as error:
        PlateReader(weights, backend="keras")
    assert "\n" not in str(error.value)


def test_metadata_sets_the_number_of_digits_and_the_calibration(weights):
    (image,) = noise(1)
    plain = PlateReader(weights).read(image)
    change_metadata(weights, digits=7, calibration={"intercept": 20.0, "slope": 0.0})
    reading = PlateReader(weights).read(image)
    assert len(plain.text) == 5 and len(reading.text) == len(reading.digits) == 7
    assert plain.confidence < 0.5 and reading.confidence == pytest.approx(1)


def test_the_number_of_digits_can_be_chosen(weights):
    (image,) = noise(1)
    reader = PlateReader(weights, digits=4)
    for reading in (reader.read(image), pickle.loads(pickle.dumps(reader)).read(image)):
        assert len(reading.text) == len(reading.digits) == 4
    with pytest.raises(ValueError, match="digits"):
        PlateReader(weights, digits=8)
