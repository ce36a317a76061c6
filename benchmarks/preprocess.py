"""What the peers have in common: cropping to the ink, and CTC decoding held to digits."""

import cv2
import numpy as np

cv2.setNumThreads(1)

MARGIN = 4  # pixels kept around the ink; chosen on the tuning set, like the rest of this module
LEAST_INK = 2  # pixels that make a row or a column inked; fewer are specks


def crop_to_ink(image: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Cut a plate to its digits.

    Ink is what differs from the border's median grey by more than half of the largest difference,
    after a 3 x 3 blur against noise.

    Args:
        image: uint8 (height, width), dark on light or light on dark.
        margin: pixels kept around the ink, where the plate has them.

    Returns:
        A part of the image; all of it where there is no ink.
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    paper = np.full_like(image, np.median(border))
    difference = cv2.absdiff(cv2.blur(image, (3, 3)), paper)
    ink = difference > difference.max() / 2
    rows = np.flatnonzero(ink.sum(axis=1) >= LEAST_INK)
    columns = np.flatnonzero(ink.sum(axis=0) >= LEAST_INK)
    if not rows.size or not columns.size:
        return image
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return image[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]


def decode_digits(scores: np.ndarray, classes: np.ndarray) -> str:
    """Greedy CTC decoding that lets a peer answer with digits alone.

    Args:
        scores: float (steps, classes of the peer).
        classes: the peer's eleven classes for the blank and for 0 to 9, in this order.
    """
    path = scores[:, classes].argmax(axis=1)
    starts = np.append(True, path[1:] != path[:-1])
    return "".join(str(symbol - 1) for symbol in path[starts & (path > 0)])
