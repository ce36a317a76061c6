"""The first half of the network: find the digits and crop them at one size. Pure Keras 3.

A spatial transformer (Jaderberg et al. 2015, "Spatial Transformer Networks") in three steps:

1. The localization network predicts how much of every 4 columns and every 4 rows the digits cover.
2. `CropWindow` places a window around what is covered.
3. `BilinearSampler` resamples that window to 32 x 128 pixels.

The recognition network behind it then need not learn positions and sizes. Unlike in the paper, the
localization network learns from known boxes (`coverage_targets`), not from the reader's loss.
"""

import keras
import numpy as np
from keras import layers, ops

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

# Localization network
STRIDE = 4  # pixels per cell of the coverage profiles
NUM_CELLS = (PLATE_WIDTH // STRIDE, PLATE_HEIGHT // STRIDE)  # of columns, of rows
FILTERS = (12, 16, 16, 16)
DILATIONS = (1, 2, 2)  # of all convolutions but the first, so that distant digits are seen together
PROFILE_KERNEL = 9  # cells

# Crop window. Coverage is quantized and positions are fixed-point integers, so that ONNX Runtime,
# OpenVINO (also in bfloat16), TensorFlow and JAX crop exactly the same pixels.
QUANTIZATION_LEVELS = 32  # of the coverage of a cell
COVERAGE_THRESHOLD = 0.4  # a cell covered by more belongs to the digits
FIXED_POINT_ONE = 2**12  # one pixel of the plate; products fit in 31 bits
CROP_HEIGHT = 32
CROP_WIDTH = PLATE_WIDTH
TARGET_SIZE = (108, 25)  # columns and rows of the crop that the digits fill
MAX_ASPECT_STRETCH = 2  # narrow digits are stretched horizontally up to this factor
MIN_SCALE = 0.29  # least distance in the plate between two pixels of the crop: limits enlargement

ARCHITECTURE_CONSTANTS = (
    FILTERS,
    DILATIONS,
    PROFILE_KERNEL,
    COVERAGE_THRESHOLD,
    QUANTIZATION_LEVELS,
    CROP_HEIGHT,
    TARGET_SIZE,
    MAX_ASPECT_STRETCH,
    MIN_SCALE,
    FIXED_POINT_ONE,
)


def normalize_input(plates: keras.KerasTensor) -> keras.KerasTensor:
    """Plates, uint8 (n, 64, 128, 1) -> float32 (n, 64, 128), from 0 for white to 1 for black."""
    # Scaled without the channel axis: with it, ONNX Runtime takes ten times as long.
    pixels = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH), dtype="uint8", name="pixels")(plates)
    return layers.Rescaling(-1 / 255, offset=1, dtype="float32", name="ink")(pixels)


def localization_network(ink: keras.KerasTensor) -> keras.KerasTensor:
    """Predict how much of every cell the digits cover.

    Args:
        ink: normalized plates, (n, 64, 128).

    Returns:
        Coverage from 0 to 1, (n, 32 + 16): of every 4 columns, left to right, then of every 4 rows.
    """
    features = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1), name="find_plates")(ink)
    for number, filters in enumerate(FILTERS):
        features = layers.Conv2D(
            filters,
            kernel_size=3 if number else 5,
            strides=1 if number else STRIDE,
            dilation_rate=DILATIONS[number - 1] if number else 1,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"find_convolution_{number + 1}",
        )(features)  # (n, 16, 32, filters)
    columns = _coverage_profile(features, pool_size=(NUM_CELLS[1], 1), name="columns")
    rows = _coverage_profile(features, pool_size=(1, NUM_CELLS[0]), name="rows")
    return layers.Concatenate(name="covered")([columns, rows])


