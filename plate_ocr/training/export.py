"""Exports for reading without TensorFlow: ONNX, and LiteRT for phones."""

import hashlib
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from plate_ocr.network.checkpoint import WeightsError, load_metadata, load_model, write_metadata
from plate_ocr.network.crnn import with_crop
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import OUTPUT_NAMES, Backend, ModelOutput, OnnxBackend
from plate_ocr.utils import atomic_write

SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}
TOLERANCE = 1e-3  # largest difference from Keras of a logit, or of the crop in pixels


def export_weights(weights: Path | str, file_format: str = "onnx") -> Path:
    """Export weights into a file beside them: `<name>.onnx` or `<name>.tflite`.

    `<name>.json` takes the hash of an ONNX file. A LiteRT file reads one plate at a time.

    Args:
        weights: the HDF5 file.
        file_format: "onnx" or "litert".

    Returns:
        The path of the export. Nothing is written if its outputs differ from those of Keras.

    Raises:
        WeightsError: the weights cannot be used, or the export differs from them.
    """
    weights = Path(weights)
    metadata = load_metadata(weights)
    model = load_model(weights, metadata, use_cudnn=False)  # a cuDNN LSTM cannot be exported
    path = weights.with_suffix(SUFFIXES[file_format])
    with atomic_write(path) as temporary:
        if file_format == "litert":
            check_export(LitertBackend(to_litert(model, temporary)), model, path)
        else:
            network = to_onnx(model, temporary)
            check_export(OnnxBackend(network, path), model, path)
            metadata["sha256"][path.name] = hashlib.sha256(network).hexdigest()
            metadata["onnx_source_sha256"] = metadata["sha256"][weights.name]
            write_metadata(weights, metadata)
    return path


def to_litert(model: keras.Model, path: Path) -> bytes:
    """Write a network, built with `use_cudnn=False`, as LiteRT; returns the content of the file."""
    import tensorflow

    with_crop(model).export(
        path,
        format="litert",
        verbose=False,
        # A batch of any size would need TensorFlow's own operations for the LSTM.
        input_signature=[keras.InputSpec("uint8", (1, *model.input_shape[1:]), name="plates")],
        target_spec={"supported_ops": [tensorflow.lite.OpsSet.TFLITE_BUILTINS]},
    )
    return path.read_bytes()


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


class LitertBackend:
    """Runs a LiteRT export, plate by plate, to compare it with other backends."""

    def __init__(self, network: bytes):
        import tensorflow

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a new package will replace this class
            self.interpreter = tensorflow.lite.Interpreter(model_content=network)
        self.interpreter.allocate_tensors()

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network: uint8 (n, 64, 128, 1) -> logits and crops."""
        (plate,) = self.interpreter.get_input_details()
        crop, logits = sorted(
            self.interpreter.get_output_details(), key=lambda output: len(output["shape"])
        )
        outputs = []
        for image in images:
            self.interpreter.set_tensor(plate["index"], image[None])
            self.interpreter.invoke()
            outputs.append([self.interpreter.get_tensor(item["index"]) for item in (logits, crop)])
        return ModelOutput(*map(np.concatenate, zip(*outputs, strict=True)))


def check_export(backend: Backend, model: keras.Model, path: Path) -> None:
    """Compare an export with the Keras model on noise.

    Raises:
        WeightsError: crop or logits differ; the message names `path`.
    """
    noise = np.random.default_rng(0).integers(0, 256, (32, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    outputs = with_crop(model).predict(noise, verbose=0), backend(noise)
    for name, expected, actual in zip(OUTPUT_NAMES, *outputs, strict=True):
        difference = float(np.abs(expected - actual).max())
        if not difference <= TOLERANCE:  # also true of NaN
            raise WeightsError(f"{path}: {name} differ by {difference:.2g} from Keras")
