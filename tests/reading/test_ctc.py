import os
import platform
import subprocess
import sys
from itertools import product

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plate_ocr.plates.alphabet import BLANK, NUM_CLASSES, SUPPORTED_LENGTHS, decode, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import (
    _best_paths,
    ctc_probability_brute_force,
    decode_fixed_length,
    decode_logits,
    greedy_decode,
    length_log_probability,
    log_softmax,
    new_symbol_mask,
    text_log_probability,
)

# Few distinct values, so that peaks, repeats and ties are frequent.
LOGITS = arrays(np.float32, (3, 32, NUM_CLASSES), elements=st.sampled_from([-9, -1, 0, 0.5, 4, 30]))


def path_logits(path, peak=20.0):
    logits = np.zeros((1, len(path), NUM_CLASSES), np.float32)
    logits[0, np.arange(len(path)), path] = peak
    return logits


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([0, 0, 0], ""),
        ([1, 1, 1], "0"),
        ([1, 0, 1], "00"),  # a blank lets a digit repeat
        ([2, 2, 3, 0, 3, 10, 0], "1229"),
        ([0, 5, 5, 0, 5, 5, 5, 0], "44"),
    ],
)
def test_greedy_decoding_of_known_paths(path, text):
    assert greedy_decode(path_logits(path)) == [text]


@settings(max_examples=60, deadline=None)
@given(LOGITS)
def test_greedy_decoding_is_that_of_keras(logits):
    lengths = np.full(len(logits), logits.shape[1])
    decoded, _ = keras.ops.ctc_decode(logits, lengths, strategy="greedy", mask_index=BLANK)
    oracle = ["".join(str(c - 1) for c in row if c >= 0) for row in np.asarray(decoded)[0]]
    assert greedy_decode(logits) == oracle


@settings(max_examples=60, deadline=None)
@given(LOGITS)
def test_five_digit_decoding_always_gives_five_and_keeps_greedy_fives(logits):
    texts, paths = decode_fixed_length(logits)
    for text, path, steps, greedy in zip(
        texts, paths, new_symbol_mask(paths), greedy_decode(logits), strict=True
    ):
        assert len(text) == 5 and decode(path[None, steps]) == [text]
        if len(greedy) == 5:
            assert text == greedy


def test_five_digit_decoding_finds_the_best_of_all_paths():
    """Brute force where it is possible: nine steps, two digits and the blank likely."""
    random = np.random.default_rng(0)
    every = np.array(list(product(range(3), repeat=9)))
    fives = every[new_symbol_mask(every).sum(axis=1) == 5]
    for _ in range(50):
        logits = np.full((1, 9, NUM_CLASSES), -50.0)
        logits[0, :, :3] = random.normal(size=(9, 3)) * 3
        scores = log_softmax(logits)[0][np.arange(9), fives].sum(axis=1)
        _, paths = decode_fixed_length(logits)
        best = log_softmax(logits)[0][np.arange(9), paths[0]].sum()
        assert best == pytest.approx(scores.max())


@pytest.mark.parametrize(("digits", "steps", "symbols"), [(4, 9, 3), (6, 11, 3), (7, 15, 2)])
def test_other_counts_of_digits_by_brute_force(digits, steps, symbols):
    random = np.random.default_rng(digits)
    every = np.array(list(product(range(symbols), repeat=steps)))
    right = every[new_symbol_mask(every).sum(axis=1) == digits]
    logits = np.full((10, steps, NUM_CLASSES), -800.0)
    logits[:, :, :symbols] = random.normal(size=(10, steps, symbols)) * 3
    texts, paths = decode_fixed_length(logits, digits)
    lengths = np.exp(length_log_probability(logits, digits))
    for log_probabilities, text, path, length in zip(
        log_softmax(logits), texts, paths, lengths, strict=True
    ):
        scores = log_probabilities[np.arange(steps), right].sum(axis=1)
        assert len(text) == digits
        assert log_probabilities[np.arange(steps), path].sum() == pytest.approx(scores.max())
        assert length == pytest.approx(np.exp(scores).sum())


