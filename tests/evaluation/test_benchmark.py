import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.evaluation.benchmark import (
    TITLES,
    BenchmarkError,
    evaluate,
    evaluate_weights,
    load_benchmark,
    robustness_sets,
    style_sets,
)
from plate_ocr.network.crnn import build_model
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import softmax, text_probability
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.saving import save_model
from plate_ocr.training.styles import STYLES


def test_a_sample_spans_its_set():
    dataset = load_benchmark("layout")
    assert dataset.images.shape[1:] == (64, 128, 1)
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


def test_mild_and_severe_corruptions_are_apart():
    sets = robustness_sets(PROJECT / "data" / "benchmark")
    mild, severe = (sets[TITLES[f"corruptions_{name}"]] for name in ("1_to_3", "4_to_5"))
    assert {record["severity"] for record in mild.records} == {1, 2, 3}
    assert {record["severity"] for record in severe.records} == {4, 5}
    plates = load_benchmark("corruptions")
    assert sorted(mild.labels + severe.labels) == sorted(plates.labels)


def test_every_style_redraws_the_same_numbers():
    plates = render_plates(range(90_000, 90_004))
    sets, again = style_sets(plates, seed=1), style_sets(plates, seed=1)
    assert {name.removeprefix("style: ") for name in sets} >= set(STYLES)
    for name, dataset in sets.items():
        assert dataset.labels == plates.labels
        assert dataset.images.shape == plates.images.shape
        assert np.array_equal(dataset.images, again[name].images)
    assert len({dataset.images.tobytes() for dataset in sets.values()}) == len(sets)


def test_saved_weights_are_measured_on_plain_plates(tmp_path):
    weights = tmp_path / "fresh.h5"
    save_model(build_model(), weights)
    plates, fresh = render_plates(range(10)), render_plates(range(90_000, 90_003))
    measured = evaluate_weights(weights, plates, fresh, test=fresh)
    reader = PlateReader(weights, backend="keras")
    probabilities = softmax(reader.forward(plates.images).logits)
    loss = -np.log(text_probability(probabilities, encode(plates.labels))).mean()
    assert measured["loss_on_training_plates"] == pytest.approx(loss, rel=1e-3)
    texts = [reading.text for reading in reader.read(list(fresh.images))]
    correct = sum(map(str.__eq__, texts, fresh.labels))
    assert (measured["held_out_plates"], measured["held_out_correct"]) == (3, correct)