def _coverage_profile(
    features: keras.KerasTensor, pool_size: tuple[int, int], name: str
) -> keras.KerasTensor:
    """Pool the features across one axis, then predict the coverage of every cell along the other.

    Returns:
        Coverage from 0 to 1, (n, cells).
    """
    maximum = layers.MaxPooling2D(pool_size, name=f"find_strongest_{name}")(features)
    mean = layers.AveragePooling2D(pool_size, name=f"find_mean_{name}")(features)
    both = layers.Concatenate(name=f"find_both_{name}")([maximum, mean])
    profile = layers.Reshape((-1, 2 * FILTERS[-1]), name=f"find_profile_{name}")(both)
    profile = layers.Conv1D(
        filters=16,
        kernel_size=PROFILE_KERNEL,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=f"find_{name}_1",
    )(profile)
    coverage = layers.Conv1D(
        filters=1,
        kernel_size=PROFILE_KERNEL,
        padding="same",
        activation="sigmoid",
        dtype="float32",
        name=f"find_{name}_2",
    )(profile)
    return layers.Reshape((-1,), name=f"covered_{name}")(coverage)


def coverage_targets(boxes: np.ndarray) -> np.ndarray:
    """What the localization network should predict for digits in these boxes.

    Args:
        boxes: left, top, right and bottom in pixels, (n, 4); right and bottom are exclusive.

    Returns:
        Fraction of every cell inside the box, float32 (n, 48).
    """
    profiles = []
    for axis, cells in enumerate(NUM_CELLS):
        cell_start = STRIDE * np.arange(cells)
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        overlap = np.minimum(end, cell_start + STRIDE) - np.maximum(start, cell_start)
        profiles.append(overlap / STRIDE)
    return np.clip(np.concatenate(profiles, axis=1), 0, 1).astype(np.float32)


