import cv2
import keras
import numpy as np
import pytest

from plate_ocr.network.crnn import (
    NUM_TIME_STEPS,
    BatchNormalization,
    build_model,
    compile_model,
    count_macs,
    ctc_loss,
    exact_match,
)
from plate_ocr.plates.alphabet import NUM_CLASSES, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import greedy_decode


def test_size_of_the_network():
    model = build_model()
    assert model.count_params() == 337_829 and count_macs(model) == 24_054_528
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


def test_batch_normalization_is_that_of_keras():
    fused, expected = (
        layer(momentum=0.9) for layer in (BatchNormalization, keras.layers.BatchNormalization)
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        features = (rng.normal(size=(16, 8, 8, 5)) * 3 + 1).astype(np.float32)
        for training in (True, False):
            outputs = [layer(features, training=training) for layer in (fused, expected)]
            np.testing.assert_allclose(*outputs, atol=1e-4)
    for weights in zip(fused.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(*weights, rtol=1e-3, atol=1e-6)
    assert not np.allclose(fused.get_weights()[2], 0)  # the moving mean


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
    labels = encode(plates.labels)
    model = build_model()
    compile_model(model, 3e-3)
    for _ in range(12):
        model.fit(plates.images, labels, epochs=25, batch_size=8, verbose=0)
        metrics = model.evaluate(plates.images, labels, verbose=0, return_dict=True)
        if metrics["exact_match"] == 1:
            return
    pytest.fail(f"not memorised: {metrics}")


def crops_of(model, images):
    """Crops of plates, float32 (n, 32, 128, 1)."""
    return keras.Model(model.input, model.get_layer("digits").output).predict(images, verbose=0)


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
    assert np.median(difference) <= 2 and difference.mean() < 2.5
