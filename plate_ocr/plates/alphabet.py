"""Digits <-> class indices, with the CTC blank as class 0."""

from collections.abc import Sequence

import numpy as np

DIGITS = "0123456789"
BLANK = 0  # keras.losses.CTC also pads labels with it, so digit d is class d + 1
NUM_CLASSES = 1 + len(DIGITS)
NUM_DIGITS = 5  # the default number of digits on a plate
SUPPORTED_LENGTHS = range(4, 8)  # numbers of digits that can be drawn, trained on and read


def is_valid_label(text: object, digits: int = NUM_DIGITS) -> bool:
    """Whether `text` is a string of exactly `digits` ASCII digits."""
    return isinstance(text, str) and len(text) == digits and set(text) <= set(DIGITS)


def encode(texts: Sequence[str], digits: int = NUM_DIGITS) -> np.ndarray:
    """Turn n texts into labels for the CTC loss, int32 (n, digits) with classes 1 to 10.

    >>> encode(["00123"])
    array([[1, 1, 2, 3, 4]], dtype=int32)

    Raises:
        ValueError: a text is not `digits` digits; the message quotes it.
    """
    for text in texts:
        if not is_valid_label(text, digits):
            raise ValueError(f"not {digits} digits: {text!r:.60}")
    classes = [[int(digit) + 1 for digit in text] for text in texts]
    return np.array(classes, np.int32).reshape(len(texts), digits)


def decode(classes: np.ndarray) -> list[str]:
    """Turn rows of classes, int (n, length), into n texts, without blanks.

    >>> decode(np.array([[1, 1, BLANK, 10], [BLANK, 3, BLANK, BLANK]]))
    ['009', '2']
    """
    return ["".join(DIGITS[c - 1] for c in row if c != BLANK) for row in classes.tolist()]
