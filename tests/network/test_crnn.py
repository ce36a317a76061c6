import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plate_ocr.network.crnn import (
    STEPS,
    BatchNormalization,
    build_model,
    compile_model,
    count_macs,
    ctc_loss,
    exact_match,
)
from plate_ocr.plates.alphabet import NUM_CLASSES, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import greedy_decode, new_symbol_mask


def test_size_of_the_network():
    model = build_model()
    assert model.count_params() == 337_829 <= 400_000
    assert count_macs(model) == 24_054_528 <= 30_000_000
    assert model.input.dtype == "uint8" and model.output.shape == (None, STEPS, NUM_CLASSES)


def perfect(text):
    """Logits that spell a text: every digit one step, blanks between."""
    path = np.zeros(STEPS, int)
    path[1 : 2 * len(text) : 2] = encode([text])[0]
    logits = np.zeros((1, STEPS, NUM_CLASSES), np.float32)
    logits[0, np.arange(STEPS), path] = 20
    return logits


def test_ctc_loss_of_known_logits():
    """The blank is class 0: shifting the classes by one would make the loss huge, not an error."""

    def loss(labels, logits):
        return ctc_loss(labels, logits)[0]

    assert float(loss(encode(["00123"]), perfect("00123"))) < 1e-4
    assert float(loss(encode(["00124"]), perfect("00123"))) > 15
    assert float(loss(encode(["00123"]) - 1, perfect("00123"))) > 15
    # Uniform logits: 1 / 11 a step times the alignments of five different digits in 16 steps.
    from math import comb, log

    uniform = np.zeros((1, STEPS, NUM_CLASSES), np.float32)
    alignments = comb(STEPS + 5, 10)
    expected = STEPS * log(NUM_CLASSES) - log(alignments)
    assert float(loss(encode(["12345"]), uniform)) == pytest.approx(expected, rel=1e-5)


def test_ctc_loss_is_that_of_keras():
    random = np.random.default_rng(0)
    logits = (random.normal(size=(64, STEPS, NUM_CLASSES)) * 3).astype(np.float32)
    labels = encode([f"{number:05d}" for number in random.integers(0, 100_000, 64)])
    labels[0] = 4  # one digit five times
    expected = keras.losses.CTC(reduction=None)(labels, logits)
    np.testing.assert_allclose(ctc_loss(labels, logits), expected, rtol=1e-5)


def test_normalisation_is_that_of_keras():
    ours, theirs = BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for seed in range(3):
        random = np.random.default_rng(seed)
        features = (random.normal(size=(16, 8, 8, 5)) * 3 + 1).astype(np.float32)
        for training in (True, False):
            found, expected = (layer(features, training=training) for layer in (ours, theirs))
            np.testing.assert_allclose(found, expected, atol=1e-4)
    for found, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert not np.allclose(ours.get_weights()[2], 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_exact_match_is_greedy_decoding_compared(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(64, STEPS, NUM_CLASSES)).astype(np.float32) * 3
    logits[:, :, 0] += 6  # mostly blanks: about five digits a plate
    texts = greedy_decode(logits)
    labels = [text if len(text) == 5 and row % 2 else "12345" for row, text in enumerate(texts)]
    expected = [float(text == label) for text, label in zip(texts, labels, strict=True)]
    assert np.asarray(exact_match(encode(labels), logits)).tolist() == expected


def test_eight_plates_are_learned_by_heart():
    keras.utils.set_random_seed(0)
    plates = render_plates(range(8))
    labels = encode(plates.labels)
    model = build_model()
    compile_model(model, 3e-3)
    for _ in range(12):
        model.fit(plates.images, labels, epochs=25, batch_size=8, verbose=0)
        measured = model.evaluate(plates.images, labels, verbose=0, return_dict=True)
        if measured["exact_match"] == 1:
            return
    pytest.fail(f"not learned: {measured}")


def test_time_runs_along_the_width(shipped):
    """What the network looks at, moved to the right, is read by steps further right, in order."""
    plates = render_plates(range(90_000, 90_100))
    _, reading = halves_of(shipped.backend.model)
    frames = frames_of(shipped.backend.model, plates.images)[..., 0]
    smaller = (cv2.resize(one, (108, 32), interpolation=cv2.INTER_AREA) for one in frames)
    narrower = np.stack(list(smaller))  # so that there is room to move
    logits = [
        reading.predict(np.pad(narrower, ((0, 0), (0, 0), beside))[..., None], verbose=0)
        for beside in ((2, 18), (18, 2))
    ]
    for before, after in zip(*logits, strict=True):
        first = np.flatnonzero(new_symbol_mask(before.argmax(-1)[None])[0])
        second = np.flatnonzero(new_symbol_mask(after.argmax(-1)[None])[0])
        assert len(first) == len(second) == 5
        assert np.abs(second - first - 2).max() <= 1  # 16 columns are 2 steps


def test_a_plate_moved_to_the_right_is_read_further_right(shipped):
    plates = render_plates(range(90_000, 90_200))
    fits = [row for row, one in enumerate(plates.images) if (one[:, -34:] == 255).all()]
    assert len(fits) >= 10
    images = plates.images[fits]
    moved = np.roll(images, 32, axis=2)  # the right edge is white, so nothing wraps
    first, second = (shipped.read(list(one)) for one in (images, moved))
    for before, after in zip(first, second, strict=True):
        shifts = [b.x - a.x for a, b in zip(before.digits, after.digits, strict=True)]
        assert after.text == before.text and abs(np.mean(shifts) - 32) <= 3
        assert np.abs(np.subtract(shifts, 32)).max() <= 8  # a time step, at most


def test_plates_look_alike_wherever_and_however_large_their_digits_stand(shipped):
    """Most digits of the frame are as high, though those of the plates are of all heights."""
    random = np.random.default_rng(0)
    plates = render_plates(range(90_000, 90_300)).images[..., 0]
    small = [cv2.resize(plate, (80, 40), interpolation=cv2.INTER_AREA) for plate in plates]
    moved = np.full_like(plates, 255)
    for plate, one, (y, x) in zip(
        moved, small, random.integers(0, (25, 49), (300, 2)), strict=True
    ):
        plate[y : y + 40, x : x + 80] = one
    usual, again = (
        (frames_of(shipped.backend.model, one[..., None]) > 0.3).any(axis=2).sum(axis=1)[:, 0]
        for one in (plates, moved)
    )
    assert np.median(np.abs(again - usual)) <= 2
    assert np.abs(again - usual).mean() < 2.5


def frames_of(model, images):
    """What the network looks at, float32 (n, 32, 128, 1)."""
    looking, _ = halves_of(model)
    return looking.predict(images, verbose=0)


def halves_of(model):
    """Plates -> frames, and frames -> logits."""
    frame = model.get_layer("digits").output
    return keras.Model(model.input, frame), keras.Model(frame, model.output)
