"""The network, plate -> logits, with its loss and its metric. Pure Keras 3.

A CRNN (Shi et al. 2015, "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition"): convolutions, a bidirectional LSTM along the width of the image, and CTC.
"""

import hashlib
import json
import math
from typing import NamedTuple

import keras
from keras import layers, ops

from plate_ocr.network.spatial_transformer import (
    CROP_WIDTH,
    localization_network,
    normalize_input,
    sample_crop,
)
from plate_ocr.plates.alphabet import BLANK, NUM_CLASSES
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH


class ConvSpec(NamedTuple):
    """One convolution with max-pooling, batch normalization and ReLU."""

    filters: int
    kernel_size: int
    strides: tuple[int, int] = (1, 1)  # rows, columns
    pool_size: tuple[int, int] = (1, 1)  # rows, columns
    batch_norm: bool = True


CONVOLUTIONS = (  # output rows x columns
    # Batch normalization of this large map would slow training by a seventh.
    ConvSpec(24, kernel_size=5, strides=(2, 2), batch_norm=False),  # 16 x 64
    ConvSpec(40, kernel_size=3, strides=(2, 2)),  # 8 x 32
    # Pooled, not strided: better shift invariance, and the network learns faster.
    ConvSpec(56, kernel_size=3, pool_size=(2, 1)),  # 4 x 32
    ConvSpec(80, kernel_size=3, pool_size=(2, 1)),  # 2 x 32
    ConvSpec(112, kernel_size=3),
    ConvSpec(112, kernel_size=3),
)
COLUMNS_PER_STEP = 2  # feature columns that are one time step of the LSTM
NUM_TIME_STEPS = CROP_WIDTH // 4 // COLUMNS_PER_STEP
LSTM_UNITS = 80  # per direction
BN_MOMENTUM = 0.9  # at 0.99 the averages lag behind weights that still change fast


def build_model(use_cudnn: str | bool = "auto", dropout: float = 0.0) -> keras.Model:
    """Build the network with fresh weights: a spatial transformer, then a CRNN.

    Args:
        use_cudnn: passed to the LSTM; `False` for exports.
        dropout: rate before the LSTM.

    Returns:
        A functional model from uint8 (n, 64, 128, 1) to float32 logits (n, 16, 11), no softmax.
    """
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink = normalize_input(plates)  # (n, 64, 128)
    columns, rows = localization_network(ink)  # (n, 2) each
    crop = sample_crop(ink, columns, rows)  # (n, 32, 128, 1)
    logits = recognition_network(crop, use_cudnn, dropout)
    return keras.Model(plates, logits, name="plate_reader")


def recognition_network(
    image: keras.KerasTensor,
    use_cudnn: str | bool = "auto",
    dropout: float = 0.0,
    columns_per_step: int = COLUMNS_PER_STEP,
    filter_scale: float = 1.0,
    lstm_layers: int = 1,
) -> keras.KerasTensor:
    """The CRNN: convolutions, maximum over the rows, bidirectional LSTM along the columns, logits.

    Args:
        image: from 0 to 1, (n, rows, columns, 1).
        use_cudnn: see `build_model`.
        dropout: see `build_model`.
        columns_per_step: feature columns that are one time step.
        filter_scale: factor of the filters of every convolution.
        lstm_layers: bidirectional LSTMs, one after another.

    Returns:
        Logits, (n, columns / 4 / columns_per_step, 11).
    """
    features = image  # the shapes below are of a crop, (n, 32, 128, 1)
    for number, spec in enumerate(CONVOLUTIONS, start=1):
        features = layers.Conv2D(
            round(filter_scale * spec.filters),
            spec.kernel_size,
            strides=spec.strides,
            padding="same",
            use_bias=not spec.batch_norm,
            kernel_initializer="he_normal",
            name=f"convolution_{number}",
        )(features)
        if spec.pool_size != (1, 1):
            features = layers.MaxPooling2D(spec.pool_size, name=f"pool_{number}")(features)
        if spec.batch_norm:
            normalize = layers.BatchNormalization(
                momentum=BN_MOMENTUM, name=f"normalization_{number}"
            )
            features = normalize(features)
        features = layers.ReLU(name=f"relu_{number}")(features)
    rows, columns, channels = features.shape[1:]  # 2, 32, 112
    features = layers.MaxPooling2D((rows, 1), name="row_maximum")(features)  # (n, 1, 32, 112)
    shape = columns // columns_per_step, columns_per_step * channels
    steps = layers.Reshape(shape, name="time_steps")(features)  # (n, 16, 224)
    if dropout:
        steps = layers.Dropout(dropout, name="dropout")(steps)
    # Named, or equal weights would not be equal files: Keras numbers the layers of a process.
    for number in range(1, lstm_layers + 1):
        name = "lstm" if number == 1 else f"lstm_{number}"
        lstm = layers.LSTM(LSTM_UNITS, return_sequences=True, use_cudnn=use_cudnn, name=name)
        steps = layers.Bidirectional(lstm, name=f"bi{name}")(steps)  # (n, 16, 160)
    return layers.Dense(NUM_CLASSES, dtype="float32", name="logits")(steps)  # (n, 16, 11)


