"""Logits -> text: greedy decoding, the best text of exactly so many digits, its probability.

Plain NumPy, vectorised over the batch. Class 0 is the CTC blank. The recursions are those of
Graves et al., "Connectionist Temporal Classification" (ICML 2006).
"""

from collections.abc import Sequence
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


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, steps, 11) -> probabilities of the same shape, float64."""
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def emitting_steps(path: np.ndarray) -> np.ndarray:
    """Where a path emits a digit: the first step of every run of one class other than blank.

    Args:
        path: classes, int array of shape (n, steps).

    Returns:
        bool array of the same shape.
    """
    return _run_starts(path) & (path != BLANK)


def _run_starts(paths: np.ndarray) -> np.ndarray:
    """Where a run of one class begins, blank or not: at the first step of a path at least."""
    starts = np.ones(paths.shape, dtype=bool)
    starts[:, 1:] = paths[:, 1:] != paths[:, :-1]
    return starts


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
    emits = emitting_steps(paths)
    characters = decode(paths[emits])
    ends = np.cumsum(emits.sum(axis=1)).tolist()
    return [characters[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def text_log_probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log of P(text | image): the sum over all alignments of the text (forward algorithm).

    Args:
        logits: float array of shape (n, steps, 11).
        labels: int array of shape (n, length), classes 1 to 10.

    Returns:
        float64 array of shape (n,); minus the CTC loss.
    """
    return _log_probabilities(softmax(logits), np.asarray(labels))[1]


def length_log_probability(logits: np.ndarray, digits: int = PLATE_DIGITS) -> np.ndarray:
    """Log of P(exactly so many digits | image): the sum over all alignments of all such texts.

    The forward algorithm over step, digits emitted so far and last class.

    Args:
        logits: float array of shape (n, steps, 11).
        digits: how many.

    Returns:
        float64 array of shape (n,).
    """
    any_text = np.ones((len(logits), digits), dtype=int)
    return _log_probabilities(softmax(logits), any_text)[0]


def _log_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logs of P(so many digits) and of P(text), by the forward and the backward algorithm.

    Both sums and both directions run at once, and the directions meet in the middle: a single
    plate costs as much as the calls of NumPy, however little each has to do. Paths are scaled now
    and then, so that nothing underflows.

    Args:
        probabilities: float array of shape (n, steps, 11).
        labels: int array of shape (n, length).

    Returns:
        float64 array of shape (2, n).
    """
    count, length = labels.shape
    classes = probabilities.shape[2]
    lattice = _lattice(length, classes)
    all_texts, text, onward = lattice.parts
    both = _from_both_ends(probabilities)
    emitted = np.empty((*both.shape[:3], lattice.ends.shape[-1]))
    for start in range(0, all_texts.stop, classes):
        emitted[..., start : start + classes] = both
    emitted[..., text][..., 0::2] = both[..., BLANK, None]
    emitted[..., text][..., 1::2] = np.take_along_axis(both, labels[None, None], axis=3)
    differ = np.zeros((2, count, 2 * length + 1))  # forward from, and backward to, another digit
    differ[0, :, 1:-3:2] = differ[1, :, 3::2] = labels[:, 1:] != labels[:, :-1]
    np.multiply(emitted[..., text], differ, out=emitted[..., onward])

    paths = emitted[0] * lattice.ends
    log_scale = np.zeros((2, count, 2))
    for step in range(1, len(emitted) + 1):
        if step % SCALED_EVERY == 0 or step == len(emitted):
            scale = np.add.reduceat(paths, lattice.blocks, axis=-1)
            scale[scale == 0] = 1  # impossible, and stays so
            log_scale += np.log(scale)
            paths /= scale.repeat(lattice.sizes, axis=-1)
        if step < len(emitted):
            paths = paths @ lattice.transitions
            paths *= emitted[step]
    met = (paths[0] @ lattice.transitions[0] * paths[1])[:, : text.stop]
    met = np.add.reduceat(met, lattice.blocks, axis=-1)
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(met), IMPOSSIBLE) + log_scale.sum(axis=0)
    return logs.T


class _Lattice(NamedTuple):
    """The states of all texts of so many digits, then those of one text.

    Of the latter, what may go on over a blank to the next digit stands once more behind them.
    """

    parts: tuple[slice, slice, slice]  # the states of all texts, of the text, and these again
    blocks: tuple[int, int]  # where the states of all texts begin, and those of the text
    sizes: tuple[int, int]  # how many there are of both
    ends: np.ndarray  # 1 where a path may start, and where it may end, (2, 1, states)
    transitions: np.ndarray  # 1 where the column's state may follow the row's, and its transpose


@cache
def _lattice(digits: int, classes: int) -> _Lattice:
    """A state of all texts is (digits emitted, last class); one text's are blank, digit, blank."""
    emitted, last = np.divmod(np.arange((digits + 1) * classes), classes)
    more = emitted - emitted[:, None]  # from row to column
    digit, same = last != BLANK, last == last[:, None]
    of_all = (more == 0) & (~digit | same) | (more == 1) & digit & ~same
    places = np.arange(2 * digits + 1)
    ahead = places - places[:, None]
    of_text = (ahead == 0) | (ahead == 1)
    over_blank = (ahead == 2) & (places % 2 == 1)
    every, some = len(emitted), len(places)
    all_texts, text, onward = slice(every), slice(every, every + some), slice(every + some, None)
    transitions = np.zeros((2, every + 2 * some, every + 2 * some))
    for way, turn in zip(transitions, (np.array, np.transpose), strict=True):
        way[all_texts, all_texts] = turn(of_all)
        way[text, text] = way[text, onward] = turn(of_text)
        way[onward, text] = way[onward, onward] = turn(over_blank)
    start = np.concatenate([emitted == digit, places < 2, places < 2])
    last_places = places >= 2 * digits - 1
    end = np.concatenate([emitted == digits, last_places, last_places])
    ends = np.stack([start, end])[:, None].astype(float)
    return _Lattice((all_texts, text, onward), (0, every), (every, 2 * some), ends, transitions)


