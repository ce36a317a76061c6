"""Logits -> text: greedy decoding, the best text of exactly so many digits, its probability.

Plain NumPy, vectorised over the batch. Class 0 is the CTC blank. The recursions are those of
Graves et al., "Connectionist Temporal Classification" (ICML 2006).
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby, product
from typing import NamedTuple

import numpy as np

from plate_ocr.alphabet import BLANK, CLASSES, PLATE_DIGITS, decode

SCALED_EVERY = 8  # steps of the forward recursion
IMPOSSIBLE = -1e30  # log of zero that stays finite in sums and differences


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, steps, 11) -> log probabilities of the same shape, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def emitting_steps(path: np.ndarray) -> np.ndarray:
    """Where a path emits a digit: the first step of every run of one class other than blank.

    Args:
        path: classes, int array of shape (n, steps).

    Returns:
        bool array of the same shape.
    """
    starts = np.ones(path.shape, dtype=bool)
    starts[:, 1:] = path[:, 1:] != path[:, :-1]
    return starts & (path != BLANK)


def greedy_decode(logits: np.ndarray) -> list[str]:
    """Read the most probable class of every step: repeats collapse, blanks fall out.

    Args:
        logits: float array of shape (n, steps, 11).

    Returns:
        n texts of any length.
    """
    return spell(np.argmax(logits, axis=-1))


def spell(paths: np.ndarray) -> list[str]:
    """The texts of paths, int array of shape (n, steps)."""
    return [decode(path[emits]) for path, emits in zip(paths, emitting_steps(paths), strict=True)]


def text_log_probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log of P(text | image): the sum over all alignments of the text (forward algorithm).

    Args:
        logits: float array of shape (n, steps, 11).
        labels: int array of shape (n, length), classes 1 to 10.

    Returns:
        float64 array of shape (n,); minus the CTC loss.
    """
    return _text_log_probability(np.exp(log_softmax(logits)), labels)


def _text_log_probability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    count, length = labels.shape
    extended = np.full((count, 2 * length + 1), BLANK)
    extended[:, 1::2] = labels
    # From a state to itself and to the next one; over a blank only between different digits.
    states = extended.shape[1]
    transitions = np.tile(np.eye(states) + np.eye(states, k=1), (count, 1, 1))
    before = np.arange(1, states - 2, 2)
    transitions[:, before, before + 2] = labels[:, 1:] != labels[:, :-1]
    emitted = np.take_along_axis(probabilities, extended[:, None, :], axis=2)
    first = emitted[:, 0] * (np.arange(states) < 2)
    forward, log_scale = _forward(
        first, lambda forward: np.matmul(forward[:, None], transitions)[:, 0], emitted
    )
    return _log(forward[:, -1] + forward[:, -2]) + log_scale


def length_log_probability(logits: np.ndarray, digits: int = PLATE_DIGITS) -> np.ndarray:
    """Log of P(exactly so many digits | image): the sum over all alignments of all such texts.

    The forward algorithm over step, digits emitted so far and last class.

    Args:
        logits: float array of shape (n, steps, 11).
        digits: how many.

    Returns:
        float64 array of shape (n,).
    """
    return _length_log_probability(np.exp(log_softmax(logits)), digits)


def _length_log_probability(probabilities: np.ndarray, digits: int) -> np.ndarray:
    starts, transitions = _length_transitions(digits)
    emitted = np.tile(probabilities, digits + 1)
    forward, log_scale = _forward(
        emitted[:, 0] * starts, lambda forward: forward @ transitions, emitted
    )
    return _log(forward[:, -CLASSES:].sum(axis=1)) + log_scale


@cache
def _length_transitions(digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a path may start, and what may follow what; a state is (digits emitted, last class)."""
    emitted, last = np.divmod(np.arange((digits + 1) * CLASSES), CLASSES)
    more = emitted - emitted[:, None]  # from row to column
    digit, same = last != BLANK, last == last[:, None]
    allowed = (more == 0) & (~digit | same) | (more == 1) & digit & ~same
    return (emitted == digit).astype(float), allowed.astype(float)


def _forward(
    first: np.ndarray, advance: Callable[[np.ndarray], np.ndarray], emitted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The forward recursion, scaled now and then so that nothing underflows.

    Args:
        first: probabilities of the states at the first step, (n, states).
        advance: sums, for every state, those of the states that may come before it; from and to
            an array of shape (n, states).
        emitted: probability of every state's class at every step, (n, steps, states).

    Returns:
        Scaled probabilities of the states after the last step, and the log of the scale, (n,).
    """
    forward, log_scale = first, np.zeros(len(first))
    for step in range(1, emitted.shape[1]):
        forward = advance(forward) * emitted[:, step]
        if step % SCALED_EVERY == 0:
            scale = forward.sum(axis=1)
            scale[scale == 0] = 1  # impossible, and stays so
            forward /= scale[:, None]
            log_scale += np.log(scale)
    return forward, log_scale


def _log(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probability), IMPOSSIBLE)


class Decoded(NamedTuple):
    """What logits of n plates say."""

    texts: list[str]  # exactly as many digits each as were asked for
    digit_probability: np.ndarray  # of every digit at its peak, float64 (n, digits)
    digit_step: np.ndarray  # the middle of the steps that say it, float64 (n, digits)
    text_probability: np.ndarray  # P(text | image), float64 (n,)
    length_probability: np.ndarray  # P(exactly so many digits | image), float64 (n,)


