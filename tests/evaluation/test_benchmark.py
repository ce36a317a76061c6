import dataclasses
import shutil

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.evaluation.benchmark import (
    SETS,
    BenchmarkError,
    BenchmarkSet,
    calibrate,
    evaluate,
    load_benchmark,
)
from plate_ocr.network.checkpoint import load_metadata, write_metadata
from plate_ocr.plates.dataset import DatasetError, generate_dataset, render_plates
from plate_ocr.reading.reader import PlateReader


@pytest.fixture
def copied_weights(tmp_path):
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy((PROJECT / "dr_model.h5").with_suffix(suffix), tmp_path)
    return tmp_path / "dr_model.h5"


@pytest.mark.parametrize("name", SETS)
def test_every_set_can_be_loaded(name):
    dataset = load_benchmark(name)
    assert dataset.images.dtype == np.uint8 and dataset.images.shape[1:] == (64, 128, 1)
    assert len(dataset.images) == len(dataset.labels) == len(dataset.tags["font"])
    sample = dataset.sample(10)
    assert len(sample.labels) == len(sample.images) == 10
    assert (sample.labels[0], sample.labels[-1]) == (dataset.labels[0], dataset.labels[-1])


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "changed", "no images"])
def test_a_missing_or_damaged_set_is_named(damage, tmp_path):
    path = tmp_path / "layout.npz"
    content = (PROJECT / "data" / "benchmark" / path.name).read_bytes()
    if damage == "no images":
        np.savez(path, plates=np.zeros(3))
    elif damage != "missing":
        within = content.index(b"images.npy") + 100  # the compressed images
        changed = content[:within] + bytes(9) + content[within + 9 :]
        path.write_bytes({"empty": b"", "truncated": content[:1000], "changed": changed}[damage])
    with pytest.raises(BenchmarkError, match=r"layout\.npz"):
        load_benchmark("layout", tmp_path)


@pytest.mark.parametrize("tta", [False, True])
def test_a_set_is_evaluated_as_the_reader_reads_it(tta):
    dataset = load_benchmark("captcha").sample(30)
    reader = PlateReader(tta=tta)
    result = evaluate(reader, dataset)
    readings = [reader.read(image) for image in dataset.images[..., 0]]
    assert result.texts.tolist() == [reading.text for reading in readings]
    assert result.greedy_texts.tolist() == [reading.greedy_text for reading in readings]
    assert result.confidence == pytest.approx([reading.confidence for reading in readings])


def test_fields_of_records_become_tags():
    plates = render_plates(range(4))
    dataset = BenchmarkSet.from_plates(plates, "font", "size")
    assert dataset.labels == plates.labels and dataset.tags.keys() == {"font", "size"}
    assert dataset.tags["size"].tolist() == [record["size"] for record in plates.records]


def test_weights_are_calibrated_on_a_folder(copied_weights, random_weights, tmp_path):
    dataset = load_benchmark("captcha").sample(300)
    folder = tmp_path / "captchas"
    folder.mkdir()
    for image, label in zip(dataset.images, dataset.labels, strict=True):
        Image.fromarray(image[:, :, 0]).save(folder / f"{label}.png")
    calibration = calibrate(copied_weights, folder)
    reader = PlateReader(copied_weights)
    assert reader.calibration == calibration
    result = evaluate(reader, dataset)
    assert result.confidence.mean() == pytest.approx(result.correct.mean(), abs=0.01)

    generate_dataset(tmp_path / "easy", start=93_000, count=200, processes=1, progress=False)
    for weights, plates in ((random_weights, folder), (copied_weights, tmp_path / "easy")):
        with pytest.raises(DatasetError, match=plates.name):  # all wrong; nearly all correct
            calibrate(weights, plates)
    for path in sorted(folder.iterdir())[:101]:
        path.unlink()
    with pytest.raises(DatasetError, match="199 plates"):
        calibrate(copied_weights, folder)
    assert PlateReader(copied_weights).calibration == calibration


def test_a_calibration_changes_the_confidence_alone(copied_weights):
    image = render_plates([0]).images[0, :, :, 0]
    before = PlateReader(copied_weights).read(image)
    metadata = load_metadata(copied_weights)
    calibration = {"intercept": -50.0, "slope": 0.0}
    write_metadata(copied_weights, metadata | {"calibration": calibration})
    after = PlateReader(copied_weights).read(image)
    assert after == dataclasses.replace(before, confidence=after.confidence)
    assert after.confidence == pytest.approx(0) and before.confidence > 0.5
