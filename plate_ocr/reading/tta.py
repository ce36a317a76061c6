"""Looking again: the same plate moved, turned, scaled and cut out, and what all views say together.

A network reads another picture of the same plate a little differently, and what it finds most
probable over several is right more often than what it says of one (test-time augmentation,
Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks").
`benchmarks/tta_ablation.py` measures what every view brings.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.ctc import Predictions, decode_logits, only_finite, text_log_probability

VIEWS = ("moved", "turned", "usual size", "cut out", "cut out, with more room")  # in their order
SIZE = (PLATE_WIDTH, PLATE_HEIGHT)  # of a plate
MOVED = 2  # pixels up and to the left: half a cell of those that tell where digits stand
TURNED = 4  # degrees
USUAL = (PLATE_WIDTH - 8, 18)  # what the digits fit into; nine in ten as they are drawn do too
CUT_OUT = ((PLATE_WIDTH - 4, 32), (0.8 * PLATE_WIDTH, 0.8 * PLATE_HEIGHT))
STRONGEST = PLATE_WIDTH * PLATE_HEIGHT // 200  # as many pixels tell how dark the ink is
# Columns of its frame by which the network says a digit too far left. It puts 1.5 of them there
# itself, because its convolutions with strides are padded on the right; the others are learned,
# and may differ with other weights.
TOO_FAR_LEFT = 3.3
FAINTEST = 20  # grey levels between the ground and what counts as ink
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def make_views(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five other views of every plate.

    Moved; turned; scaled to the usual size; and twice cut out, so that the ground of a label that
    stands on another one fills the picture. The last three are dark on light.

    Args:
        images: uint8 (n, 64, 128, 1).

    Returns:
        The views, uint8 (5, n, 64, 128, 1); and where they show what, float64 (5, n, 2): a place
        in the view, as a share of its width, times the first, plus the second, lies on the plate.
    """
    views, places = [], []
    for plate in images[..., 0]:
        ink = text_bbox(plate)
        moved = (MOVED, MOVED, PLATE_WIDTH + MOVED, PLATE_HEIGHT + MOVED)
        usual, *cut_out = (_box_around(ink, room) for room in (USUAL, *CUT_OUT))
        views.append(
            [
                _show(plate, moved),
                _turn(plate),
                _dark_on_light(_show(plate, usual), _median(border_pixels(plate))),
                *_cut_out(plate, ink, cut_out),
            ]
        )
        boxes = (moved, (0, 0, *SIZE), usual, *cut_out)  # turning leaves the middle row's places
        places.append([(right - left, left) for left, _, right, _ in boxes])
    return (
        np.array(views, np.uint8).swapaxes(0, 1)[..., None],
        np.array(places, float).swapaxes(0, 1) / PLATE_WIDTH,
    )


def text_bbox(plate: np.ndarray) -> tuple[int, int, int, int]:
    """The box of all that is unlike the edge of a plate, single grains left out; else the frame.

    Args:
        plate: uint8 (64, 128).

    Returns:
        Left, top, right and bottom, in pixels; the last two lie outside.
    """
    smooth = np.asarray(Image.fromarray(plate).filter(ImageFilter.MedianFilter(3)), np.int16)
    unlike = np.abs(smooth - _median(border_pixels(plate)))
    strongest = np.partition(unlike.ravel(), -STRONGEST)[-STRONGEST]
    ink = unlike > max(0.4 * strongest, FAINTEST)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return 0, 0, *SIZE
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _median(pixels: np.ndarray) -> int:
    """The grey level in the middle; NumPy's own takes ten times as long for those of an edge."""
    middle = pixels.size // 2
    return int(np.partition(pixels.ravel(), middle)[middle])


def _ground_of(inside: np.ndarray) -> int:
    """The usual grey level on that side of the middle one, dark or light, that has more pixels."""
    light = inside > (int(inside.min()) + int(inside.max())) // 2
    return _median(inside[light == (2 * np.count_nonzero(light) > light.size)])


def _box_around(ink: Box, room: tuple[float, float]) -> Box:
    """The box in which the ink stands in the middle and fits into a room, once it is a picture."""
    left, top, right, bottom = ink
    scale = min(room[0] / (right - left), room[1] / (bottom - top))
    x, y = (left + right) / 2, (top + bottom) / 2
    reach = PLATE_WIDTH / 2 / scale, PLATE_HEIGHT / 2 / scale
    return x - reach[0], y - reach[1], x + reach[0], y + reach[1]