def decode_plates(logits: np.ndarray, digits: int = PLATE_DIGITS) -> Decoded:
    """Read logits of shape (n, steps, 11) as so many digits, with what CTC says about them."""
    texts, paths = decode_exactly(logits, digits)
    labels = paths[emitting_steps(paths)].reshape(len(paths), digits)
    probabilities = np.exp(log_softmax(logits))
    return Decoded(
        texts,
        *_digits_along(probabilities, paths, digits),
        np.exp(_text_log_probability(probabilities, labels)),
        np.exp(_length_log_probability(probabilities, digits)),
    )


def _digits_along(
    probabilities: np.ndarray, paths: np.ndarray, digits: int
) -> tuple[np.ndarray, np.ndarray]:
    """The peak and the middle of every digit's run of steps along paths of so many digits."""
    starts = emitting_steps(paths)
    place = np.cumsum(starts, axis=1)[:, :, None] == np.arange(1, digits + 1)
    runs = place & (paths != BLANK)[:, :, None]  # (n, steps, digits)
    taken = np.take_along_axis(probabilities, paths[:, :, None], axis=2)
    steps = np.arange(paths.shape[1])[:, None]
    middle = (runs * steps).sum(axis=1) / runs.sum(axis=1)
    return (runs * taken).max(axis=1), middle


def probability_over_all_alignments(probabilities: np.ndarray, classes: Sequence[int]) -> float:
    """P(classes) by trying every path, the definition of CTC: for toy cases only.

    Args:
        probabilities: float array (steps, symbols), rows sum to 1, symbol 0 is the blank.
        classes: the symbols to be spelled, without blanks.
    """
    steps, symbols = probabilities.shape
    total = 0.0
    for path in product(range(symbols), repeat=steps):
        spelled = [symbol for symbol, _ in groupby(path) if symbol != BLANK]
        if spelled == list(classes):
            total += float(np.prod(probabilities[np.arange(steps), path]))
    return total


def decode_exactly(logits: np.ndarray, digits: int = PLATE_DIGITS) -> tuple[list[str], np.ndarray]:
    """The text of the most probable path among all paths that spell exactly so many digits.

    Exact dynamic programming over step, digits emitted so far and last class (Viterbi). Where the
    greedy path spells as many it is the most probable of all paths, so it is the answer.

    Args:
        logits: float array of shape (n, steps, 11), with at least nine steps for five digits.
        digits: how many.

    Returns:
        n texts of so many digits, and the path of each: int array of shape (n, steps).

    Raises:
        ValueError: too few steps to spell any so many digits.
    """
    if logits.shape[1] < 2 * digits - 1:
        raise ValueError(f"{logits.shape[1]} steps cannot spell every {digits} digits")
    paths = np.argmax(logits, axis=-1)
    open_rows = np.flatnonzero(emitting_steps(paths).sum(axis=1) != digits)
    if open_rows.size:
        paths[open_rows] = _best_paths(log_softmax(logits[open_rows]), digits)
    return spell(paths), paths


def _best_paths(log_probabilities: np.ndarray, digits: int) -> np.ndarray:
    count, steps, _ = log_probabilities.shape
    digit = slice(1, CLASSES)  # the classes
    # score[n, emitted, last class]; with nothing emitted only the blank can be last.
    score = np.full((count, digits + 1, CLASSES), IMPOSSIBLE)
    score[:, 0, BLANK] = log_probabilities[:, 0, BLANK]
    score[:, 1, digit] = log_probabilities[:, 0, digit]
    came_from = np.zeros((count, steps, digits + 1, CLASSES), dtype=np.int8)
    for step in range(1, steps):
        # Blank: from any class with as many digits emitted.
        from_class = score.argmax(axis=2)
        best = np.take_along_axis(score, from_class[:, :, None], axis=2)[:, :, 0]
        # Digit: held from itself, or emitted anew after the best other class with one fewer.
        others = score.copy()
        np.put_along_axis(others, from_class[:, :, None], IMPOSSIBLE, axis=2)
        second_class = others.argmax(axis=2)
        second = np.take_along_axis(others, second_class[:, :, None], axis=2)[:, :, 0]
        is_best = np.arange(CLASSES) == from_class[:, :, None]
        other = np.where(is_best, second[:, :, None], best[:, :, None])[:, :-1, digit]
        other_class = np.where(is_best, second_class[:, :, None], from_class[:, :, None])
        updated = np.full_like(score, IMPOSSIBLE)
        updated[:, :, BLANK] = best
        came_from[:, step, :, BLANK] = from_class
        held = score[:, 1:, digit]
        emits = other > held
        updated[:, 1:, digit] = np.where(emits, other, held)
        came_from[:, step, 1:, digit] = np.where(
            emits, other_class[:, :-1, digit], np.arange(1, CLASSES)
        )
        score = updated + log_probabilities[:, step, None, :]
    rows = np.arange(count)
    paths = np.empty((count, steps), dtype=np.int64)
    emitted = np.full(count, digits)
    paths[:, -1] = score[:, digits].argmax(axis=1)
    for step in range(steps - 1, 0, -1):
        current = paths[:, step]
        previous = came_from[rows, step, emitted, current]
        emitted = emitted - ((current != BLANK) & (previous != current))
        paths[:, step - 1] = previous
    return paths
