import json
import os
import shutil
import threading
from dataclasses import replace
from io import BytesIO

import keras
import numpy as np
import onnx
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError, load_metadata, write_metadata
from plate_ocr.plates.dataset import DatasetError, load_folder, render_plates
from plate_ocr.plates.images import ImageError
from plate_ocr.plates.rendering import render_glyphs
from plate_ocr.reading.backends import SIZES, OnnxBackend, OpenvinoBackend
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import PlateReader, Reading, to_readings


@pytest.fixture
def copied(random_weights, tmp_path):
    """Weights, description and export in a folder of the test's own."""
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy(random_weights.with_suffix(suffix), tmp_path)
    return tmp_path / random_weights.name


def describe(path, **changes):
    """Change the description; `digest` follows the weights as they are now."""
    import hashlib

    description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    description |= changes
    description["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_metadata(path, description)


def test_the_committed_weights_read_the_committed_test_set(shipped):
    plates = load_folder(PROJECT / "data" / "test")
    assert [reading.text for reading in shipped.read(list(plates.images))] == plates.labels


def test_the_committed_weights_read_fresh_plates(shipped):
    plates = render_plates(range(93_000, 93_500))
    readings = shipped.read(list(plates.images))
    right = sum(r.text == text for r, text in zip(readings, plates.labels, strict=True))
    assert right >= 490  # 496 with the committed weights; other FreeTypes draw a little otherwise
    assert all(0 <= reading.confidence <= 1 for reading in readings)
    assert np.mean([reading.confidence for reading in readings]) > 0.98


def test_one_image_or_many(shipped):
    images = list(render_plates(range(90_000, 90_003)).images)
    assert [shipped.read(image).text for image in images] == [
        reading.text for reading in shipped.read(images)
    ]
    assert shipped.read([]) == []
    path = PROJECT / "data" / "test" / "metadata.jsonl"
    with pytest.raises(ImageError, match=r"metadata\.jsonl"):
        shipped.read(path)


def test_digits_of_a_reading_stand_where_they_are_drawn(shipped):
    plates = render_plates(range(90_000, 90_100))
    readings = shipped.read(list(plates.images))
    for image, text, reading in zip(plates.images, plates.labels, readings, strict=True):
        assert "".join(digit.digit for digit in reading.digits) == reading.text
        xs = [digit.x for digit in reading.digits]
        assert xs == sorted(xs) and all(0 <= digit.confidence <= 1 for digit in reading.digits)
        if reading.text == text:
            inked = np.flatnonzero((image < 128).any(axis=(0, 2)))
            assert inked[0] - 8 < xs[0] and xs[-1] < inked[-1] + 8


def ink_columns(fonts, record):
    """First column of every digit's ink, and the one behind its last: (5, 2)."""
    font = next(font for font in fonts if font.family == record["font"])
    ten = render_glyphs(font.path, tuple(record["axes"].items()), record["size"])
    widths = [ten[int(digit)].ink.shape[1] for digit in record["text"]]
    starts = np.cumsum([record["x"], *[width + record["spacing"] for width in widths[:-1]]])
    return np.stack([starts, starts + widths], axis=1)


def inside_ink(readings, columns, texts):
    """Whether each digit of the right readings stands in its ink, and how far from the middle."""
    right = [row for row, one in enumerate(readings) if one.text == texts[row]]
    assert len(right) > 0.97 * len(texts)
    xs = np.array([[digit.x for digit in readings[row].digits] for row in right])
    first, behind = np.moveaxis(columns[right], 2, 0)
    return (first <= xs) & (xs <= behind), xs - (first + behind) / 2


@pytest.mark.parametrize("tta", [False, True])
def test_digits_stand_in_their_ink(fonts, tta):
    plates = render_plates(range(96_000, 96_400))
    columns = np.array([ink_columns(fonts, record) for record in plates.records])
    readings = PlateReader(tta=tta).read(list(plates.images))
    inside, apart = inside_ink(readings, columns, plates.labels)
    assert inside.mean() >= 0.975 and abs(apart.mean()) < 0.3 and np.abs(apart).max() < 8


@pytest.mark.parametrize(
    ("scale", "left", "top", "right", "bottom"),
    [(3, 0, 0, 0, 0), (1, 40, 0, 10, 0), (2.5, 0, 60, 0, 20), (0.8, 5, 5, 30, 2)],
)
def test_digits_stand_in_their_ink_in_images_of_any_size(fonts, scale, left, top, right, bottom):
    plates = render_plates(range(96_400, 96_600))
    columns = np.array([ink_columns(fonts, record) for record in plates.records])
    size = (round(128 * scale), round(64 * scale))
    images = []
    for plate in plates.images[..., 0]:
        scaled = np.asarray(Image.fromarray(plate).resize(size, Image.Resampling.BICUBIC))
        images.append(np.pad(scaled, ((top, bottom), (left, right)), constant_values=255))
    readings = PlateReader().read(images)
    inside, apart = inside_ink(readings, columns * scale + left, plates.labels)
    assert inside.mean() >= 0.95 and abs(apart.mean()) < scale


def test_digits_stand_in_the_image_as_it_is_upright():
    (plate,) = render_plates([96_000]).images[..., 0]
    large = np.asarray(Image.fromarray(plate).resize((640, 320), Image.Resampling.BICUBIC))
    lying = Image.fromarray(np.rot90(large))  # a viewer turns it by a quarter to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(buffer := BytesIO(), "PNG", exif=exif)
    upright, turned = PlateReader().read([large, buffer.getvalue()])
    assert turned == upright and 128 < upright.digits[-1].x < 640


def test_digits_do_not_stand_outside_of_a_narrow_image(random_weights):
    narrow = np.random.default_rng(0).integers(0, 256, (300, 20), np.uint8)
    reading = PlateReader(random_weights).read(narrow)
    assert all(0 <= digit.x <= 20 for digit in reading.digits)


def test_a_plot_of_the_steps_has_the_digits_over_the_steps_that_say_them(shipped):
    from plate_ocr.evaluation.plots import ctc_posteriors, plt

    images = render_plates(range(96_000, 96_010)).images
    look = shipped.forward(images)
    for row, reading in enumerate(to_readings(look)):
        probabilities = softmax(look.logits[row])
        figure = ctc_posteriors(
            images[row, ..., 0], probabilities, "", reading.digits, look.crop[row]
        )
        left, right, *_ = figure.axes[1].images[0].get_extent()
        plt.close(figure)
        for digit in reading.digits:
            step = (digit.x - 0.5 - left) / (right - left) * len(probabilities)
            around = probabilities[max(int(step - 0.5), 0) : int(step + 0.5) + 1]
            assert around[:, int(digit.digit) + 1].max() >= 0.5 * digit.confidence


def test_a_reading_prints_as_its_text_and_confidence():
    reading = Reading("12891", 0.9954, (), "12891")
    assert str(reading) == f"{reading}" == "12891 (99.5 %)"
    assert "99.9 %" in str(replace(reading, confidence=0.99999))  # not certain
    assert len(str(PlateReader().read(PROJECT / "data" / "test" / "12891.png"))) < 20


def test_a_stream_keeps_order_and_names_what_cannot_be_read(random_weights):
    reader = PlateReader(random_weights, backend="onnx", num_threads=3)
    images = np.random.default_rng(0).integers(0, 256, (300, 64, 128), np.uint8)
    expected = reader.read(list(images))
    sources = [*images[:100], b"no image", *images[100:], "missing.png"]
    found = list(reader.stream(iter(sources)))
    errors = {row: str(one) for row, one in enumerate(found) if isinstance(one, ImageError)}
    assert list(errors) == [100, 301] and "8 bytes" in errors[100] and "missing.png" in errors[301]
    readings = [one for one in found if not isinstance(one, ImageError)]
    assert [one.text for one in readings] == [one.text for one in expected]
    np.testing.assert_allclose(
        [one.confidence for one in readings], [one.confidence for one in expected], rtol=1e-3
    )


@pytest.mark.parametrize("count", [3, 300])  # without and with a stream
def test_a_list_is_read_up_to_the_first_image_that_is_unreadable(random_weights, count):
    images = list(np.full((count, 64, 128), 255, np.uint8))
    images[1], images[-1] = b"first", "last.png"
    with pytest.raises(ImageError, match="5 bytes"):
        PlateReader(random_weights, num_threads=2).read(images)


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_what_was_read_comes_before_the_error_of_a_source(random_weights, num_threads):
    def sources():
        yield from np.full((700, 64, 128), 255, np.uint8)
        raise OSError("the camera is gone")

    stream = PlateReader(random_weights, num_threads=num_threads).stream(sources())
    readings = []
    with pytest.raises(OSError, match="the camera is gone"):
        readings.extend(stream)  # extends one by one
    assert len(readings) == 700


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_slow_source_gives_every_reading_before_the_next_image(random_weights, num_threads):
    received = [threading.Event() for _ in range(3)]
    came = []

    def sources():
        for number in range(3):
            yield np.full((64, 128), 255, np.uint8)
            came.append(received[number].wait(5))

    for event, _ in zip(
        received,
        PlateReader(random_weights, num_threads=num_threads).stream(sources()),
        strict=True,
    ):
        event.set()
    assert came == [True, True, True]


class Strange:
    """A path that cannot be told."""

    def __fspath__(self):
        raise KeyError("no\npath")


def strange_items(folder):
    (folder / "a.png").write_bytes(b"no image")
    with os.scandir(os.fsencode(folder)) as entries:
        (entry,) = entries
    return [Strange(), memoryview(bytes(100))[::2], entry, None, 7, object(), np.empty(0, object)]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_strange_item_of_a_stream_is_the_error_in_its_place(
    random_weights, tmp_path, num_threads
):
    items = strange_items(tmp_path)
    plate = np.full((64, 128), 255, np.uint8)
    reader = PlateReader(random_weights, num_threads=num_threads)
    found = list(reader.stream([one for item in items for one in (plate, item)]))
    assert all(isinstance(one, Reading) for one in found[::2]) and len(found) == 2 * len(items)
    for error in found[1::2]:
        assert isinstance(error, ImageError) and str(error) and "\n" not in str(error)
    for item in items:
        with pytest.raises(ImageError):
            reader.read(item)


@pytest.mark.parametrize("one", ["a.png", b"no image", PROJECT])
def test_a_stream_is_not_of_one_image(random_weights, one):
    with pytest.raises(TypeError, match="stream takes many images"):
        next(PlateReader(random_weights).stream(one))


def test_a_folder_is_read_in_name_order(random_weights, tmp_path):
    images = render_plates(range(90_000, 90_003)).images[:, :, :, 0]
    for name, image in zip("cab", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").touch()
    reader = PlateReader(random_weights)
    (a, first), (b, error), (c, last) = reader.read_folder(tmp_path)
    assert [path.name for path in (a, b, c)] == ["a.png", "b.png", "c.png"]
    assert first == reader.read(images[1]) and last == reader.read(images[0])
    assert isinstance(error, ImageError) and "b.png" in str(error)
    with pytest.raises(DatasetError, match="nowhere: No such file"):
        reader.read_folder(tmp_path / "nowhere")


def test_a_stream_takes_only_a_few_batches_ahead(random_weights):
    taken = []

    def sources():
        for number in range(10_000):
            taken.append(number)
            yield np.full((64, 128), 255, np.uint8)

    stream = PlateReader(random_weights, backend="onnx", num_threads=2).stream(sources())
    next(stream)
    stream.close()
    assert len(taken) <= 128 * 6


@pytest.mark.parametrize(
    "backend", ["onnx", "openvino", pytest.param("keras", marks=pytest.mark.slow)]
)
def test_no_plates_at_all(random_weights, backend):
    reader = PlateReader(random_weights, backend=backend, tta=True)
    none = np.empty((0, 64, 128, 1), np.uint8)
    assert reader.logits(none).shape == (0, 16, 11) and reader.forward(none).crop.shape == (0, 4)
    assert reader.predict(none).texts == [] and to_readings(reader.forward(none)) == []


def test_logits_that_are_not_finite_cost_no_other_plate_its_reading(random_weights):
    reader = PlateReader(random_weights)
    images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 128), np.uint8))
    expected, usual = reader.read(images), reader.backend

    def broken(plates):
        look = usual(plates)
        look.logits[1, 2, 3] = np.nan
        return look

    reader.backend = broken
    readings = reader.read(images)
    assert readings[0] == expected[0] and readings[2:] == expected[2:]
    assert len(readings[1].text) == 5 and readings[1].confidence == 0