def _show(image: np.ndarray, box: Box, beyond: int | None = None) -> np.ndarray:
    """What a box shows of an image, whose edge, or a grey level, goes on outwards."""
    left, top, right, bottom = box
    height, width = image.shape
    pad = int(np.ceil(max(-left, -top, right - width, bottom - height, 0))) + 1
    if beyond is None:
        larger = np.pad(image, pad, mode="edge")
    else:
        larger = np.pad(image, pad, constant_values=beyond)
    inside = (left + pad, top + pad, right + pad, bottom + pad)
    return np.asarray(Image.fromarray(larger).resize(SIZE, Image.Resampling.BILINEAR, box=inside))


def _turn(plate: np.ndarray) -> np.ndarray:
    """The plate turned about its middle."""
    pad = PLATE_HEIGHT // 8  # more than the corners move
    larger = Image.fromarray(np.pad(plate, pad, mode="edge"))
    return np.asarray(larger.rotate(TURNED, Image.Resampling.BILINEAR))[pad:-pad, pad:-pad]


def _dark_on_light(view: np.ndarray, ground: int) -> np.ndarray:
    return view if ground >= 128 else 255 - view


def _cut_out(
    plate: np.ndarray, ink: tuple[int, int, int, int], boxes: Sequence[Box]
) -> list[np.ndarray]:
    """What boxes show of the ink alone, on its own ground: a label's, where it stands on one."""
    left, top, right, bottom = ink
    inside = plate[top:bottom, left:right]
    ground = _ground_of(inside)
    shown = (
        _show(inside, (box[0] - left, box[1] - top, box[2] - left, box[3] - top), ground)
        for box in boxes
    )
    return [_dark_on_light(view, ground) for view in shown]


def x_affine(frames: np.ndarray) -> np.ndarray:
    """Where what the network says lies, as `views_of` tells where a view lies.

    Args:
        frames: in pixels, (n, 4), as `engines.Look` has them.

    Returns:
        float64 (n, 2).
    """
    places = frames[:, :2].astype(float)
    step, start = places.T
    places[:, 1] = (start + (1 - step) / 2 + TOO_FAR_LEFT * step) / PLATE_WIDTH
    return places


def compose_affine(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Where something lies in a plate, (..., 2), that lies so in a view, which lies so in it."""
    scale, offset = np.moveaxis(inner, -1, 0)
    return np.stack([scale * outer[..., 0], offset * outer[..., 0] + outer[..., 1]], axis=-1)


def merge_views(logits: np.ndarray, places: np.ndarray, digits: int) -> Predictions:
    """The texts that are most probable over the plates as they are and all views of them.

    Args:
        logits: of the plates as they are, then of every view, float (1 + views, n, steps, 11).
        places: where they lie in the plates, (1 + views, n, 2).
        digits: of a plate.

    Returns:
        Of every plate, of all texts that it or a view is read as the one with the highest mean
        probability; its digits as the surest view has them; the greedy text of the plate as it is.
    """
    logits, _ = only_finite(logits)
    looks, count = logits.shape[:2]
    said = decode_logits(logits.reshape(-1, *logits.shape[2:]), digits)
    texts = np.array(said.texts).reshape(looks, count)
    candidates = sorted({(row, text) for look in texts for row, text in enumerate(look)})
    rows = np.array([row for row, _ in candidates])
    of_text = np.array([text for _, text in candidates])
    own = said.text_probability.reshape(looks, count)
    each = own[:, rows]
    look, candidate = np.nonzero(texts[:, rows] != of_text)  # what a look does not read itself
    if len(look):
        labels = encode(of_text[candidate].tolist(), digits)
        others = text_log_probability(logits[look, rows[candidate]], labels)
        each[look, candidate] = np.exp(others)
    probability = each.mean(axis=0)
    by_row = np.lexsort((probability, rows))
    best = by_row[np.searchsorted(rows, np.arange(count), side="right") - 1]
    chosen = of_text[best]

    reads_it = texts == chosen
    surest = np.where(reads_it, own, -1).argmax(axis=0), np.arange(count)
    return Predictions(
        chosen.tolist(),
        said.greedy_texts[:count],
        said.digit_confidence.reshape(looks, count, digits)[surest],
        said.digit_position.reshape(looks, count, digits)[surest],
        probability[best],
        said.length_probability.reshape(looks, count).mean(axis=0),
    ).placed(places[surest])
