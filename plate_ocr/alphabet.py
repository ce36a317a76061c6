"""Digits <-> class indices, with the CTC blank as class 0."""

from collections.abc import Iterable, Sequence

import numpy as np

DIGITS = "0123456789"
BLANK = 0  # keras.losses.CTC also pads labels with it, so digit d is class d + 1
CLASSES = 1 + len(DIGITS)
PLATE_DIGITS = 5  # a plate always holds exactly five digits


def is_plate_text(text: object) -> bool:
    """Whether `text` is a string of exactly five ASCII digits."""
    return isinstance(text, str) and len(text) == PLATE_DIGITS and set(text) <= set(DIGITS)


def encode(texts: Sequence[str]) -> np.ndarray:
    """Turn texts into labels for the CTC loss.

    >>> encode(["00123"])
    array([[1, 1, 2, 3, 4]], dtype=int32)

    Args:
        texts: n strings of five digits.

    Returns:
        int32 array of shape (n, 5) with classes 1 to 10.

    Raises:
        ValueError: a text is not five digits; it is named.
    """
    for text in texts:
        if not is_plate_text(text):
            raise ValueError(f"not five digits: {text!r}")
    flat = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8)
    return flat.reshape(len(texts), PLATE_DIGITS).astype(np.int32) - ord("0") + 1


def decode(classes: Iterable[int]) -> str:
    """Turn classes into text; blanks are left out, repeats are kept.

    >>> decode([1, 1, BLANK, 10])
    '009'
    """
    return "".join(DIGITS[index - 1] for index in classes if index != BLANK)
