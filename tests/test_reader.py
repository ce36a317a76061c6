import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.dataset import DatasetError, draw_plates, load_folder
from plate_ocr.engines import SIZES, OnnxEngine, OpenvinoEngine
from plate_ocr.evaluation import load_benchmark
from plate_ocr.images import UnreadableImage
from plate_ocr.reader import PlateReader
from plate_ocr.weights import WeightsError, check_weights, write_description


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
    write_description(path, description)


def test_the_committed_weights_read_the_committed_test_set(shipped):
    plates = load_folder(PROJECT / "data" / "test")
    assert [reading.text for reading in shipped.read(list(plates.images))] == plates.texts


def test_the_committed_weights_read_fresh_plates(shipped):
    plates = draw_plates(range(93_000, 93_500))
    readings = shipped.read(list(plates.images))
    right = sum(r.text == text for r, text in zip(readings, plates.texts, strict=True))
    assert right >= 490  # 496 with the committed weights; other FreeTypes draw a little otherwise
    assert all(0 <= reading.confidence <= 1 for reading in readings)
    assert np.mean([reading.confidence for reading in readings]) > 0.98


def test_one_image_or_many(shipped):
    images = list(draw_plates(range(90_000, 90_003)).images)
    assert [shipped.read(image).text for image in images] == [
        reading.text for reading in shipped.read(images)
    ]
    assert shipped.read([]) == []
    path = PROJECT / "data" / "test" / "metadata.jsonl"
    with pytest.raises(UnreadableImage, match=r"metadata\.jsonl"):
        shipped.read(path)


def test_digits_of_a_reading_stand_where_they_are_drawn(shipped):
    plates = draw_plates(range(90_000, 90_100))
    readings = shipped.read(list(plates.images))
    for image, text, reading in zip(plates.images, plates.texts, readings, strict=True):
        assert "".join(digit.digit for digit in reading.digits) == reading.text
        xs = [digit.x for digit in reading.digits]
        assert xs == sorted(xs) and all(0 <= digit.confidence <= 1 for digit in reading.digits)
        if reading.text == text:
            inked = np.flatnonzero((image < 128).any(axis=(0, 2)))
            assert inked[0] - 8 < xs[0] and xs[-1] < inked[-1] + 8


def test_a_stream_keeps_order_and_names_what_cannot_be_read(random_weights):
    reader = PlateReader(random_weights, engine="onnx", threads=3)
    images = np.random.default_rng(0).integers(0, 256, (300, 64, 128), np.uint8)
    expected = reader.read(list(images))
    sources = [*images[:100], b"no image", *images[100:], "missing.png"]
    found = list(reader.stream(iter(sources)))
    errors = {row: str(one) for row, one in enumerate(found) if isinstance(one, UnreadableImage)}
    assert list(errors) == [100, 301] and "8 bytes" in errors[100] and "missing.png" in errors[301]
    readings = [one for one in found if not isinstance(one, UnreadableImage)]
    assert [one.text for one in readings] == [one.text for one in expected]
    np.testing.assert_allclose(
        [one.confidence for one in readings], [one.confidence for one in expected], rtol=1e-3
    )


@pytest.mark.parametrize("one", ["a.png", b"no image", PROJECT])
def test_a_stream_is_not_of_one_image(random_weights, one):
    with pytest.raises(TypeError, match="stream takes many images"):
        next(PlateReader(random_weights).stream(one))


