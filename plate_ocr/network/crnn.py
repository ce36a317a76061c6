"""The network: plate -> logits, with its loss and its metric. Pure Keras 3."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers, ops

from plate_ocr.network.spatial_transformer import (
    CROP_WIDTH,
    ARCHITECTURE_CONSTANTS,
    FIXED_POINT_ONE,
    BilinearSampler,
    CropWindow,
    localization_network,
    normalize_input,
)
from plate_ocr.plates.alphabet import BLANK, NUM_CLASSES
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

COLUMNS_PER_STEP = 2  # of what the convolutions leave, side by side: the LSTM has half the steps
STEPS = CROP_WIDTH // 4 // COLUMNS_PER_STEP  # time steps, left to right


class Convolution(NamedTuple):
    """One convolution with its ReLU."""

    filters: int
    kernel: int
    strides: tuple[int, int] = (1, 1)  # rows, columns
    pooled: tuple[int, int] = (1, 1)  # of so many rows and columns the strongest answer goes on
    normalised: bool = True


# The first is not normalised: with the BatchNorm of Keras, its large map would cost a seventh of
# the training rate. Later rows are pooled, not skipped by strides: what is learned of a digit then
# holds for more of its places, and the network learns faster (docs/networks.md).
CONVOLUTIONS = (
    Convolution(24, 5, strides=(2, 2), normalised=False),
    Convolution(32, 3, strides=(2, 2)),
    Convolution(48, 3, pooled=(2, 1)),
    Convolution(64, 3, pooled=(2, 1)),
    Convolution(96, 3),
    Convolution(96, 3),
)
LSTM_UNITS = 64  # each way
MOMENTUM = 0.9  # of BatchNorm; at 0.99 its averages lag behind weights that still move fast


@keras.saving.register_keras_serializable(package="plate_ocr")
class BatchNormalization(layers.BatchNormalization):
    """That of Keras (Ioffe and Szegedy 2015), which trains by TensorFlow's fused kernel.

    Keras goes over the features once for each term, the kernel takes all of them at once: in mixed
    bfloat16, a training step takes a quarter less time.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalise; as in Keras."""
        if keras.backend.backend() != "tensorflow" or not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow

        features, mean, variance = tensorflow.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # Of n values of a channel the kernel divides by n - 1, Keras by n.
        values = tensorflow.cast(tensorflow.size(inputs), variance.dtype)
        variance *= 1 - inputs.shape[-1] / values
        share = 1 - self.momentum
        self.moving_mean.assign(self.momentum * self.moving_mean + share * mean)
        self.moving_variance.assign(self.momentum * self.moving_variance + share * variance)
        return features


def build_model(
    use_cudnn: str | bool = "auto",
    dropout: float = 0.0,
    convolutions: Sequence[Convolution] = CONVOLUTIONS,
    columns_a_step: int = COLUMNS_PER_STEP,
) -> keras.Model:
    """Build the network with fresh weights: it finds the digits, and a CNN + BiLSTM reads them.

    Args:
        use_cudnn: passed to the LSTM; `False` for exports.
        dropout: share of the features of a time step that training hides from the LSTM.
        convolutions: of the half that reads.
        columns_a_step: of what the convolutions leave.

    Returns:
        A functional model from uint8 (n, 64, 128, 1) to float32 logits (n, 16, 11), no softmax.
    """
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    ink = normalize_input(plates)
    frame = CropWindow(name="frame")(localization_network(ink))
    digits = BilinearSampler(name="digits")(ink, frame)
    logits = recognition_network(digits, use_cudnn, dropout, convolutions, columns_a_step)
    return keras.Model(plates, logits, name="plate_reader")


def recognition_network(
    picture: keras.KerasTensor,
    use_cudnn: str | bool = "auto",
    dropout: float = 0.0,
    convolutions: Sequence[Convolution] = CONVOLUTIONS,
    columns_a_step: int = COLUMNS_PER_STEP,
) -> keras.KerasTensor:
    """Pictures from 0 to 1, (n, rows, columns, 1) -> logits (n, columns / 4 / columns_a_step, 11).

    Time runs along the columns.

    Convolutions leave a sixteenth of the rows and a quarter of the columns. Of every column the
    strongest answer counts, whatever its row: digits read alike wherever they stand in the picture.
    A few columns side by side are one time step of the BiLSTM.
    """
    features = picture
    for number, layer in enumerate(convolutions, start=1):
        features = layers.Conv2D(
            layer.filters,
            layer.kernel,
            strides=layer.strides,
            padding="same",
            use_bias=not layer.normalised,
            kernel_initializer="he_normal",
            name=f"convolution_{number}",
        )(features)
        if layer.pooled != (1, 1):
            features = layers.MaxPooling2D(layer.pooled, name=f"pool_{number}")(features)
        if layer.normalised:
            features = BatchNormalization(momentum=MOMENTUM, name=f"normalise_{number}")(features)
        features = layers.ReLU(name=f"relu_{number}")(features)
    rows, columns, channels = features.shape[1:]
    features = layers.MaxPooling2D((rows, 1), name="strongest_row")(features)
    shape = columns // columns_a_step, columns_a_step * channels
    steps = layers.Reshape(shape, name="time_steps")(features)
    if dropout:
        steps = layers.Dropout(dropout, name="dropout")(steps)
    steps = layers.Bidirectional(
        layers.LSTM(LSTM_UNITS, return_sequences=True, use_cudnn=use_cudnn), name="bilstm"
    )(steps)
    return layers.Dense(NUM_CLASSES, dtype="float32", name="logits")(steps)


def localization_model(model: keras.Model) -> keras.Model:
    """The half of the network that finds the digits: its layers, with the same weights."""
    return keras.Model(model.input, model.get_layer("covered").output, name="finder")


def with_crop(model: keras.Model) -> keras.Model:
    """The network with a second output: where it looks, float32 (n, 4).

    As `framing.Frame` tells it, but in pixels.
    """
    frame = layers.Rescaling(1 / FIXED_POINT_ONE, dtype="float32", name="frames")(
        model.get_layer("frame").output
    )
    return keras.Model(model.input, [model.output, frame], name="reader")


def architecture_hash(model: keras.Model) -> str:
    """A hash of the layers, of what they put out and of `framing.LAYOUT`, the same for all weights.

    Weights fit into any network with arrays of their shapes, but only one reads with them.
    """
    layout = [[layer.name, *layer.output.shape[1:]] for layer in model.layers]
    layout.append([ARCHITECTURE_CONSTANTS])
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()


@keras.saving.register_keras_serializable(package="plate_ocr")
def exact_match(labels, logits):
    """Whether greedy decoding of a plate gives exactly its label.

    Args:
        labels: classes 1 to 10, shape (n, length).
        logits: shape (n, steps, 11).

    Returns:
        float32 tensor of shape (n,), 1 or 0.
    """
    path = ops.argmax(logits, axis=-1)
    previous = ops.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    emits = ops.logical_and(path != BLANK, path != previous)
    order = ops.cumsum(ops.cast(emits, "int32"), axis=1)  # 1 at the first digit emitted
    length = labels.shape[1]
    places = ops.arange(1, length + 1)
    # hits[n, step, place]: this step emits the digit that belongs at this place.
    at_place = ops.logical_and(emits[:, :, None], order[:, :, None] == places)
    right = ops.cast(path[:, :, None], "int32") == ops.cast(labels[:, None, :], "int32")
    hits = ops.sum(ops.cast(ops.logical_and(at_place, right), "int32"), axis=(1, 2))
    return ops.cast(ops.logical_and(hits == length, order[:, -1] == length), "float32")


@keras.saving.register_keras_serializable(package="plate_ocr")
def ctc_loss(labels, logits):
    """The CTC loss of every plate.

    That of `keras.losses.CTC`. TensorFlow has a kernel for it, but takes it for sparse labels only:
    what Keras calls instead costs a twentieth of the training rate in float32
    (results/training_step.json), and a tenth in bfloat16.

    Args:
        labels: classes 1 to 10, shape (n, length).
        logits: float32, shape (n, steps, 11).

    Returns:
        float32 tensor of shape (n,), minus the log of P(text | image).
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        # On GPUs XLA may compile the step, which the kernel does not take part in.
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
) -> None:
    """Compile for training: Adam, CTC loss (mean over plates), exact match as the metric."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=ctc_loss,
        metrics=[exact_match],
    )


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of one plate in convolutions, recurrent and dense layers.

    `CutOut` has 0.8 million more.
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
            _, steps, features = layer.input.shape
            total += steps * features * layer.units
    return total
