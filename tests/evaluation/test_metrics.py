import dataclasses
import json
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
    write_calibration,
)
from plate_ocr.evaluation.metrics import (
    accuracy_by,
    character_error_rate,
    confidence_metrics,
    confusion_counts,
    edit_distance,
    font_distance,
    mean_glyphs,
    pearson,
    pool,
    training_glyphs,
)
from plate_ocr.network.checkpoint import WeightsError, write_metadata
from plate_ocr.plates.dataset import DatasetError, generate_dataset, render_plates
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.reading.calibration import PlattScaling
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.reading.reader import PlateReader


def saying(texts):
    """What decodes any plates as these texts."""

    def decode(images):
        logits = np.zeros((len(images), 32, 11), np.float32)
        for row, text in enumerate(texts):
            logits[row, :, 0] = 10
            logits[row, np.arange(1, 2 * len(text), 2), [int(digit) + 1 for digit in text]] = 30
        return decode_logits(logits)

    return decode


@pytest.fixture
def evaluated():
    plates = BenchmarkSet(
        np.zeros((4, 64, 128, 1), np.uint8),
        ["12345", "00000", "99999", "13579"],
        {"font": np.array(["a", "a", "b", "b"]), "severity": np.array([1, 2, 1, 2])},
    )
    return evaluate(saying(["12345", "00008", "99999", "1357"]), plates)


@pytest.mark.parametrize(
    ("truth", "text", "distance"),
    [("12345", "12345", 0), ("12345", "", 5), ("12345", "1345", 1), ("12345", "21345", 2)],
)
def test_edit_distance(truth, text, distance):
    assert edit_distance(truth, text) == distance
    assert character_error_rate([truth], [text]) == distance / 5


def test_figures_by_hand(evaluated):
    figures = evaluated.figures()
    assert (figures["images"], figures["correct"]) == (4, 2)
    assert figures["exact_match"] == 0.5 and figures["exact_match_greedy"] == 0.5
    assert evaluated.greedy_texts[3] == "1357" and len(evaluated.texts[3]) == 5


def test_groups_come_worst_first(evaluated):
    assert accuracy_by(evaluated, "severity") == {2: (0, 2), 1: (2, 2)}
    assert list(accuracy_by(evaluated, "severity")) == [2, 1]
    assert accuracy_by(evaluated, "font", "severity")[("a", 1)] == (1, 1)


def test_parts_and_pools(evaluated):
    part = evaluated.where(evaluated.tags["severity"] == 1)
    assert part.labels == ["12345", "99999"] and part.correct.all()
    both = pool([part, evaluated])
    assert len(both.labels) == len(both.correct) == len(both.text_probability) == 6


def test_certainty_by_hand(evaluated):
    same = PlattScaling(0.0, 1.0, 0.0)  # the confidence is P(text)
    plates = dataclasses.replace(evaluated, text_probability=np.array([0.9, 0.7, 0.5, 0.5]))
    nothing = dataclasses.replace(evaluated, text_probability=np.array([0.8, 0.1, 0.1, 0.1]))
    assert plates.correct.tolist() == [True, False, True, False]
    told = confidence_metrics(plates, nothing, same)
    assert told == pytest.approx(
        {
            "plates": 4,
            "ece": (0.1 + 0.7 + 2 * 0.0) / 4,
            "ece_uncalibrated": (0.1 + 0.7 + 2 * 0.0) / 4,
            "auroc_error_detection": (1 + 1 + 0 + 0.5) / 4,
            "coverage_at_99.9_precision": 1 / 4,
            "threshold_at_99.9_precision": 0.9,
            "auroc_ood": (4 + 3 + 3 + 3) / 16,
        }
    )


def test_correlation_by_hand():
    assert pearson([1, 2, np.inf, 3], [6, 4, 0, 2]) == pytest.approx(-1)
    assert pearson([1, 2, 3], [1, 1, 1]) is None and pearson([], []) is None


def test_confusion_counts_places():
    counts = confusion_counts(["00123", "99999"], ["00128", "99990"])
    assert counts[0, 0] == 2 and counts[3, 8] == 1 and counts[9, 9] == 4 and counts[9, 0] == 1
    assert counts.sum() == 10


