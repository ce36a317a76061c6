"""Looking again: the same plates moved a little and made smaller, and what all views say together.

A network that skips pixels reads a moved plate a little differently, and what it finds most
probable over several views is right more often than what it says of one (test-time augmentation,
Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks").
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from plate_ocr.decoding import Decoded
from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH

MOVED = 2  # pixels along and across: half a time step
ROWS, COLUMNS = 2, 4  # paper added on each side before a plate is made smaller to fit the frame
# Of every view, where a place in it lies on the plate: place * scale + offset, as shares of the
# width.
PLACES = (
    (1.0, MOVED / PLATE_WIDTH),
    (1.0, -MOVED / PLATE_WIDTH),
    (1 + 2 * COLUMNS / PLATE_WIDTH, -COLUMNS / PLATE_WIDTH),
)


def views_of(images: np.ndarray) -> np.ndarray:
    """Plates, uint8 (n, 64, 128, 1) -> three views of each, (3, n, 64, 128, 1).

    Up and to the left, down and to the right, and smaller. The edge goes on outwards.
    """
    padding = ((0, 0), (ROWS, ROWS), (COLUMNS, COLUMNS))
    larger = np.pad(images[..., 0], padding, mode="edge")
    views = np.empty((len(PLACES), *images.shape), np.uint8)
    for view, moved in enumerate((MOVED, -MOVED)):
        top, left = ROWS + moved, COLUMNS + moved
        views[view, ..., 0] = larger[:, top : top + PLATE_HEIGHT, left : left + PLATE_WIDTH]
    for row, plate in enumerate(larger):
        smaller = Image.fromarray(plate).resize(
            (PLATE_WIDTH, PLATE_HEIGHT), Image.Resampling.BILINEAR
        )
        views[-1, row, ..., 0] = smaller
    return views


def agree(plain: Decoded, views: Sequence[Decoded]) -> Decoded:
    """The texts that are most probable over the plates as they are and all views of them.

    Args:
        plain: what the n plates say as they are.
        views: what every view of them says, in the order of `views_of`.

    Returns:
        Of every plate, the text with the highest mean probability, a view that reads another text
        counting as 0; its digits as the surest view has them; the greedy text of the plate as it
        is.
    """
    all_views = (plain, *views)
    texts = np.array([one.texts for one in all_views])
    probability = np.stack([one.text_probability for one in all_views])
    together = np.where(texts[:, None] == texts, probability, 0).sum(axis=1)
    highest = together.max(axis=0)
    surest = np.where(together == highest, probability, -1).argmax(axis=0)
    chosen = surest, np.arange(len(surest))
    places = [plain.digit_place]
    for one, (scale, offset) in zip(views, PLACES, strict=True):
        places.append(np.clip(one.digit_place * scale + offset, 0, 1))
    return Decoded(
        texts[chosen].tolist(),
        plain.greedy,
        np.stack([one.digit_probability for one in all_views])[chosen],
        np.stack(places)[chosen],
        highest / len(all_views),
        np.stack([one.length_probability for one in all_views]).mean(axis=0),
    )
