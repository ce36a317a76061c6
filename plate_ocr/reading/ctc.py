"""Logits -> text: greedy decoding, the best text of exactly so many digits, its probability.

Plain NumPy, vectorised over the batch. Class 0 is the CTC blank. The recursions are those of
Graves et al., "Connectionist Temporal Classification" (ICML 2006).
"""

from collections.abc import Sequence
from functools import cache
from itertools import groupby, product
from typing import NamedTuple

import numpy as np

from plate_ocr.plates.alphabet import BLANK, NUM_CLASSES, NUM_DIGITS, decode

# Halves of paths that are multiplied at once: for more, OpenBLAS would start threads of its own,
# which hinder those that read.
TOGETHER = 48
IMPOSSIBLE = -1e30  # log of zero that stays finite in sums and differences

Halves = tuple[np.ndarray, np.ndarray]  # of paths: what `_met` takes


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, steps, 11) -> log probabilities of the same shape, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, steps, 11) -> probabilities of the same shape, float64."""
    powers = np.array(logits, dtype=np.float64)
    powers -= np.maximum.reduce(powers, axis=-1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= np.add.reduce(powers, axis=-1, keepdims=True)
    return powers


def only_finite(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (..., steps, 11) with zeros for a plate that has others than finite ones.

    Returns:
        The logits, and which plates are as they were, bool (...).
    """
    finite = np.isfinite(logits).all(axis=(-2, -1))
    return logits if finite.all() else np.where(finite[..., None, None], logits, 0), finite


def new_symbol_mask(path: np.ndarray) -> np.ndarray:
    """Where a path emits a digit: the first step of every run of one class other than blank.

    Args:
        path: classes, int array of shape (n, steps).

    Returns:
        bool array of the same shape.
    """
    emits = path != BLANK
    emits[:, 1:] &= path[:, 1:] != path[:, :-1]
    return emits


def greedy_decode(logits: np.ndarray) -> list[str]:
    """Read the most probable class of every step: repeats collapse, blanks fall out.

    Args:
        logits: float array of shape (n, steps, 11).

    Returns:
        n texts of any length.
    """
    paths = np.argmax(logits, axis=-1)
    return decode(paths * new_symbol_mask(paths))  # blank where no digit is emitted


def text_log_probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log of P(text | image): the sum over all alignments of the text (forward algorithm).

    Args:
        logits: float array of shape (n, steps, 11).
        labels: int array of shape (n, length), classes 1 to 10.

    Returns:
        float64 array of shape (n,); minus the CTC loss.
    """
    _, halves = _halves(softmax(logits), np.asarray(labels))
    return _log_met(*halves)


def length_log_probability(logits: np.ndarray, digits: int = NUM_DIGITS) -> np.ndarray:
    """Log of P(exactly so many digits | image): the sum over all alignments of all such texts.

    The forward algorithm over step, digits emitted so far and last class.

    Args:
        logits: float array of shape (n, steps, 11).
        digits: how many.

    Returns:
        float64 array of shape (n,).
    """
    halves, _ = _halves(softmax(logits), np.ones((len(logits), digits), dtype=int))
    return _log_met(*halves)


def _halves(probabilities: np.ndarray, labels: np.ndarray) -> tuple[Halves, Halves]:
    """The forward algorithm over the first half of the steps, the backward one over the others.

    Both at once, over all texts and over one text at once: a single plate costs as much as the
    calls of NumPy, however little each has to do. Backward is forward over the text and the steps
    turned round.

    Args:
        probabilities: float array of shape (n, steps, classes).
        labels: int array of shape (n, length).

    Returns:
        What `_met` takes: for all texts of this length, and for these texts.
    """
    count, length = labels.shape
    lattice = _lattice(length, probabilities.shape[2])
    both = _from_both_ends(probabilities)
    half, _, classes = both.shape
    labels = np.concatenate([labels, labels[:, ::-1]])
    of_digits = both[:, np.arange(2 * count)[:, None], labels]
    parts = max(-(-2 * count // TOGETHER), 1)
    # In fours: OpenBLAS may add up a last one, two or three otherwise.
    rows = 4 * max(-(-count // (2 * parts)), 1)
    whole = np.zeros((half, parts * rows, len(lattice.transitions)))
    emitted = whole[:, : 2 * count]
    of_all_texts = emitted[..., : lattice.first].reshape(half, 2 * count, length, classes)
    of_all_texts[:] = both[:, :, None]
    emitted[..., lattice.blanks] = both[..., BLANK, None]
    emitted[..., lattice.digits] = of_digits
    differ = labels[:, 1:] != labels[:, :-1]
    np.multiply(of_digits[..., :-1], differ, out=emitted[..., lattice.before_other])

    onward = lattice.transitions[lattice.first]  # from nothing emitted
    for of_states in whole.reshape(half, parts, rows, -1):
        states = onward * of_states
        onward = states @ lattice.transitions
    ahead = onward.reshape(whole.shape[1:])[:count]
    behind = states.reshape(whole.shape[1:])[count : 2 * count]
    # Not by an index: sums would be in another order where there is but one row.
    all_texts = ahead[:, : lattice.first + 1], behind.take(lattice.mirrored, axis=1)
    return all_texts, (ahead[:, lattice.text], behind[:, lattice.text][:, ::-1])


def _met(ahead: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The sum over all paths, (n,), from those over their halves, (n, states) each."""
    return np.add.reduce(ahead * behind, axis=1)