@pytest.mark.parametrize("name", SETS)
def test_every_set_can_be_loaded(name):
    plates = load_benchmark(name)
    assert plates.images.dtype == np.uint8 and plates.images.shape[1:] == (64, 128, 1)
    assert len(plates.images) == len(plates.labels) == len(plates.tags["font"])
    few = plates.sample(10)
    assert len(few.labels) == len(few.images) == 10 and few.labels[0] == plates.labels[0]


def test_a_missing_or_damaged_set_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match=r"layout\.npz"):
        load_benchmark("layout", tmp_path)
    whole = (PROJECT / "data" / "benchmark" / "layout.npz").read_bytes()
    packed = whole.index(b"images.npy") + 100
    changed = whole[:packed] + bytes(9) + whole[packed + 9 :]  # in what zlib unpacks
    for damaged in (b"PK nothing", b"", whole[:1000], whole[:-100], changed):
        (tmp_path / "layout.npz").write_bytes(damaged)
        with pytest.raises(BenchmarkError, match=r"layout\.npz"):
            load_benchmark("layout", tmp_path)
    np.savez(tmp_path / "layout.npz", plates=np.zeros(3))
    with pytest.raises(BenchmarkError, match=r"layout\.npz: .* no images"):
        load_benchmark("layout", tmp_path)


def test_own_weights_are_calibrated_on_own_plates(random_weights, tmp_path):
    hard = load_benchmark("captcha").sample(300)
    (tmp_path / "own").mkdir()
    for image, text in zip(hard.images, hard.labels, strict=True):
        Image.fromarray(image[:, :, 0]).save(tmp_path / "own" / f"{text}.png")
    for suffix in (".h5", ".json", ".onnx"):
        shutil.copy((PROJECT / "dr_model.h5").with_suffix(suffix), tmp_path)
    weights = tmp_path / "dr_model.h5"
    calibration = calibrate(weights, tmp_path / "own")
    reader = PlateReader(weights)
    assert reader.calibration == calibration
    readings = reader.read(list(hard.images))
    right = [one.text == text for one, text in zip(readings, hard.labels, strict=True)]
    confidence = [one.confidence for one in readings]
    assert np.mean(confidence) == pytest.approx(np.mean(right), abs=0.01)
    with pytest.raises(DatasetError, match="own: 0 read right and 300 wrong"):
        calibrate(random_weights, tmp_path / "own")
    generate_dataset(tmp_path / "easy", start=93_000, count=200, processes=1, progress=False)
    with pytest.raises(DatasetError, match=r"easy: \d+ read right and \d wrong"):
        calibrate(weights, tmp_path / "easy")
    assert PlateReader(weights).calibration == calibration


def test_training_fonts_are_near_to_themselves_and_others_are_not():
    known = training_glyphs()
    assert len(known) == sum(len(font.instances) for font in load_fonts())
    assert known[0].shape == (10, 24, 24)
    plates = render_plates(range(0, 22 * 40, 22))  # one family, all its instances
    own = mean_glyphs(plates.images, plates.labels)
    noise = np.random.default_rng(0).random((10, 24, 24), np.float32)
    assert font_distance(own, known) < 0.15 < font_distance(noise, known)


def test_the_calibration_reaches_every_reader(random_weights, tmp_path):
    for suffix in (".h5", ".json", ".onnx"):
        copy = tmp_path / f"random{suffix}"
        copy.write_bytes(random_weights.with_suffix(suffix).read_bytes())
    weights = tmp_path / "random.h5"
    image = np.full((64, 128), 255, np.uint8)
    before = PlateReader(weights, backend="onnx").read(image)
    write_calibration(weights, PlattScaling(intercept=50.0, text=0.0, length=0.0))
    after = PlateReader(weights, backend="onnx").read(image)
    assert before.confidence < 0.5 < after.confidence == pytest.approx(1)
    assert before.text == after.text
    description = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    write_metadata(weights, description | {"calibration": {"x": 1}})
    with pytest.raises(WeightsError, match="calibration is damaged"):
        PlateReader(weights, backend="onnx")
