"""The first half of the network: find the digits, and cut them out at the usual size. Pure Keras.

A few convolutions tell how much the digits cover of every four columns, and of every four rows.
What they span is scaled to one size, wherever and however large it stands in the plate, and narrow
digits are widened, so the reader learns shapes alone (a spatial transformer, Jaderberg et al. 2015,
"Spatial Transformer Networks", that learns from known boxes, not from the reader). Scaling is two
products of matrices, one for the rows and one for the columns. Shares are rounded, and from there
on places are integers: so all engines cut out the same, but for the rare share that lies in the
middle of two levels.
"""

import keras
import numpy as np
from keras import layers, ops

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

CELL = 4  # columns or rows of which one share is told
CELLS = (PLATE_WIDTH // CELL, PLATE_HEIGHT // CELL)  # along the columns, along the rows
FILTERS = (12, 16, 16, 16)
DILATIONS = (1, 2, 2)  # of all convolutions but the first: digits far apart are seen together
REACH = 9  # cells that are looked at together along an axis
COVERED = 0.4  # of a cell, from which on it counts as one of the digits
LEVELS = 32  # of a cell's share that are told apart: engines that round otherwise then agree

FRAME_HEIGHT = 32
FRAME_WIDTH = PLATE_WIDTH
ROOM = (108, 25)  # columns and rows of the frame that the digits fill, at most
WIDENED = 2  # times, at most, that narrow digits are shown wider to fill their columns too
CLOSEST = 0.29  # pixels of the plate from one of the frame to the next
UNIT = 2**12  # parts of a pixel in which places are told; products fit in 31 bits

# Of the shares and a zero behind them: those along the columns and along the rows, which are filled
# up with zeros, from either end; int32 (2, 2, 32).
INWARDS = np.full((2, 2, CELLS[0]), sum(CELLS), np.int32)
INWARDS[0, 0] = np.arange(CELLS[0])
INWARDS[1, 0, : CELLS[1]] = CELLS[0] + np.arange(CELLS[1])
INWARDS[:, 1] = INWARDS[:, 0, ::-1]
# Of all columns of the frame and then all rows: which number of a frame tells how far they lie
# apart (the next one, where they start), how many steps they are away from there, and the last
# place in the plate.
OF_AXIS, ALONG, LAST = np.concatenate(
    [
        [np.full(count, number), np.arange(count), np.full(count, UNIT * (pixels - 1))]
        for number, count, pixels in (
            (0, FRAME_WIDTH, PLATE_WIDTH),
            (2, FRAME_HEIGHT, PLATE_HEIGHT),
        )
    ],
    axis=1,
    dtype=np.int32,
)
LAYOUT = (FILTERS, DILATIONS, REACH, COVERED, LEVELS, FRAME_HEIGHT, ROOM, WIDENED, CLOSEST, UNIT)


def normalize_input(plates: keras.KerasTensor) -> keras.KerasTensor:
    """Plates, uint8 (n, 64, 128, 1) -> (n, 64, 128), from 0 for white to 1 for black."""
    # Scaled without the axis of the one channel: with it, ONNX Runtime takes ten times as long.
    pixels = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH), dtype="uint8", name="pixels")(plates)
    return layers.Rescaling(-1 / 255, offset=1, dtype="float32", name="ink")(pixels)


def localization_network(ink: keras.KerasTensor) -> keras.KerasTensor:
    """How much of every cell the digits cover.

    Args:
        ink: of the plates, (n, 64, 128), from `ink_of`.

    Returns:
        Shares from 0 to 1, (n, 32 + 16): of every 4 columns, left to right, then of every 4 rows.
    """
    features = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1), name="find_plates")(ink)
    for number, filters in enumerate(FILTERS):
        features = layers.Conv2D(
            filters,
            kernel_size=3 if number else 5,
            strides=1 if number else CELL,
            dilation_rate=DILATIONS[number - 1] if number else 1,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"find_convolution_{number + 1}",
        )(features)
    shares = [
        _share(features, cells, name)
        for cells, name in zip(CELLS, ("columns", "rows"), strict=True)
    ]
    return layers.Concatenate(name="covered")(shares)


def _share(features: keras.KerasTensor, cells: int, name: str) -> keras.KerasTensor:
    """Of every cell along one axis, from the strongest and the mean answers across it."""
    *across, filters = features.shape[1:]
    across = tuple(1 if size == cells else size for size in across)
    strongest = layers.MaxPooling2D(across, name=f"find_strongest_{name}")(features)
    mean = layers.AveragePooling2D(across, name=f"find_mean_{name}")(features)
    both = layers.Concatenate(name=f"find_both_{name}")([strongest, mean])
    profile = layers.Reshape((cells, 2 * filters), name=f"find_profile_{name}")(both)
    profile = layers.Conv1D(
        *(16, REACH),
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=f"find_{name}_1",
    )(profile)
    shares = layers.Conv1D(
        *(1, REACH), padding="same", activation="sigmoid", dtype="float32", name=f"find_{name}_2"
    )(profile)
    return layers.Reshape((cells,), name=f"covered_{name}")(shares)