def test_threads_are_the_cores_that_this_process_may_use(random_weights, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert PlateReader(random_weights).num_threads == 3
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 7}, raising=False)
    assert PlateReader(random_weights).num_threads == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert PlateReader(random_weights).num_threads == 64


@pytest.mark.parametrize("weights", ["random", "dr_model"])
def test_onnx_gives_the_logits_of_keras(random_weights, weights):
    path = random_weights if weights == "random" else PROJECT / "dr_model.h5"
    engines = [PlateReader(path, backend=backend) for backend in ("keras", "onnx")]
    images = np.concatenate(
        [
            render_plates(range(90_000, 90_200)).images,
            np.random.default_rng(0).integers(0, 256, (60, 64, 128, 1), np.uint8),
        ]
    )
    ours, theirs = (backend.forward(images) for backend in engines)
    assert np.array_equal(ours.crop, theirs.crop)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
    texts = [[reading.text for reading in backend.read(list(images))] for backend in engines]
    assert texts[0] == texts[1]


def test_an_export_of_another_version_is_named():
    network = onnx.load(PROJECT / "dr_model.onnx")
    del network.graph.output[1]  # as before the network told where it looks
    plate = np.full((1, 64, 128, 1), 255, np.uint8)
    with pytest.raises(WeightsError, match=r"old\.onnx: exported by another version"):
        OnnxBackend(network.SerializeToString(), "old.onnx")
    with pytest.raises(WeightsError, match="exported by another version"):
        OpenvinoBackend(network.SerializeToString(), num_threads=1)(plate)