def _log_met(ahead: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The log of the same, also where it is too small for a float64; but not a half of it."""
    scales = np.array([np.add.reduce(half, axis=1) for half in (ahead, behind)])
    scales[scales == 0] = 1  # impossible, and stays so
    met = _met(ahead / scales[0, :, None], behind / scales[1, :, None])
    logs = np.log(met, out=np.full_like(met, IMPOSSIBLE), where=met > 0)
    return logs + np.log(scales).sum(axis=0)


class _Lattice(NamedTuple):
    """The states of half a path: first those of all texts, then those of one text.

    A state of all texts is (digits emitted, last class), from one digit on. Those of one text are
    its blanks and digits in their order, the first of which, nothing emitted, is one of all texts
    too; behind them each digit but the last stands once more, if another digit follows it: from
    there the path may go on without a blank between.
    """

    first: int  # state of one text: nothing emitted
    text: slice
    blanks: slice  # of the text
    digits: slice
    before_other: slice  # digits that another digit follows
    transitions: np.ndarray  # 1 where the column's state may follow the row's
    mirrored: np.ndarray  # of all texts, what a half from the right is where one from the left is


@cache
def _lattice(length: int, classes: int) -> _Lattice:
    first = length * classes
    places, digits = np.arange(2 * length + 1), np.arange(1, 2 * length, 2)
    text = slice(first, first + len(places))
    before_other = slice(text.stop, text.stop + length - 1)
    emitted, last = np.divmod(np.arange(classes, first + classes), classes)
    emitted, last = np.append(emitted, 0), np.append(last, BLANK)
    digit, same = last != BLANK, last[:, None] == last
    more = emitted - emitted[:, None]  # from row to column
    ahead = places - places[:, None]

    # So many rows and columns that a product adds up alike for any number of plates.
    transitions = np.zeros(2 * [-(-before_other.stop // 8) * 8])
    all_texts = np.ix_(*2 * [np.arange(first + 1)])
    transitions[all_texts] = (more == 0) & (same | ~digit) | (more == 1) & digit & ~same
    transitions[text, text] = (ahead == 0) | (ahead == 1)
    transitions[before_other, text] = places - digits[:-1, None] == 2
    transitions[:, before_other] = transitions[:, text][:, digits[:-1]]
    # Both halves count the digit in which they meet.
    left = length + digit - emitted
    mirrored = np.where(left > 0, (left - 1) * classes + last, first)
    blanks, between = slice(first, text.stop, 2), slice(first + 1, text.stop, 2)
    return _Lattice(first, text, blanks, between, before_other, transitions, mirrored)


def _from_both_ends(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n, steps, classes) -> (half the steps, 2 n, classes): forward, then backward.

    An odd number of steps gets one more, surely blank, which changes no probability of a text.
    """
    count, steps, classes = probabilities.shape
    both = np.zeros(((steps + 1) // 2, 2 * count, classes))
    each = probabilities.swapaxes(0, 1)
    both[0, :count, BLANK] = 1  # before the first of an odd number
    both[steps % 2 :, :count] = each[: steps // 2]
    both[:, count:] = each[::-1][: len(both)]
    return both


class Predictions(NamedTuple):
    """What logits of n plates say."""

    texts: list[str]  # exactly as many digits each as were asked for
    greedy_texts: list[str]  # by greedy decoding, any number of digits
    digit_confidence: np.ndarray  # of every digit at its peak, float64 (n, digits)
    digit_position: (
        np.ndarray
    )  # the middle of the steps that say it, 0 left to 1 right, (n, digits)
    text_probability: np.ndarray  # P(text | image), float64 (n,)
    length_probability: np.ndarray  # P(exactly so many digits | image), float64 (n,)

    def placed(self, places: np.ndarray) -> "Predictions":
        """The same with places, told where the steps lie: their scale and offset, (n, 2)."""
        inside = self.digit_position * places[:, :1] + places[:, 1:]
        return self._replace(digit_position=np.minimum(np.maximum(inside, 0), 1))

    def with_rows(self, rows: np.ndarray, others: "Predictions") -> "Predictions":
        """The same with what `others`, one a row, say in the place of some rows."""
        replaced = []
        for ours, theirs in zip(self, others, strict=True):
            ours = ours.copy()
            for row, value in zip(rows.tolist(), theirs, strict=True):
                ours[row] = value
            replaced.append(ours)
        return Predictions(*replaced)


def decode_logits(logits: np.ndarray, digits: int = NUM_DIGITS) -> Predictions:
    """Read logits of shape (n, steps, 11) as so many digits, with what CTC says about them.

    Where some of a plate are not finite, its digits mean nothing and all its probabilities are 0.
    """
    logits, finite = only_finite(logits)
    greedy, texts, paths, emits = _read(logits, digits)
    probabilities = softmax(logits)
    labels, peaks, places = _digits_along(probabilities, paths, emits, digits)
    length_probability, text_probability = (_met(*two) for two in _halves(probabilities, labels))
    if not finite.all():
        for probability in (peaks, text_probability, length_probability):
            probability[~finite] = 0
    return Predictions(texts, greedy, peaks, places, text_probability, length_probability)


def _digits_along(
    probabilities: np.ndarray, paths: np.ndarray, emits: np.ndarray, digits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, peak and place of every digit's run of steps along paths of so many digits."""
    steps, classes = probabilities.shape[1:]
    path = paths.ravel()
    (starts,) = emits.ravel().nonzero()
    says = path != BLANK
    along = probabilities.ravel()[path + np.arange(0, probabilities.size, classes)]
    peaks = np.maximum.reduceat(along * says, starts)  # blanks may follow a run
    lengths = np.add.reduceat(says, starts, dtype=int)
    places = (starts % steps + lengths / 2) / steps
    shape = (len(paths), digits)
    return path[starts].reshape(shape), peaks.reshape(shape), places.reshape(shape)


def ctc_probability_brute_force(probabilities: np.ndarray, classes: Sequence[int]) -> float:
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


def decode_fixed_length(
    logits: np.ndarray, digits: int = NUM_DIGITS
) -> tuple[list[str], np.ndarray]:
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
    _, texts, paths, _ = _read(only_finite(logits)[0], digits)
    return texts, paths


def _read(logits: np.ndarray, digits: int) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """The greedy texts; then those of so many digits, their paths, and where these emit digits."""
    if logits.shape[1] < 2 * digits - 1:
        raise ValueError(f"{logits.shape[1]} steps cannot spell every {digits} digits")
    paths = logits.argmax(axis=-1)
    emits = new_symbol_mask(paths)
    texts = greedy = decode(paths * emits)
    other = [row for row, text in enumerate(greedy) if len(text) != digits]
    if other:
        paths[other] = _best_paths(log_softmax(logits[other]), digits)
        emits = new_symbol_mask(paths)
        texts = decode(paths * emits)
    return greedy, texts, paths, emits


def _best_paths(log_probabilities: np.ndarray, digits: int) -> np.ndarray:
    count, steps, _ = log_probabilities.shape
    digit = slice(1, NUM_CLASSES)  # the classes
    # score[n, emitted, last class]; with nothing emitted only the blank can be last.
    score = np.full((count, digits + 1, NUM_CLASSES), IMPOSSIBLE)
    score[:, 0, BLANK] = log_probabilities[:, 0, BLANK]
    score[:, 1, digit] = log_probabilities[:, 0, digit]
    came_from = np.zeros((count, steps, digits + 1, NUM_CLASSES), dtype=np.int8)
    rows, counts = np.arange(count), np.arange(digits + 1)
    for step in range(1, steps):
        # Blank: from any class with as many digits emitted.
        from_class, best = score.argmax(axis=2), score.max(axis=2)
        # Digit: held from itself, or emitted anew after the best other class with one fewer.
        others = score.copy()
        others[rows[:, None], counts, from_class] = IMPOSSIBLE
        second_class, second = others.argmax(axis=2), others.max(axis=2)
        is_best = np.arange(NUM_CLASSES) == from_class[:, :, None]
        other = np.where(is_best, second[:, :, None], best[:, :, None])[:, :-1, digit]
        other_class = np.where(is_best, second_class[:, :, None], from_class[:, :, None])
        updated = np.full_like(score, IMPOSSIBLE)
        updated[:, :, BLANK] = best
        came_from[:, step, :, BLANK] = from_class
        held = score[:, 1:, digit]
        emits = other > held
        updated[:, 1:, digit] = np.where(emits, other, held)
        came_from[:, step, 1:, digit] = np.where(
            emits, other_class[:, :-1, digit], np.arange(1, NUM_CLASSES)
        )
        score = updated + log_probabilities[:, step, None, :]
    paths = np.empty((count, steps), dtype=np.int64)
    emitted = np.full(count, digits)
    paths[:, -1] = score[:, digits].argmax(axis=1)
    for step in range(steps - 1, 0, -1):
        current = paths[:, step]
        previous = came_from[rows, step, emitted, current]
        emitted = emitted - ((current != BLANK) & (previous != current))
        paths[:, step - 1] = previous
    return paths
