"""Export to ONNX, for reading without TensorFlow."""

import hashlib
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from plate_ocr.network.checkpoint import WeightsError, load_metadata, load_model, write_metadata
from plate_ocr.network.spatial_transformer import with_crop
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import OUTPUT_NAMES, Backend, OnnxBackend
from plate_ocr.utils import atomic_write

TOLERANCE = 5e-3  # largest difference from Keras of a logit, or of the crop in pixels


def export_weights(weights: Path | str) -> Path:
    """Export weights as ONNX into `<name>.onnx` beside them; `<name>.json` takes its hash.

    Returns:
        The path of the export. Nothing is written if its outputs differ from those of Keras.

    Raises:
        WeightsError: the weights cannot be used, or the export differs from them.
    """
    weights = Path(weights)
    metadata = load_metadata(weights)
    model = load_model(weights, metadata, use_cudnn=False)  # a cuDNN LSTM cannot be exported
    path = weights.with_suffix(".onnx")
    with atomic_write(path) as temporary:
        network = to_onnx(model, temporary)
        check_export(OnnxBackend(network, path), model, path)
        metadata["sha256"][path.name] = hashlib.sha256(network).hexdigest()
        metadata["onnx_source_sha256"] = metadata["sha256"][weights.name]
        write_metadata(weights, metadata)
    return path


def to_onnx(model: keras.Model, path: Path) -> bytes:
    """Write a network, built with `use_cudnn=False`, as ONNX.

    Returns:
        The content of the file. Its outputs are `OUTPUT_NAMES`.
    """
    import onnx

    outputs = [split_bidirectional_lstm(model), with_crop(model).output[1]]
    model = keras.Model(model.input, dict(zip(OUTPUT_NAMES, outputs, strict=True)))
    model.predict(np.zeros((1, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8), verbose=0)  # builds it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tf2onnx on NumPy 2
        model.export(path, format="onnx", verbose=False)
    exported = onnx.load(path)
    exported.graph.output.sort(key=lambda output: OUTPUT_NAMES.index(output.name))  # else by name
    onnx.save(exported, path)
    return path.read_bytes()


def split_bidirectional_lstm(model: keras.Model) -> keras.KerasTensor:
    """The logits of the same network, with two one-way LSTMs in place of the bidirectional one.

    OpenVINO has a primitive for the one-way LSTM but unrolls the bidirectional one: split, a single
    plate takes 1.15 ms in place of 1.6 ms.
    """
    bilstm = model.get_layer("bilstm")
    last_to_first = np.arange(bilstm.input.shape[1])[::-1]
    # tf2onnx would join the LSTMs again if one had `go_backwards`.
    config = bilstm.backward_layer.get_config() | {"go_backwards": False}
    backward_lstm = layers.LSTM.from_config(config)
    forward = bilstm.forward_layer(bilstm.input)
    backward = backward_lstm(ops.take(bilstm.input, last_to_first, axis=1))
    backward_lstm.set_weights(bilstm.backward_layer.get_weights())
    both = ops.concatenate([forward, ops.take(backward, last_to_first, axis=1)], axis=-1)
    return model.get_layer("logits")(both)


def check_export(backend: Backend, model: keras.Model, path: Path) -> None:
    """Compare an export with the Keras model on noise; a WeightsError names `path`."""
    noise = np.random.default_rng(0).integers(0, 256, (32, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    outputs = with_crop(model).predict(noise, verbose=0), backend(noise)
    for name, expected, actual in zip(OUTPUT_NAMES, *outputs, strict=True):
        difference = float(np.abs(expected - actual).max())
        if not difference <= TOLERANCE:  # also true of NaN
            raise WeightsError(f"{path}: {name} differ by {difference:.2g} from Keras")
