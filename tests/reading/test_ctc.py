from itertools import product

import keras
import numpy as np
import pytest

from plate_ocr.plates.alphabet import BLANK, NUM_CLASSES, SUPPORTED_LENGTHS, decode, encode
from plate_ocr.reading.ctc import (
    decode_logits,
    greedy_decode,
    log_softmax,
    new_symbol_mask,
    softmax,
    text_probability,
    viterbi_fixed_length,
)


def path_logits(path, peak=20.0):
    logits = np.zeros((1, len(path), NUM_CLASSES), np.float32)
    logits[0, np.arange(len(path)), path] = peak
    return logits


def random_logits(count=1, steps=32, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, steps, NUM_CLASSES)) * scale).astype(np.float32)


def test_greedy_texts_are_those_of_keras_and_kept_if_they_have_five_digits():
    # Few values, so that repeats and ties are frequent.
    values = np.array([-9, -1, 0, 0.5, 4, 30], np.float32)
    logits = np.random.default_rng(0).choice(values, (200, 9, NUM_CLASSES))
    lengths = np.full(len(logits), logits.shape[1])
    decoded, _ = keras.ops.ctc_decode(logits, lengths, strategy="greedy", mask_index=BLANK)
    expected = ["".join(str(c - 1) for c in row if c >= 0) for row in np.asarray(decoded)[0]]
    predictions = decode_logits(logits)
    assert greedy_decode(logits) == predictions.greedy_texts == expected
    for text, greedy_text in zip(predictions.texts, expected, strict=True):
        assert len(text) == 5 and (text == greedy_text or len(greedy_text) != 5)


@pytest.mark.parametrize(
    ("digits", "steps", "classes"), [(4, 9, 3), (5, 9, 3), (6, 11, 3), (7, 15, 2)]
)
def test_the_path_of_a_fixed_length_is_the_best_of_all(digits, steps, classes):
    """By brute force; all other classes are impossible."""
    every_path = np.array(list(product(range(classes), repeat=steps)))
    valid = every_path[new_symbol_mask(every_path).sum(axis=1) == digits]
    logits = np.full((10, steps, NUM_CLASSES), -800.0)
    logits[:, :, :classes] = random_logits(10, steps)[:, :, :classes]
    paths, texts = viterbi_fixed_length(logits, digits), decode_logits(logits, digits).texts
    for scores, path, text in zip(log_softmax(logits), paths, texts, strict=True):
        best = scores[np.arange(steps), valid].sum(axis=1).max()
        assert scores[np.arange(steps), path].sum() == pytest.approx(best)
        assert decode(path[None, new_symbol_mask(path[None])[0]]) == [text]


def test_text_probability_is_the_loss_of_keras():
    logits = random_logits(64)
    rng = np.random.default_rng(2)
    labels = encode([f"{number:05d}" for number in rng.integers(0, 100_000, 64)])
    labels[0] = 4  # one digit five times
    loss = np.asarray(keras.losses.CTC(reduction=None)(labels, logits))
    np.testing.assert_allclose(-np.log(text_probability(softmax(logits), labels)), loss, rtol=1e-4)


def test_digits_have_the_center_of_their_steps_and_the_confidence_of_their_peak():
    path = np.zeros(32, int)
    path[[2, 3, 4]], path[7], path[9], path[[20, 21]], path[30] = 4, 1, 1, 10, 4
    logits = path_logits(path, peak=5)
    logits[0, 3, 4] = 6  # neither the first nor the last step of its digit
    predictions = decode_logits(logits)
    assert predictions.texts == ["30093"]
    assert (predictions.digit_position * 32 - 0.5).tolist() == [[3, 7, 9, 20.5, 30]]
    peaks = [np.exp(6) / (np.exp(6) + 10), *[np.exp(5) / (np.exp(5) + 10)] * 4]
    np.testing.assert_allclose(predictions.digit_confidence, [peaks])


@pytest.mark.parametrize("digits", SUPPORTED_LENGTHS)
def test_a_plate_is_decoded_alike_alone_and_among_others(digits):
    logits = random_logits(60)
    expected = decode_logits(logits, digits)
    for size in (1, 25):
        predictions = decode_logits(logits[:size], digits)
        for field, expected_field in zip(predictions, expected, strict=True):
            assert np.array_equal(field, expected_field[:size])