@pytest.mark.parametrize(("digits", "steps"), [(5, 8), (7, 12)])
def test_every_digit_twice_needs_a_blank_between(digits, steps):
    with pytest.raises(ValueError, match=f"{steps} steps cannot spell every {digits} digits"):
        decode_fixed_length(np.zeros((1, steps, NUM_CLASSES)), digits)
    texts, _ = decode_fixed_length(np.zeros((1, steps + 1, NUM_CLASSES)), digits)
    assert len(texts[0]) == digits


def test_text_probability_is_the_sum_over_all_alignments():
    random = np.random.default_rng(1)
    for length in (1, 2, 3):
        logits = random.normal(size=(1, 5, 3)) * 2
        for classes in product((1, 2), repeat=length):
            expected = ctc_probability_brute_force(np.exp(log_softmax(logits))[0], classes)
            found = np.exp(text_log_probability(logits, np.array([classes])))
            assert found[0] == pytest.approx(expected)


def test_text_probability_is_minus_the_loss_of_keras():
    random = np.random.default_rng(2)
    logits = (random.normal(size=(64, 32, NUM_CLASSES)) * 3).astype(np.float32)
    labels = encode([f"{number:05d}" for number in random.integers(0, 100_000, 64)])
    labels[0] = 4  # one digit five times
    loss = np.asarray(keras.losses.CTC(reduction=None)(labels, logits))
    np.testing.assert_allclose(-text_log_probability(logits, labels), loss, rtol=1e-4)


def test_length_probability_is_the_sum_over_all_paths_of_five_digits():
    """Brute force as above; all mass is on three classes, so nothing is left out."""
    random = np.random.default_rng(3)
    every = np.array(list(product(range(3), repeat=9)))
    fives = every[new_symbol_mask(every).sum(axis=1) == 5]
    logits = np.full((20, 9, NUM_CLASSES), -800.0)
    logits[:, :, :3] = random.normal(size=(20, 9, 3)) * 3
    found = np.exp(length_log_probability(logits))
    for probabilities, one in zip(np.exp(log_softmax(logits)), found, strict=True):
        expected = probabilities[np.arange(9), fives].prod(axis=1).sum()
        assert one == pytest.approx(expected)


def test_digits_stand_where_the_path_says_them():
    path = np.zeros(32, int)
    path[[2, 3, 4]], path[7], path[9], path[[20, 21]], path[30] = 4, 1, 1, 10, 4
    decoded = decode_logits(path_logits(path, peak=5))
    assert decoded.texts == ["30093"]
    assert (decoded.digit_position * 32 - 0.5).tolist() == [[3, 7, 9, 20.5, 30]]
    peak = np.exp(5) / (np.exp(5) + 10)
    np.testing.assert_allclose(decoded.digit_confidence, peak)


def test_the_confidence_of_a_digit_is_that_of_its_peak():
    path = np.zeros(32, int)
    path[[2, 3, 4]], path[[7, 12, 17, 22]] = 4, (1, 2, 3, 4)
    logits = path_logits(path, peak=3)
    logits[0, 3, 4] = 6  # neither the first nor the last step of its run
    decoded = decode_logits(logits)
    assert decoded.texts == ["30123"]
    assert decoded.digit_confidence[0, 0] == pytest.approx(np.exp(log_softmax(logits))[0, 3, 4])


def test_no_plates_are_decoded_to_none():
    decoded = decode_logits(np.zeros((0, 16, NUM_CLASSES), np.float32))
    assert decoded.texts == decoded.greedy_texts == []
    assert decoded.digit_position.shape == (0, 5) and decoded.text_probability.shape == (0,)
    texts, paths = decode_fixed_length(np.zeros((0, 16, NUM_CLASSES)))
    assert texts == [] and paths.shape == (0, 16)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_plate_whose_logits_are_not_finite_costs_no_other_its_text(value):
    logits = np.random.default_rng(7).normal(size=(4, 16, NUM_CLASSES)).astype(np.float32) * 5
    whole = decode_logits(logits)
    broken = logits.copy()
    broken[1, 3] = value
    broken[2, 15, 4] = value
    decoded = decode_logits(broken)
    assert [len(text) for text in decoded.texts] == [5] * 4
    for row in (0, 3):
        for ours, theirs in zip(decoded, whole, strict=True):
            assert np.array_equal(ours[row], theirs[row])
    for probability in (
        decoded.text_probability,
        decoded.length_probability,
        decoded.digit_confidence.max(axis=1),
    ):
        assert (probability[1:3] == 0).all()
    assert decode_fixed_length(broken)[0] == decoded.texts