# The class names under which dr_model.h5 stores these layers are older than those of Python.
@keras.saving.register_keras_serializable(package="plate_ocr", name="Frame")
class CropWindow(layers.Layer):
    """Place the window whose crop shows the digits at one size.

    The digits are centered vertically. Horizontally they keep about their place: digits further
    right in the plate are further right in the crop.
    """

    def __init__(self, **settings):
        super().__init__(**settings | {"dtype": "float32"})

    def call(self, coverage):
        """Compute the window.

        Args:
            coverage: from 0 to 1, (n, 48), from `localization_network`.

        Returns:
            int32 (n, 4): scale x, offset x, scale y, offset y, where pixel i of an axis of the crop
            shows the plate at `offset + i * scale`, in units of 1 / FIXED_POINT_ONE pixel.
        """
        levels = ops.cast(ops.round(QUANTIZATION_LEVELS * coverage), "int32")
        left, right, width = _text_extent(levels[:, : NUM_CELLS[0]])
        top, _, height = _text_extent(levels[:, NUM_CELLS[0] :])
        # The longer side fills its target size; one scale for both axes, but for the stretch.
        scale_y = ops.maximum(width // TARGET_SIZE[0], height // TARGET_SIZE[1])
        scale_y = ops.maximum(scale_y, round(MIN_SCALE * FIXED_POINT_ONE))
        scale_x = ops.maximum(width // TARGET_SIZE[0], scale_y // MAX_ASPECT_STRETCH)
        # A margin on both sides, then the free columns in the ratio of those of the plate, each
        # side counted one pixel wider, so that the ratio exists where the digits fill the plate.
        margin = (CROP_WIDTH - TARGET_SIZE[0]) // 4
        pixel = QUANTIZATION_LEVELS // STRIDE
        free_x = scale_x * (CROP_WIDTH - 2 * margin) - width
        free_left = free_x * (left + pixel) // (left + right + 2 * pixel) + scale_x * margin
        free_top = (scale_y * CROP_HEIGHT - height) // 2
        offset_x = _to_fixed_point(left) - free_left + _first_center(scale_x)
        offset_y = _to_fixed_point(top) - free_top + _first_center(scale_y)
        return ops.concatenate([scale_x, offset_x, scale_y, offset_y], axis=1)


def _text_extent(levels):
    """Where the digits start and end along one axis.

    A partly covered cell at either end counts by its coverage.

    Args:
        levels: quantized coverage, int32 (n, cells).

    Returns:
        Empty levels before and after the digits, and the length of the digits in fixed point, each
        int32 (n, 1). If no cell passes the threshold, the digits fill the whole axis.
    """
    threshold = int(QUANTIZATION_LEVELS * COVERAGE_THRESHOLD)
    covered = ops.cast(levels > threshold, "int32")
    count = ops.cumsum(covered, axis=1)
    total = count[:, -1:]
    empty = (QUANTIZATION_LEVELS - levels) * ops.minimum(total, 1)
    up_to_first = ops.cast(count == covered, "int32")  # up to the first covered cell
    from_last = ops.cast(count == total, "int32")
    before = ops.sum(empty * up_to_first, axis=1, keepdims=True)
    after = ops.sum(empty * from_last, axis=1, keepdims=True)
    length = QUANTIZATION_LEVELS * levels.shape[1] - before - after
    return before, after, _to_fixed_point(ops.maximum(length, QUANTIZATION_LEVELS // STRIDE))


def _to_fixed_point(levels):
    return levels * (FIXED_POINT_ONE * STRIDE // QUANTIZATION_LEVELS)


def _first_center(scale):
    """Center of the first pixel of the crop, relative to the center of the plate's first pixel."""
    return (scale + FIXED_POINT_ONE) // 2 - FIXED_POINT_ONE  # no negative number is halved


@keras.saving.register_keras_serializable(package="plate_ocr", name="CutOut")
class BilinearSampler(layers.Layer):
    """Resample the window of every plate; beyond the edges, the edge pixels are repeated."""

    def __init__(self, **settings):
        super().__init__(**settings | {"dtype": "float32"})

    def call(self, ink, window):
        """Resample by two matrix products, one per axis.

        Args:
            ink: normalized plates, (n, 64, 128).
            window: int32 (n, 4), from `CropWindow`.

        Returns:
            float32 (n, 32, 128, 1), from 0 for white to 1 for black.
        """
        columns = _bilinear_weights(window[:, 0:1], window[:, 1:2], PLATE_WIDTH, CROP_WIDTH)
        rows = _bilinear_weights(window[:, 2:3], window[:, 3:4], PLATE_HEIGHT, CROP_HEIGHT)
        crop = ops.matmul(ops.matmul(rows, ink), ops.transpose(columns, (0, 2, 1)))
        total = ops.sum(rows, axis=2)[:, :, None] * ops.sum(columns, axis=2)[:, None, :]
        return ops.expand_dims(crop / total, axis=-1)


def _bilinear_weights(scale, offset, plate_size, crop_size):
    """Weights of the pixels of the plate in every pixel of the crop, along one axis.

    Linear between two pixels. Where the crop is smaller than the window, the mean of more pixels.

    Args:
        scale: int32 (n, 1), in fixed point.
        offset: int32 (n, 1), in fixed point.
        plate_size: pixels of the plate.
        crop_size: pixels of the crop.

    Returns:
        float32 (n, crop_size, plate_size).
    """
    position = offset + scale * np.arange(crop_size, dtype=np.int32)
    position = ops.clip(position, 0, FIXED_POINT_ONE * (plate_size - 1))
    # Apart, the whole pixels and the fraction are both exact in bfloat16.
    pixel = position // FIXED_POINT_ONE
    fraction = ops.cast(position - FIXED_POINT_ONE * pixel, "float32") / FIXED_POINT_ONE
    whole_distance = ops.cast(pixel, "float32")[..., None] - ops.arange(plate_size, dtype="float32")
    support = ops.maximum(ops.cast(scale, "float32") / FIXED_POINT_ONE, 1)[..., None]
    return ops.relu(support - ops.abs(whole_distance + fraction[..., None]))