def architecture_hash(model: keras.Model) -> str:
    """Hash of layer names and output shapes, which guards against weights of another network.

    Shapes of weights are not enough: other networks have arrays of the same shapes. Constants of
    the spatial transformer and activations are not part of it.
    """
    layout = [[layer.name, *layer.output.shape[1:]] for layer in model.layers]
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()


def exact_match(labels, logits):
    """Whether the greedily decoded text of each plate equals its label.

    Args:
        labels: classes 1 to 10, shape (n, length).
        logits: shape (n, steps, 11).

    Returns:
        float32 tensor of shape (n,), 1 or 0.
    """
    length = labels.shape[1]
    path = ops.cast(ops.argmax(logits, axis=-1), "int32")
    previous = ops.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    is_new = ops.cast(ops.logical_and(path != BLANK, path != previous), "int32")
    position = ops.cumsum(is_new, axis=1)  # of a new digit in the text, from 1
    # (n, steps, length): this step emits the digit of this position, and it is that of the label.
    correct = ops.logical_and(
        position[:, :, None] == ops.arange(1, length + 1),
        path[:, :, None] == ops.cast(labels[:, None, :], "int32"),
    )
    hits = ops.sum(is_new[:, :, None] * ops.cast(correct, "int32"), axis=(1, 2))
    return ops.cast(ops.logical_and(hits == length, position[:, -1] == length), "float32")


def ctc_loss(labels, logits):
    """Connectionist temporal classification (Graves et al. 2006), per plate.

    Args:
        labels: classes 1 to 10, shape (n, length).
        logits: float32, shape (n, steps, 11); class 0 is the blank.

    Returns:
        float32 tensor of shape (n,), -log P(text | image).
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        # TensorFlow's kernel makes a training step 7% faster, but runs on the CPU only.
        if not tensorflow.config.list_physical_devices("GPU"):
            count, steps, _ = tensorflow.unstack(tensorflow.shape(logits))
            return tensorflow.nn.ctc_loss(
                tensorflow.sparse.from_dense(tensorflow.cast(labels, "int32")),
                logits,
                label_length=None,
                logit_length=tensorflow.fill([count], steps),
                logits_time_major=False,
                blank_index=BLANK,
            )
    return keras.losses.CTC(reduction=None)(labels, logits)


def compile_model(
    model: keras.Model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    box_weight: float,
) -> None:
    """Compile `with_box` for training by Adam.

    The loss is the CTC loss plus `box_weight` times the mean absolute error of the box; the metric
    is exact match.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss={"logits": ctc_loss, "box": "mean_absolute_error"},
        loss_weights={"logits": 1.0, "box": box_weight},
        metrics={"logits": [exact_match]},
    )


def count_parameters(model: keras.Model) -> int:
    """Parameters that training changes."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulate operations per plate in convolutions, recurrent and dense layers.

    Resampling the crop takes 0.8 million more.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv1D):
            total += layer.output.shape[1] * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Conv2D):
            _, rows, columns, filters = layer.output.shape
            kernel_rows, kernel_columns, channels, _ = layer.kernel.shape
            total += rows * columns * filters * kernel_rows * kernel_columns * channels
        elif isinstance(layer, layers.Bidirectional):
            _, steps, features = layer.input.shape
            units = layer.forward_layer.units
            total += 2 * steps * 4 * units * (features + units)
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.input.shape[1:-1]) * math.prod(layer.kernel.shape)
    return total
