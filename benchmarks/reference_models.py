"""Three untrained networks to compare speed with, and the sizes of all.

`baseline` fits what is known of the run that this project started from, as many others would: about
1.47 million parameters, 530 million multiply-adds, and (16, 32, 128) features of which the 16 rows
become time steps. `keras_io` has the layers of the captcha example of keras.io, at our image size.
`plain` is what one would build first: strided convolutions with batch normalization, one LSTM.

$ python -m benchmarks.reference_models
"""

import json
import sys

import keras
from keras import layers

from benchmarks.baselines import NETWORKS
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import count_macs
from plate_ocr.plates.alphabet import NUM_CLASSES
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import write_text


def baseline() -> keras.Model:
    """The baseline run: image rows as time steps."""
    blocks = ((48, 48), (128,), (128, 128, 128))  # filters; pooling between the blocks
    return _convolutions_then_lstms(blocks, rows_are_time=True, dense=128, units=(128, 64))


def keras_io() -> keras.Model:
    """The captcha example: image columns as time steps."""
    blocks = ((32,), (64,), ())
    return _convolutions_then_lstms(blocks, rows_are_time=False, dense=64, units=(128, 64))


def plain() -> keras.Model:
    """A simple CRNN: image columns as time steps."""
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    features = layers.Rescaling(1 / 255)(plates)
    for filters, kernel, strides in ((24, 5, 2), (48, 3, 2), (96, 3, (2, 1)), (128, 3, (2, 1))):
        features = layers.Conv2D(filters, kernel, strides, "same", use_bias=False)(features)
        features = layers.ReLU()(layers.BatchNormalization()(features))
    features = layers.Permute((2, 1, 3))(features)
    steps, positions, channels = features.shape[1:]
    features = layers.Reshape((steps, positions * channels))(features)
    features = layers.Dense(64, activation="relu")(features)
    recurrent = layers.LSTM(64, return_sequences=True, use_cudnn=False)
    features = layers.Bidirectional(recurrent)(features)
    return keras.Model(plates, layers.Dense(NUM_CLASSES)(features))


def _convolutions_then_lstms(
    blocks: tuple[tuple[int, ...], ...], rows_are_time: bool, dense: int, units: tuple[int, ...]
) -> keras.Model:
    plates = keras.Input((PLATE_HEIGHT, PLATE_WIDTH, 1), dtype="uint8", name="plates")
    features = layers.Rescaling(1 / 255)(plates)
    for number, filters in enumerate(blocks):
        if number:
            features = layers.MaxPooling2D()(features)
        for count in filters:
            features = layers.Conv2D(count, 3, padding="same", activation="relu")(features)
    if not rows_are_time:
        features = layers.Permute((2, 1, 3))(features)
    steps, positions, channels = features.shape[1:]
    features = layers.Reshape((steps, positions * channels))(features)
    features = layers.Dense(dense, activation="relu")(features)
    for count in units:
        recurrent = layers.LSTM(count, return_sequences=True, use_cudnn=False)
        features = layers.Bidirectional(recurrent)(features)
    return keras.Model(plates, layers.Dense(NUM_CLASSES, activation="softmax")(features))


def size_of(model: keras.Model) -> dict[str, int]:
    """Parameters, and multiply-adds per plate."""
    return {"parameters": model.count_params(), "multiply_adds": count_macs(model)}


def main() -> None:
    """Export the networks and write the sizes beside them."""
    NETWORKS.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    sizes: dict[str, dict] = {}
    for build in (baseline, keras_io, plain):
        model = build()
        model.predict(keras.ops.zeros((1, *model.input_shape[1:]), "uint8"), verbose=0)
        model.export(NETWORKS / f"{build.__name__}.onnx", format="onnx", verbose=False)
        sizes[build.__name__] = size_of(model)
    try:
        sizes["plate_ocr"] = size_of(PlateReader(backend="keras").backend.model)
    except WeightsError as error:
        print(error, file=sys.stderr)  # the size of our network stays unknown
    write_text(NETWORKS / "sizes.json", json.dumps(sizes, indent=2) + "\n")


if __name__ == "__main__":
    main()
