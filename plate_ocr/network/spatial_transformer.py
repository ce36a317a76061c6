"""The first half of the network: find the digits and crop them at one size. Keras' own layers only.

A spatial transformer (Jaderberg et al. 2015, "Spatial Transformer Networks") in three steps:

1. The localization network predicts the box of the digits.
2. The window is a crop in which that box has one size and lies in the middle.
3. The sampler resamples the window: every pixel of the crop is a weighted mean of pixels around it.

The recognition network behind it need not learn positions and sizes. Steps 2 and 3 are dense layers
with fixed weights, so the loss of the reader trains the localization network as well.
"""

import keras
import numpy as np
from keras import layers, ops

from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

# Localization network
FILTERS = (16, 24, 32, 32)
STRIDES = (4, 2, 1, 1)
PROFILE_KERNEL = 9  # cells

# Window and sampler
CROP_HEIGHT = 32
CROP_WIDTH = PLATE_WIDTH
TEXT_SIZE = (112, 26)  # columns and rows of the crop that the box fills
MIN_SCALE = 0.29  # least distance in the plate between two pixels of the crop: limits enlargement
SAMPLER_STD = 0.45  # of the Gaussian around a sampling position, in pixels of the plate


def normalize_input(plates: keras.KerasTensor) -> keras.KerasTensor:
    """Plates, uint8 (n, 64, 128, 1) -> float32 (n, 64, 128), from 0 for white to 1 for black."""
    # Scaled without the channel axis: with it, ONNX Runtime takes ten times as long.
    pixels = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH), dtype="uint8", name="pixels")(plates)
    return layers.Rescaling(-1 / 255, offset=1, dtype="float32", name="ink")(pixels)