@pytest.mark.parametrize("digits", SUPPORTED_LENGTHS)
def test_a_plate_is_as_probable_alone_as_among_others(digits):
    """To the last bit: what is read in one order is read so in any."""
    random = np.random.default_rng(5)
    logits = (random.normal(size=(300, 32, NUM_CLASSES)) * 3).astype(np.float32)
    whole = decode_logits(logits, digits)
    of_length = length_log_probability(logits, digits)
    for size in (1, 7, 24, 25, 128):
        parts = [logits[start : start + size] for start in range(0, len(logits), size)]
        decoded = [decode_logits(part, digits) for part in parts]
        for name in ("text_probability", "length_probability", "digit_confidence"):
            found = np.concatenate([getattr(part, name) for part in decoded])
            assert np.array_equal(found, getattr(whole, name)), (size, name)
        found = np.concatenate([length_log_probability(part, digits) for part in parts])
        assert np.array_equal(found, of_length), size


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the kernels are of x86-64")
@pytest.mark.parametrize("kernels", ["Haswell", "Nehalem"])  # these run on nearly all of them
def test_it_is_so_on_other_processors(kernels):
    same = f"{__file__}::{test_a_plate_is_as_probable_alone_as_among_others.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", same]
    subprocess.run(command, env=os.environ | {"OPENBLAS_CORETYPE": kernels}, check=True)


def test_no_text_is_more_probable_than_its_length():
    random = np.random.default_rng(4)
    logits = random.normal(size=(200, 32, NUM_CLASSES)) * np.linspace(0, 30, 200)[:, None, None]
    texts, _ = decode_fixed_length(logits)
    of_text = text_log_probability(logits, encode(texts))
    of_length = length_log_probability(logits)
    assert (of_text <= of_length + 1e-9).all() and (of_length <= 1e-9).all()


def assert_fast_path_loses_nothing(logits):
    """The answer scores as high as that of the full search over five-digit paths."""
    log_probabilities = log_softmax(logits)

    def scores(paths):
        return np.take_along_axis(log_probabilities, paths[:, :, None], axis=2).sum(axis=(1, 2))

    texts, paths = decode_fixed_length(logits)
    full = _best_paths(log_probabilities, 5)
    assert (new_symbol_mask(full).sum(axis=1) == 5).all()
    np.testing.assert_allclose(scores(paths), scores(full), rtol=1e-12)
    differ = [row for row in range(len(texts)) if texts[row] != decode_path(full[row])]
    # Another text of the very same probability is as good; it is rare.
    assert len(differ) <= len(texts) / 1000


def decode_path(path):
    return decode(path[None, new_symbol_mask(path[None])[0]])[0]


@pytest.mark.slow
def test_the_fast_path_loses_nothing_on_random_logits():
    random = np.random.default_rng(5)
    for scale in np.linspace(0.5, 20, 50):
        logits = random.normal(size=(2_000, 32, NUM_CLASSES)).astype(np.float32) * scale
        logits[:, :, BLANK] += random.uniform(0, 3) * scale  # from too many digits to too few
        assert_fast_path_loses_nothing(logits)


@pytest.mark.slow
def test_the_fast_path_loses_nothing_on_real_logits(shipped):
    images = render_plates(range(90_000, 95_000)).images
    noise = np.random.default_rng(6).normal(0, 90, images.shape)
    noisy = np.clip(images + noise, 0, 255).astype(np.uint8)  # many readings of other lengths
    for plates in (images, noisy):
        assert_fast_path_loses_nothing(shipped.logits(plates))