def test_every_engine_reads_hard_plates_alike(shipped):
    test = load_folder(PROJECT / "data" / "test")
    hard = np.concatenate([load_benchmark("tuning").images[:2000], test.images])
    readings = {"keras": shipped.read(list(hard))}
    for backend in ("onnx", "openvino"):
        reader = PlateReader(backend=backend, num_threads=2)
        readings[backend] = reader.read(list(hard))
    texts = {backend: [one.text for one in found] for backend, found in readings.items()}
    assert texts["onnx"] == texts["keras"] and texts["openvino"] == texts["keras"]
    confidences = [[one.confidence for one in found] for found in readings.values()]
    moved = np.ptp(confidences, axis=0)
    assert moved.mean() < 0.002
    # Rounded, OpenVINO cuts some plates out a little elsewhere.
    assert moved.max() < (0.2 if reader.backend.rounds else 0.05)


def test_openvino_reads_any_number_from_any_thread(random_weights):
    images = list(np.random.default_rng(0).integers(0, 256, (300, 64, 128), np.uint8))
    expected = [one.text for one in PlateReader(random_weights, backend="onnx").read(images)]
    reader = PlateReader(random_weights, backend="openvino", num_threads=3)
    around_half_a_batch = [size // 2 + more for size in SIZES[:-1] for more in (0, 1)]
    for count in (1, 12, 13, *around_half_a_batch, 64, 65, 300):
        assert [one.text for one in reader.read(images[:count])] == expected[:count]


def test_weights_of_another_network(copied):
    describe(copied, network="another")
    with pytest.raises(WeightsError, match=r"random\.h5: made for another network"):
        PlateReader(copied, backend="keras")


def test_missing_weights(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.h5: there is no such file"):
        PlateReader(tmp_path / "none.h5")


def test_weights_without_description(copied):
    copied.with_suffix(".json").unlink()
    with pytest.raises(
        WeightsError, match=r"random\.json: there is no such file; random\.h5 needs it"
    ):
        PlateReader(copied)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sha256": {}}', "\udcff"])
def test_a_broken_description(copied, content):
    copied.with_suffix(".json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match=r"random\.json"):
        load_metadata(copied)


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_truncated_weights_are_refused_before_they_are_opened(copied, keep):
    copied.write_bytes(copied.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"random\.h5: truncated or changed"):
        PlateReader(copied)
    describe(copied)  # even if the hash agrees, the parser's error is one clear line
    with pytest.raises(WeightsError, match=r"random\.h5: does not hold this network") as error:
        PlateReader(copied, backend="keras")
    assert "\n" not in str(error.value)


def test_a_name_that_is_too_long_for_weights_is_cut_in_the_error():
    with pytest.raises(WeightsError) as error:
        PlateReader("x" * 100_000)
    assert len(str(error.value)) < 300


def other_network(path):
    inputs = keras.Input((64, 128, 1))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(path)


def keras_weights_under_this_name(path):
    from plate_ocr.network.crnn import build_model

    named = path.with_name("some.weights.h5")
    build_model().save_weights(named)
    named.replace(path)


def no_hdf5(path):
    path.write_bytes(b"PK\x03\x04 no weights")


@pytest.mark.parametrize("foreign", [other_network, keras_weights_under_this_name, no_hdf5])
def test_foreign_weights(copied, foreign):
    foreign(copied)
    describe(copied)
    with pytest.raises(WeightsError, match=r"random\.h5: does not hold this network") as error:
        PlateReader(copied, backend="keras")
    assert "\n" not in str(error.value)


def test_weights_for_another_alphabet_or_size(copied):
    describe(copied, alphabet="0123456789ABC")
    with pytest.raises(WeightsError, match="another alphabet"):
        PlateReader(copied)


def test_the_description_tells_how_many_digits_are_read(copied):
    image = np.full((64, 128), 255, np.uint8)
    assert PlateReader(copied).digits == 5
    describe(copied, digits=7)
    reader = PlateReader(copied)
    reading = reader.read(image)
    assert reader.digits == len(reading.text) == len(reading.digits) == 7
    for count in (3, 8, "7", None, [7]):
        describe(copied, digits=count)
        with pytest.raises(
            WeightsError, match=r"random\.json: made for .* digits, which we do not"
        ):
            PlateReader(copied)


def test_onnx_that_is_missing_changed_or_of_other_weights(copied):
    export = copied.with_suffix(".onnx")
    export.write_bytes(export.read_bytes() + b"x")
    command = "; run python -m plate_ocr export --weights .*random.h5"
    with pytest.raises(WeightsError, match=rf"random\.onnx: truncated or changed.*{command}"):
        PlateReader(copied)
    export.unlink()
    with pytest.raises(WeightsError, match=rf"random\.onnx: No such file.*{command}"):
        PlateReader(copied)
    describe(copied, onnx_source_sha256="0" * 64)
    with pytest.raises(WeightsError, match=rf"not made from .*{command}"):
        PlateReader(copied)


def test_an_unknown_engine(copied):
    with pytest.raises(ValueError, match="engine must be keras, onnx or openvino"):
        PlateReader(copied, backend="abacus")