def localization_network(ink: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Predict the box of the digits.

    Args:
        ink: normalized plates, (n, 64, 128).

    Returns:
        Left and right edge in plate widths, (n, 2); top and bottom edge in plate heights, (n, 2).
    """
    features = layers.Reshape((PLATE_HEIGHT, PLATE_WIDTH, 1), name="localization_input")(ink)
    for number, (filters, strides) in enumerate(zip(FILTERS, STRIDES, strict=True), start=1):
        features = layers.Conv2D(
            filters,
            kernel_size=5 if number == 1 else 3,
            strides=strides,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"localization_convolution_{number}",
        )(features)
    # (n, 8, 16, 32): cells of 8 x 8 pixels
    rows, columns = features.shape[1:3]
    return (
        predict_edges(features, pool_size=(rows, 1), name="columns"),
        predict_edges(features, pool_size=(1, columns), name="rows"),
    )


def predict_edges(
    features: keras.KerasTensor, pool_size: tuple[int, int], name: str
) -> keras.KerasTensor:
    """Where the digits start and end along one axis: a soft-argmax over its cells.

    The expected position under a softmax is differentiable and finer than a cell (Sun et al. 2018,
    "Integral Human Pose Regression").

    Args:
        features: of all cells, (n, 8, 16, 32).
        pool_size: all cells of the other axis: (8, 1) for columns, (1, 16) for rows.
        name: of the axis, "columns" or "rows".

    Returns:
        Both edges, from 0 to 1, (n, 2).
    """
    maximum = layers.MaxPooling2D(pool_size, name=f"{name}_maximum")(features)
    mean = layers.AveragePooling2D(pool_size, name=f"{name}_mean")(features)
    profile = layers.Concatenate(name=f"{name}_pooled")([maximum, mean])
    profile = layers.Reshape((-1, 2 * FILTERS[-1]), name=f"{name}_profile")(profile)
    profile = layers.Conv1D(
        filters=16,
        kernel_size=PROFILE_KERNEL,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        name=f"{name}_convolution",
    )(profile)
    logits = layers.Conv1D(2, PROFILE_KERNEL, padding="same", name=f"{name}_edge_logits")(profile)
    logits = layers.Permute((2, 1), name=f"{name}_edges_first")(logits)  # (n, 2, cells)
    probabilities = layers.Softmax(dtype="float32", name=f"{name}_edge_probabilities")(logits)
    positions = np.linspace(0, 1, logits.shape[-1])[:, None]
    edges = fixed_dense(probabilities, positions, name=f"{name}_expected_edges")  # (n, 2, 1)
    return layers.Reshape((2,), name=f"{name}_edges")(edges)


def sample_crop(
    ink: keras.KerasTensor, columns: keras.KerasTensor, rows: keras.KerasTensor
) -> keras.KerasTensor:
    """Resample the box of the digits to one size.

    Args:
        ink: normalized plates, (n, 64, 128).
        columns: left and right edge in plate widths, (n, 2).
        rows: top and bottom edge in plate heights, (n, 2).

    Returns:
        float32 (n, 32, 128, 1), from 0 for white to 1 for black.
    """
    across = sampling_weights(columns, PLATE_WIDTH, CROP_WIDTH, TEXT_SIZE[0], name="columns")
    down = sampling_weights(rows, PLATE_HEIGHT, CROP_HEIGHT, TEXT_SIZE[1], name="rows")
    lines = layers.Dot(axes=(2, 1), dtype="float32", name="resampled_rows")([down, ink])
    crop = layers.Dot(axes=(2, 2), dtype="float32", name="resampled_columns")([lines, across])
    return layers.Reshape((CROP_HEIGHT, CROP_WIDTH, 1), name="crop")(crop)


def with_box(model: keras.Model) -> keras.Model:
    """The network as it is trained, with the box of the digits as a second output.

    Returns:
        A model with outputs "logits" and "box": left and right edge in plate widths, top and bottom
        in plate heights, (n, 4).
    """
    edges = [model.get_layer(f"{axis}_edges").output for axis in ("columns", "rows")]
    box = layers.Concatenate(dtype="float32", name="box")(edges)
    return keras.Model(model.input, {"logits": model.output, "box": box}, name="with_box")


def with_crop(model: keras.Model) -> keras.Model:
    """The network with a second output: where the crop lies.

    Returns:
        A model with outputs logits and crop. Of the columns and of the rows of the crop: their
        distance in pixels of the plate, and the position of the first; float32 (n, 4).
    """
    parts = []
    for axis, size in (("columns", CROP_WIDTH), ("rows", CROP_HEIGHT)):
        window = model.get_layer(f"{axis}_window_limited").output  # (n, 2)
        scale = window[:, 1:] + MIN_SCALE
        parts += [scale, window[:, :1] - scale * (size - 1) / 2 - 0.5]
    crop = ops.concatenate(parts, axis=1)
    return keras.Model(model.input, [model.output, crop], name="with_crop")


def sampling_weights(
    edges: keras.KerasTensor, plate_size: int, crop_size: int, text_size: int, name: str
) -> keras.KerasTensor:
    """Weights of the pixels of the plate in every pixel of the crop, along one axis.

    A Gaussian around the position of the crop's pixel, in the plate; they sum to one.

    Args:
        edges: of the box, from 0 to 1, (n, 2).
        plate_size: pixels of the plate.
        crop_size: pixels of the crop.
        text_size: pixels of the crop that the box fills.
        name: of the axis, "columns" or "rows".

    Returns:
        (n, crop_size, plate_size).
    """
    # The window: its center, and by how much the distance of two pixels exceeds the least one.
    to_window = plate_size * np.array([[0.5, -1 / text_size], [0.5, 1 / text_size]])
    window = fixed_dense(edges, to_window, [0, -MIN_SCALE], f"{name}_window")
    window = layers.ReLU(dtype="float32", name=f"{name}_window_limited")(window)
    # Distance of every pixel of the plate from every position: center + scale * steps - pixel.
    steps = np.arange(crop_size) - (crop_size - 1) / 2
    pixels = np.arange(plate_size) + 0.5
    to_distance = np.stack([np.ones((crop_size, plate_size)), np.tile(steps, (plate_size, 1)).T])
    bias = MIN_SCALE * steps[:, None] - pixels
    distance = fixed_dense(
        window, to_distance.reshape(2, -1), bias.reshape(-1), f"{name}_distances"
    )
    distance = layers.Reshape((crop_size, plate_size), name=f"{name}_distance")(distance)
    squared = layers.Multiply(dtype="float32", name=f"{name}_squared")([distance, distance])
    exponent = layers.Rescaling(-0.5 / SAMPLER_STD**2, dtype="float32", name=f"{name}_exponent")
    return layers.Softmax(dtype="float32", name=f"{name}_weights")(exponent(squared))


def fixed_dense(
    inputs: keras.KerasTensor, kernel: np.ndarray, bias=None, name: str | None = None
) -> keras.KerasTensor:
    """A dense layer whose weights are given and are not trained."""
    layer = layers.Dense(
        kernel.shape[-1], use_bias=bias is not None, trainable=False, dtype="float32", name=name
    )
    outputs = layer(inputs)
    layer.set_weights([kernel] if bias is None else [kernel, np.array(bias)])
    return outputs