def test_a_folder_is_read_in_name_order(random_weights, tmp_path):
    images = draw_plates(range(90_000, 90_003)).images[:, :, :, 0]
    for name, image in zip("cab", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").touch()
    reader = PlateReader(random_weights)
    (a, first), (b, error), (c, last) = reader.read_folder(tmp_path)
    assert [path.name for path in (a, b, c)] == ["a.png", "b.png", "c.png"]
    assert first == reader.read(images[1]) and last == reader.read(images[0])
    assert isinstance(error, UnreadableImage) and "b.png" in str(error)
    with pytest.raises(DatasetError, match="nowhere: No such file"):
        reader.read_folder(tmp_path / "nowhere")


def test_a_stream_takes_only_a_few_batches_ahead(random_weights):
    taken = []

    def sources():
        for number in range(10_000):
            taken.append(number)
            yield np.full((64, 128), 255, np.uint8)

    stream = PlateReader(random_weights, engine="onnx", threads=2).stream(sources())
    next(stream)
    stream.close()
    assert len(taken) <= 128 * 6


@pytest.mark.parametrize("weights", ["random", "dr_model"])
def test_onnx_gives_the_logits_of_keras(random_weights, weights):
    path = random_weights if weights == "random" else PROJECT / "dr_model.h5"
    engines = [PlateReader(path, engine=engine) for engine in ("keras", "onnx")]
    images = np.concatenate(
        [
            draw_plates(range(90_000, 90_200)).images,
            np.random.default_rng(0).integers(0, 256, (60, 64, 128, 1), np.uint8),
        ]
    )
    ours, theirs = (engine.look(images) for engine in engines)
    assert np.array_equal(ours.frames, theirs.frames)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
    texts = [[reading.text for reading in engine.read(list(images))] for engine in engines]
    assert texts[0] == texts[1]


def test_an_export_of_another_version_is_named():
    network = onnx.load(PROJECT / "dr_model.onnx")
    del network.graph.output[1]  # as before the network told where it looks
    plate = np.full((1, 64, 128, 1), 255, np.uint8)
    with pytest.raises(WeightsError, match=r"old\.onnx: exported by another version"):
        OnnxEngine(network.SerializeToString(), "old.onnx")
    with pytest.raises(WeightsError, match="exported by another version"):
        OpenvinoEngine(network.SerializeToString(), threads=1)(plate)


def test_every_engine_reads_hard_plates_alike(shipped):
    test = load_folder(PROJECT / "data" / "test")
    hard = np.concatenate([load_benchmark("tuning").images[:2000], test.images])
    readings = {"keras": shipped.read(list(hard))}
    for engine in ("onnx", "openvino"):
        reader = PlateReader(engine=engine, threads=2)
        readings[engine] = reader.read(list(hard))
    texts = {engine: [one.text for one in found] for engine, found in readings.items()}
    assert texts["onnx"] == texts["keras"] and texts["openvino"] == texts["keras"]
    confidences = [[one.confidence for one in found] for found in readings.values()]
    moved = np.ptp(confidences, axis=0)
    assert moved.mean() < 0.002
    # Rounded, OpenVINO cuts some plates out a little elsewhere.
    assert moved.max() < (0.2 if reader.engine.rounds else 0.05)


def test_openvino_reads_any_number_from_any_thread(random_weights):
    images = list(np.random.default_rng(0).integers(0, 256, (300, 64, 128), np.uint8))
    expected = [one.text for one in PlateReader(random_weights, engine="onnx").read(images)]
    reader = PlateReader(random_weights, engine="openvino", threads=3)
    around_half_a_batch = [size // 2 + more for size in SIZES[:-1] for more in (0, 1)]
    for count in (1, 12, 13, *around_half_a_batch, 64, 65, 300):
        assert [one.text for one in reader.read(images[:count])] == expected[:count]


def test_weights_of_another_network(copied):
    describe(copied, network="another")
    with pytest.raises(WeightsError, match=r"random\.h5: made for another network"):
        PlateReader(copied, engine="keras")


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
        check_weights(copied)


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_truncated_weights_are_refused_before_they_are_opened(copied, keep):
    copied.write_bytes(copied.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"random\.h5: truncated or changed"):
        PlateReader(copied)
    describe(copied)  # even if the hash agrees, the parser's error is one clear line
    with pytest.raises(WeightsError, match=r"random\.h5: does not hold this network") as error:
        PlateReader(copied, engine="keras")
    assert "\n" not in str(error.value)


def other_network(path):
    inputs = keras.Input((64, 128, 1))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(path)


def keras_weights_under_this_name(path):
    from plate_ocr.model import build_model

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
        PlateReader(copied, engine="keras")
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
    describe(copied, onnx_made_from="0" * 64)
    with pytest.raises(WeightsError, match=rf"not made from .*{command}"):
        PlateReader(copied)


def test_an_unknown_engine(copied):
    with pytest.raises(ValueError, match="engine must be keras, onnx or openvino"):
        PlateReader(copied, engine="abacus")
