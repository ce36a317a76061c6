import cv2
import keras
import numpy as np
import pytest

from plate_ocr.network.crnn import (
    NUM_TIME_STEPS,
    build_model,
    compile_model,
    count_macs,
    ctc_loss,
    exact_match,
    with_box,
)
from plate_ocr.plates.alphabet import NUM_CLASSES, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import greedy_decode
from plate_ocr.training.augmentation import digit_boxes
from plate_ocr.training.fit import make_targets


def test_size_of_the_network():
    model = build_model()
    assert model.count_params() == 556_315 and count_macs(model) == 31_652_152
    assert model.input.dtype == "uint8"
    assert model.output.shape == (None, NUM_TIME_STEPS, NUM_CLASSES)


def test_ctc_loss_of_known_logits():
    """The blank is class 0: labels shifted by one would make the loss huge, not an error."""
    logits = np.zeros((1, NUM_TIME_STEPS, NUM_CLASSES), np.float32)
    path = np.zeros(NUM_TIME_STEPS, int)
    path[1:10:2] = encode(["00123"])[0]
    logits[0, np.arange(NUM_TIME_STEPS), path] = 20
    assert float(ctc_loss(encode(["00123"]), logits)[0]) < 1e-4
    assert float(ctc_loss(encode(["00124"]), logits)[0]) > 15
    assert float(ctc_loss(encode(["00123"]) - 1, logits)[0]) > 15


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


def test_eight_plates_are_memorised():
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


def crops_of(model, images):
    """Crops of plates, float32 (n, 32, 128, 1)."""
    return keras.Model(model.input, model.get_layer("crop").output).predict(images, verbose=0)


def test_digits_are_equally_high_in_the_crop_whatever_their_size_in_the_plate(shipped):
    rng = np.random.default_rng(0)
    plates = render_plates(range(90_000, 90_300)).images
    shrunk = np.full_like(plates, 255)
    for target, plate, (y, x) in zip(
        shrunk, plates, rng.integers(0, (25, 49), (300, 2)), strict=True
    ):
        small = cv2.resize(plate, (80, 40), interpolation=cv2.INTER_AREA)
        target[y : y + 40, x : x + 80, 0] = small
    heights = [
        (crops_of(shipped.backend.model, images) > 0.3).any(axis=2).sum(axis=1)[:, 0]
        for images in (plates, shrunk)
    ]
    difference = np.abs(heights[1] - heights[0])
    assert np.median(difference) <= 3 and difference.mean() < 4
