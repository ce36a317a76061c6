"""CTC decoding: greedy, the most probable path of a fixed length, and P(text).

Graves et al. 2006, "Connectionist Temporal Classification" (ICML). Class 0 is the blank.
Shapes: n plates, T time steps, C classes, L digits of a plate. NumPy alone, batched.
"""

from typing import NamedTuple

import numpy as np

from plate_ocr.plates.alphabet import BLANK, NUM_DIGITS, decode


class Predictions(NamedTuple):
    """The decoded logits of n plates."""

    texts: list[str]  # exactly L digits each
    greedy_texts: list[str]  # by greedy decoding, any number of digits
    digit_confidence: np.ndarray  # float64 (n, L), the digit's highest probability along its steps
    digit_position: np.ndarray  # float64 (n, L), center of the digit's steps, 0 left to 1 right
    text_probability: np.ndarray  # float64 (n,), P(text | image)

    def to_image_coordinates(self, x_affine: np.ndarray) -> "Predictions":
        """Map positions by each plate's scale and offset, (n, 2), and clip them to 0..1."""
        position = self.digit_position * x_affine[:, :1] + x_affine[:, 1:]
        return self._replace(digit_position=position.clip(0, 1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (..., C) -> log probabilities of the same shape, float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (..., C) -> probabilities of the same shape, float64."""
    return np.exp(log_softmax(logits))


def new_symbol_mask(paths: np.ndarray) -> np.ndarray:
    """Where paths, int (n, T), emit a digit: the first step of each run of it, bool (n, T)."""
    emits = paths != BLANK
    emits[:, 1:] &= paths[:, 1:] != paths[:, :-1]
    return emits


def collapse(paths: np.ndarray) -> list[str]:
    """Paths, int (n, T) -> n texts: repeats merge, then blanks drop."""
    return decode(np.where(new_symbol_mask(paths), paths, BLANK))


def greedy_decode(logits: np.ndarray) -> list[str]:
    """Logits (n, T, C) -> n texts of any length: the most probable class of every step."""
    return collapse(logits.argmax(axis=-1))


def viterbi_fixed_length(logits: np.ndarray, digits: int = NUM_DIGITS) -> np.ndarray:
    """Logits (n, T, C) -> the most probable paths, int (n, T), that spell exactly `digits` digits.

    Exact dynamic programming over the state (digits emitted so far, last class).
    """
    log_probabilities = log_softmax(logits)
    n, steps, classes = logits.shape
    previous, current = np.indices((classes, classes))
    emits = (current != BLANK) & (current != previous)  # (previous class, current class)
    score = np.full((n, digits + 1, classes), -np.inf)
    score[:, 0, BLANK] = 0
    best_previous = np.empty((steps, n, digits + 1, classes), dtype=np.int8)
    for step in range(steps):
        one_digit_fewer = np.full_like(score, -np.inf)
        one_digit_fewer[:, 1:] = score[:, :-1]
        candidates = np.where(emits, one_digit_fewer[..., None], score[..., None])
        best_previous[step] = candidates.argmax(axis=2)
        score = candidates.max(axis=2) + log_probabilities[:, step, None, :]

    paths = np.empty((n, steps), dtype=np.int64)
    rows, emitted, last = np.arange(n), np.full(n, digits), score[:, digits].argmax(axis=1)
    for step in reversed(range(steps)):
        paths[:, step] = last
        before = best_previous[step, rows, emitted, last]
        emitted, last = emitted - emits[before, last], before
    return paths


def text_probability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """P(text | image), float64 (n,): the sum over all alignments. CTC's loss is -log of it.

    The forward algorithm over 2L + 1 states: blank, digit, blank, ..., digit, blank. Probabilities
    (n, T, C) are not scaled: what underflows is too small to matter. Labels, (n, L), are classes.
    """
    n, length = labels.shape
    states = np.full((n, 2 * length + 1), BLANK)
    states[:, 1::2] = labels
    emission = np.take_along_axis(probabilities, states[:, None], axis=2).swapaxes(0, 1)
    can_skip = np.zeros(states.shape)  # the blank before it, where two digits differ
    can_skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    alpha = np.zeros((n, 2 * length + 3))  # two columns of zeros, then the states
    stay, advance, skip = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2]
    stay[:, :2] = emission[0, :, :2]
    for probability in emission[1:]:
        stay[:] = (stay + advance + skip * can_skip) * probability
    return alpha[:, -1] + alpha[:, -2]


def decode_logits(logits: np.ndarray, digits: int = NUM_DIGITS) -> Predictions:
    """Decode logits (n, T, C), T > 2 * digits - 2, as texts of exactly so many digits."""
    paths = logits.argmax(axis=-1)
    greedy_texts = collapse(paths)
    other_length = [row for row, text in enumerate(greedy_texts) if len(text) != digits]
    if other_length:  # elsewhere the greedy path is the most probable of all
        paths[other_length] = viterbi_fixed_length(logits[other_length], digits)

    steps, probabilities = logits.shape[1], softmax(logits)
    emits = new_symbol_mask(paths)
    labels = paths[emits].reshape(-1, digits)
    digit_number = np.where(paths == BLANK, 0, emits.cumsum(axis=1))  # at each step, from 1
    spans = digit_number[:, None] == np.arange(1, digits + 1)[:, None]  # bool (n, L, T)
    along_path = np.take_along_axis(probabilities, paths[..., None], axis=2)[:, None, :, 0]
    return Predictions(
        texts=decode(labels),
        greedy_texts=greedy_texts,
        digit_confidence=(spans * along_path).max(axis=2),
        digit_position=(spans @ (np.arange(steps) + 0.5)) / spans.sum(axis=2) / steps,
        text_probability=text_probability(probabilities, labels),
    )