def cover(boxes: np.ndarray) -> np.ndarray:
    """What `find_digits` should tell of digits that stand in these boxes.

    Args:
        boxes: left, top, right and bottom in pixels, (n, 4); the last two lie outside.

    Returns:
        float32 (n, 48).
    """
    shares = []
    for axis, cells in enumerate(CELLS):
        starts = CELL * np.arange(cells)
        first, last = boxes[:, axis, None], boxes[:, axis + 2, None]
        shares.append((np.minimum(last, starts + CELL) - np.maximum(first, starts)) / CELL)
    return np.clip(np.concatenate(shares, axis=1), 0, 1).astype(np.float32)


@keras.saving.register_keras_serializable(package="plate_ocr")
class Frame(layers.Layer):
    """The frame in which the digits have the usual size.

    They stand in the middle of its rows, and among its columns as they do in the plate: those of a
    plate whose digits stand further right stand further right.
    """

    def __init__(self, **settings):
        super().__init__(**settings | {"dtype": "float32"})

    def call(self, covered):
        """Place the frame.

        Args:
            covered: shares, (n, 48), from `find_digits`.

        Returns:
            int32 (n, 4), in UNITs of a pixel of the plate: of the frame's columns, how far they
            lie apart and where the middle of the first one lies; then the same of its rows.
        """
        # Columns and rows at once, from both ends: one plate takes as long as there are operations.
        levels = ops.pad(ops.cast(ops.round(LEVELS * covered), "int32"), ((0, 0), (0, 1)))
        shares = ops.take(levels, INWARDS, axis=1)  # (n, 2, 2, 32): of both axes, from both ends
        inside = ops.clip(shares - int(LEVELS * COVERED), 0, 1)
        until_first = 1 - ops.minimum(ops.cumsum(inside, axis=-1) - inside, 1)
        # Up to the first cell that counts, and from the last one on, what is not covered.
        open_ = ops.sum((LEVELS - shares) * until_first, axis=-1)
        before, after = open_[..., 0], open_[..., 1]
        whole = LEVELS * INWARDS.shape[-1]
        # Where no cell counts, both reach to the other end: then all of the plate is shown. They
        # are added, because OpenVINO fuses a sum along an axis with the division, and then does not
        # round what it divides.
        found = 1 - (before + after) // (whole + 2 * LEVELS)
        before, after = found * before, found * after
        length = ops.minimum(whole - before - after, LEVELS * np.array(CELLS, np.int32))
        length = ops.maximum(length, LEVELS // CELL)
        part = UNIT * CELL // LEVELS  # before, after and length count these, a cell is LEVELS
        length = part * length
        least = length // np.array(ROOM, np.int32)
        step = ops.maximum(ops.max(least, axis=1, keepdims=True), round(CLOSEST * UNIT))
        step = ops.maximum(least, step // np.array([WIDENED, 1], np.int32))
        # The frame has free columns, shared out as those of the plate are; its rows are halved.
        margin, pixel = (FRAME_WIDTH - ROOM[0]) // 4, LEVELS // CELL
        size, shared, halved = np.array(
            [[FRAME_WIDTH - 2 * margin, FRAME_HEIGHT], [1, 0], [0, 1]], np.int32
        )
        ahead = (before + pixel) * shared + halved
        both = (before + after + 2 * pixel) * shared + 2 * halved
        place = (step * size - length) * ahead // both + step * (margin * shared)
        middle = (step + UNIT) // 2 - UNIT  # of a pixel; what is halved is never negative
        starts = part * before - place + middle
        return ops.reshape(ops.stack([step, starts], axis=2), (-1, 4))


@keras.saving.register_keras_serializable(package="plate_ocr")
class BilinearSampler(layers.Layer):
    """What a frame shows of its plate, whose edges go on outwards."""

    def __init__(self, **settings):
        super().__init__(**settings | {"dtype": "float32"})

    def call(self, ink, frame):
        """Scale.

        Args:
            ink: of the plates, (n, 64, 128), from `ink_of`.
            frame: int32 (n, 4), from `Frame`.

        Returns:
            float32 (n, 32, 128, 1), from 0 for white to 1 for black.
        """
        steps, starts = (ops.take(frame, OF_AXIS + number, axis=1) for number in (0, 1))
        places = ops.minimum(ops.maximum(starts + steps * ALONG, 0), LAST)
        # The pixel before a place, and how far beyond it lies: apart, both survive bfloat16.
        before = places // UNIT
        beyond = ops.cast(places - UNIT * before, "float32") / UNIT
        before = ops.cast(before, "float32")
        reach = ops.maximum(ops.cast(steps, "float32") / UNIT, 1)[..., None]

        def weights_of(pixels: int, start: int, end: int) -> keras.KerasTensor:
            """Of the pixels along an axis in every pixel of the frame, (n, count, pixels).

            Linear between two pixels; the mean of more, where the frame has fewer than the plate.
            """
            apart = before[:, start:end, None] - ops.arange(pixels, dtype="float32")
            return ops.relu(reach[:, start:end] - ops.abs(apart + beyond[:, start:end, None]))

        of_columns = weights_of(PLATE_WIDTH, 0, FRAME_WIDTH)
        of_rows = weights_of(PLATE_HEIGHT, FRAME_WIDTH, FRAME_WIDTH + FRAME_HEIGHT)
        rows = ops.matmul(of_rows, ink)
        sums = ops.matmul(rows, ops.transpose(of_columns, (0, 2, 1)))
        weights = ops.sum(of_rows, axis=2)[:, :, None] * ops.sum(of_columns, axis=2)[:, None, :]
        return ops.expand_dims(sums / weights, axis=-1)
