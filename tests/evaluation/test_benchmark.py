import shutil

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.evaluation.benchmark import (
    SETS,
    BenchmarkError,
    calibrate,
    evaluate,
    load_benchmark,
)
from plate_ocr.plates.dataset import DatasetError, generate_dataset
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


def test_a_missing_truncated_or_changed_set_is_named(tmp_path):
    path = tmp_path / "layout.npz"
    content = (PROJECT / "data" / "benchmark" / path.name).read_bytes()
    within = content.index(b"images.npy") + 100  # the compressed images
    for damaged in (None, content[:1000], content[:within] + bytes(9) + content[within + 9 :]):
        if damaged is not None:
            path.write_bytes(damaged)
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

    generate_dataset(tmp_path / "easy", start=93_000, count=200)
    for weights, plates in ((random_weights, folder), (copied_weights, tmp_path / "easy")):
        with pytest.raises(DatasetError, match=plates.name):  # all wrong; nearly all correct
            calibrate(weights, plates)
    for path in sorted(folder.iterdir())[:101]:
        path.unlink()
    with pytest.raises(DatasetError, match="100 wrong"):
        calibrate(copied_weights, folder)
    assert PlateReader(copied_weights).calibration == calibration
