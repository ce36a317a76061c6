import keras
import numpy as np
import pytest

from plate_ocr.network.crnn import (
    NUM_TIME_STEPS,
    build_model,
    compile_model,
    count_macs,
    count_parameters,
    ctc_loss,
    exact_match,
)
from plate_ocr.network.spatial_transformer import with_box
from plate_ocr.plates.alphabet import NUM_CLASSES, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import greedy_decode
from plate_ocr.training.augmentation import digit_boxes
from plate_ocr.training.batches import make_targets


def test_size_of_the_network():
    model = build_model()
    assert count_parameters(model) == 500_183 and count_macs(model) == 31_652_152
    assert model.input.dtype == "uint8"
    assert model.output.shape == (None, NUM_TIME_STEPS, NUM_CLASSES)


def test_ctc_loss_is_that_of_keras():
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(64, NUM_TIME_STEPS, NUM_CLASSES)) * 3).astype(np.float32)
    labels = encode([f"{number:05d}" for number in rng.integers(0, 100_000, 64)])
    labels[0] = 4  # one digit five times
    expected = keras.losses.CTC(reduction=None)(labels, logits)
    np.testing.assert_allclose(ctc_loss(labels, logits), expected, rtol=1e-5)


def test_exact_match_compares_the_greedy_text():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2_000, NUM_TIME_STEPS, NUM_CLASSES)).astype(np.float32) * 3
    logits[:, :, 0] += 6  # mostly blanks: about five digits per plate
    texts = greedy_decode(logits)
    labels = [text if len(text) == 5 and row % 2 else "12345" for row, text in enumerate(texts)]
    expected = [float(text == label) for text, label in zip(texts, labels, strict=True)]
    assert np.asarray(exact_match(encode(labels), logits)).tolist() == expected


def test_eight_plates_are_memorized():
    keras.utils.set_random_seed(0)
    plates = render_plates(range(8))
    targets = make_targets(encode(plates.labels), digit_boxes(plates.images))
    model = with_box(build_model())
    compile_model(model, 3e-3, box_weight=10)
    for _ in range(12):
        model.fit(plates.images, targets, epochs=25, batch_size=8, verbose=0)
        metrics = model.evaluate(plates.images, targets, verbose=0, return_dict=True)
        if metrics["logits_exact_match"] == 1:
            break
    assert metrics["logits_exact_match"] == 1
    assert metrics["box_loss"] < 0.1  # of a plate
    assert metrics["loss"] == pytest.approx(metrics["logits_loss"] + 10 * metrics["box_loss"])