def _from_both_ends(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n, steps, classes) -> (half the steps, 2, n, classes): forward and backward.

    An odd number of steps gets one more, surely blank, which changes no probability of a text.
    """
    if probabilities.shape[1] % 2:
        blank = np.zeros_like(probabilities[:, :1])
        blank[:, :, BLANK] = 1
        probabilities = np.concatenate([probabilities, blank], axis=1)
    half = probabilities.shape[1] // 2
    both = np.stack([probabilities[:, :half], probabilities[:, : half - 1 : -1]])
    return both.transpose(2, 0, 1, 3)


class Decoded(NamedTuple):
    """What logits of n plates say."""

    texts: list[str]  # exactly as many digits each as were asked for
    greedy: list[str]  # by greedy decoding, any number of digits
    digit_probability: np.ndarray  # of every digit at its peak, float64 (n, digits)
    digit_place: np.ndarray  # the middle of the steps that say it, 0 left to 1 right, (n, digits)
    text_probability: np.ndarray  # P(text | image), float64 (n,)
    length_probability: np.ndarray  # P(exactly so many digits | image), float64 (n,)

    def placed(self, places: np.ndarray) -> "Decoded":
        """The same with places, told where the steps lie: their scale and offset, (n, 2)."""
        scale, offset = np.moveaxis(places, -1, 0)[..., None]
        return self._replace(digit_place=np.clip(self.digit_place * scale + offset, 0, 1))

    def with_rows(self, rows: np.ndarray, others: "Decoded") -> "Decoded":
        """The same with what `others`, one a row, say in the place of some rows."""
        replaced = []
        for ours, theirs in zip(self, others, strict=True):
            ours = ours.copy()
            for row, value in zip(rows.tolist(), theirs, strict=True):
                ours[row] = value
            replaced.append(ours)
        return Decoded(*replaced)


def decode_plates(logits: np.ndarray, digits: int = PLATE_DIGITS) -> Decoded:
    """Read logits of shape (n, steps, 11) as so many digits, with what CTC says about them."""
    greedy_paths = np.argmax(logits, axis=-1)
    greedy = spell(greedy_paths)
    paths = _of_length(greedy_paths, logits, digits)
    probabilities = softmax(logits)
    labels, peaks, places = _digits_along(probabilities, paths, digits)
    length_probability, text_probability = np.exp(_log_probabilities(probabilities, labels))
    return Decoded(
        greedy if paths is greedy_paths else spell(paths),
        greedy,
        peaks,
        places,
        text_probability,
        length_probability,
    )


def _digits_along(
    probabilities: np.ndarray, paths: np.ndarray, digits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, peak and place of every digit's run of steps along paths of so many digits."""
    flat = paths.ravel()
    starts = np.flatnonzero(_run_starts(paths))
    classes = flat[starts]
    peaks = np.maximum.reduceat(
        probabilities.reshape(len(flat), -1)[np.arange(len(flat)), flat], starts
    )
    steps = paths.shape[1]
    lengths = np.empty(len(starts))
    lengths[:-1] = starts[1:] - starts[:-1]
    lengths[-1] = len(flat) - starts[-1]
    places = (starts % steps + lengths / 2) / steps
    says = classes != BLANK
    shape = (len(paths), digits)
    return tuple(of_runs[says].reshape(shape) for of_runs in (classes, peaks, places))


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
    paths = _of_length(np.argmax(logits, axis=-1), logits, digits)
    return spell(paths), paths


def _of_length(greedy_paths: np.ndarray, logits: np.ndarray, digits: int) -> np.ndarray:
    """The greedy paths, with better ones where they spell another count of digits."""
    if logits.shape[1] < 2 * digits - 1:
        raise ValueError(f"{logits.shape[1]} steps cannot spell every {digits} digits")
    open_rows = np.flatnonzero(emitting_steps(greedy_paths).sum(axis=1) != digits)
    if not open_rows.size:
        return greedy_paths
    paths = greedy_paths.copy()
    paths[open_rows] = _best_paths(log_softmax(logits[open_rows]), digits)
    return paths


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
