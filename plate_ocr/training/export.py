"""The trained weights for reading without TensorFlow: as ONNX, and as LiteRT for phones."""

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from plate_ocr.network.checkpoint import WeightsError, load_metadata, restore, write_metadata
from plate_ocr.network.crnn import with_crop
from plate_ocr.network.spatial_transformer import CELL, FILTERS
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import OUTPUT_NAMES, Backend, ModelOutput, OnnxBackend
from plate_ocr.training.augmentation import augment_batch
from plate_ocr.utils import atomic_write

if TYPE_CHECKING:
    import onnx

MEASURED = 256  # distorted plates, whose features decide how far the levels of integers reach
# With levels of 256 in these, digits would be found elsewhere. The first convolution takes a plate,
# whose grey levels are as many.
NEVER_ROUNDED = {f"find_convolution_{number}" for number in range(2, len(FILTERS) + 1)}
CHANNELS = 16  # of a convolution that processors multiply at once
TOLERANCE = 1e-4  # largest difference of a logit between an export and Keras


def export_onnx(weights: Path | str) -> Path:
    """Write `<name>.onnx` beside the weights; its hash and largest features go to `<name>.json`.

    The new file must give the logits of Keras before it takes its place.

    Raises:
        WeightsError: the weights cannot be used, or the export reads otherwise than they do.
    """
    weights = Path(weights)
    description = load_metadata(weights)
    # A cuDNN LSTM cannot be exported.
    model = restore(weights, description, use_cudnn=False)
    path = weights.with_suffix(".onnx")
    with atomic_write(path) as temporary:
        exported = to_onnx(model, temporary)
        _compare(OnnxBackend(exported, path), model, path)
        description["sha256"][path.name] = hashlib.sha256(exported).hexdigest()
        description["onnx_made_from"] = description["sha256"][weights.name]
        description["largest_features"] = _largest_features(model, description["digits"])
        write_metadata(weights, description)
    return path


def export_litert(weights: Path | str) -> Path:
    """Write `<name>.tflite` beside the weights, for phones; it reads one plate at a time.

    The new file must give the logits of Keras before it takes its place. Nothing here reads with
    it, so the description of the weights does not name it.

    Raises:
        WeightsError: the weights cannot be used, or the export reads otherwise than they do.
    """
    import tensorflow

    weights = Path(weights)
    description = load_metadata(weights)
    model = restore(weights, description, use_cudnn=False)
    path = weights.with_suffix(".tflite")
    with atomic_write(path) as temporary:
        # A batch of any size would need TensorFlow's own operations for the steps of the LSTM.
        plate = keras.InputSpec("uint8", (1, *model.input_shape[1:]), name="plates")
        with_crop(model).export(
            temporary,
            format="litert",
            verbose=False,
            input_signature=[plate],
            target_spec={"supported_ops": [tensorflow.lite.OpsSet.TFLITE_BUILTINS]},
        )
        _compare(litert_engine(temporary.read_bytes()), model, path)
    return path


def litert_engine(exported: bytes) -> Backend:
    """What runs an export for phones, slowly, to compare it with the other engines."""
    import tensorflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it will move to a package of its own
        interpreter = tensorflow.lite.Interpreter(model_content=exported)
    interpreter.allocate_tensors()
    (plate,) = interpreter.get_input_details()
    outputs = sorted(interpreter.get_output_details(), key=lambda output: -len(output["shape"]))

    def read(image: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(plate["index"], image[None])
        interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in outputs]

    def backend(images: np.ndarray) -> ModelOutput:
        found = [read(image) for image in images]
        return ModelOutput(*map(np.concatenate, zip(*found, strict=True)))

    return backend


def _largest_features(model: keras.Model, digits: int) -> list[float | None]:
    """Of distorted plates, what every convolution takes at most, as `round_to_integers` asks."""
    plates = render_plates(range(MEASURED), digits=digits)
    images, _ = augment_batch(plates.images, np.random.default_rng(0), digits)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    taken = keras.Model(model.input, [layer.input for layer in convolutions])
    return [
        None if layer.name in NEVER_ROUNDED else float(features.max())
        for layer, features in zip(convolutions, taken.predict(images, verbose=0), strict=True)
    ]


def _compare(backend: Backend, model: keras.Model, path: Path) -> None:
    """Refuse an export, to be called `path`, that gives other frames or logits than Keras."""
    noise = np.random.default_rng(0).integers(0, 256, (32, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    ours, theirs = ModelOutput(*with_crop(model).predict(noise, verbose=0)), backend(noise)
    # A share between two levels is rounded by one engine up, by another down: that is rare.
    alike = (ours.crop == theirs.crop).all(axis=1)
    if alike.mean() < 0.9:
        raise WeightsError(f"{path}: the export looks elsewhere than the weights")
    difference = float(np.abs(ours.logits - theirs.logits)[alike].max())
    if not difference <= TOLERANCE:  # nor NaN
        raise WeightsError(f"{path}: the export differs by {difference:.2g} in a logit")


def to_onnx(model: keras.Model, path: Path) -> bytes:
    """Write a network built with `use_cudnn=False` as ONNX.

    Returns:
        The content of the file.
    """
    model = with_crop(model)
    model.predict(np.zeros((1, *model.input_shape[1:]), np.uint8), verbose=0)  # export asks for it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # tf2onnx on NumPy 2
        model.export(path, format="onnx", verbose=False)
    exported = _rearrange(path.read_bytes())
    path.write_bytes(exported)
    return exported


def _rearrange(exported: bytes) -> bytes:
    """The same network as engines run it fastest, with its outputs named."""
    import onnx

    model = onnx.load_from_string(exported)
    _normalise_in_convolutions(model.graph)
    _fill_multipliers(model.graph)
    _part_directions(model.graph)
    _name_outputs(model.graph)
    # What is left over, the initial states of the LSTM among it, does not come along.
    whole = onnx.utils.Extractor(model)
    needed = whole.extract_model(
        [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    )
    return needed.SerializeToString()


def _weights_of(graph: "onnx.GraphProto") -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _add_weights(graph: "onnx.GraphProto", weights: dict[str, np.ndarray]) -> None:
    from onnx import numpy_helper

    graph.initializer.extend(
        numpy_helper.from_array(values, name) for name, values in weights.items()
    )


def _source_of(graph: "onnx.GraphProto", name: str) -> "onnx.NodeProto":
    (source,) = (node for node in graph.node if name in node.output)
    return source


def _normalise_in_convolutions(graph: "onnx.GraphProto") -> None:
    """Take what stands behind a pooling, BatchNorm and ReLU, into the convolution before it.

    The strongest answer stays the strongest where all are scaled alike, by more than zero. Where
    there is no pooling between, tf2onnx has done it already.
    """
    weights = _weights_of(graph)
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        convolution = _source_of(graph, pool.input[0])
        chain = [convolution, pool]
        for _ in range(3):
            chain += [node for node in graph.node if chain[-1].output[0] in node.input][:1]
        if [node.op_type for node in chain] != ["Conv", "MaxPool", "Mul", "Add", "Relu"]:
            continue
        *_, scaled, shifted, relu = chain
        scale, shift = (weights[node.input[1]].ravel() for node in (scaled, shifted))
        if len(convolution.input) > 2 or scale.min() <= 0:
            continue
        folded = f"{convolution.name}_folded", f"{convolution.name}_bias"
        kernel = weights[convolution.input[1]] * scale[:, None, None, None]
        _add_weights(graph, dict(zip(folded, (kernel, shift), strict=True)))
        convolution.input[1:] = folded
        for node in (pool, scaled, shifted):
            graph.node.remove(node)
        pool.input[0], pool.output[0] = relu.name, relu.output[0]
        relu.input[0], relu.output[0] = convolution.output[0], relu.name
        graph.node.insert(list(graph.node).index(relu) + 1, pool)


def _fill_multipliers(graph: "onnx.GraphProto") -> None:
    """Give the first two convolutions of the finder as many channels as processors take at once.

    The first one steps over four columns of one channel, which lie in memory as one column of four
    channels; its kernel of five columns then has two, of whose eight weights the last three are
    zero. Its filters are filled up with ones that answer zero.
    """
    from onnx import helper

    def strides_of(node: "onnx.NodeProto") -> list[int]:
        return next(list(item.ints) for item in node.attribute if item.name == "strides")

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    (first,) = (node for node in convolutions if strides_of(node) == [CELL, CELL])
    second = convolutions[convolutions.index(first) + 1]
    shaped = _source_of(graph, first.input[0])
    weights = _weights_of(graph)
    kernel = weights[first.input[1]]
    filters, _, rows, columns = kernel.shape
    more = -filters % CHANNELS
    kernel = np.pad(kernel[:, 0], ((0, more), (0, 0), (0, -columns % CELL)))
    kernel = kernel.reshape(filters + more, rows, -1, CELL).transpose(0, 3, 1, 2)
    filled = {
        "filled_shape": np.array([-1, PLATE_HEIGHT, PLATE_WIDTH // CELL, CELL]),
        "filled_kernel": np.ascontiguousarray(kernel),
        "filled_kernel_2": np.pad(weights[second.input[1]], ((0, 0), (0, more), (0, 0), (0, 0))),
    }
    if len(first.input) > 2:  # a bias of zeros is left out
        filled["filled_bias"] = np.pad(weights[first.input[2]], (0, more))
        first.input[2] = "filled_bias"
    _add_weights(graph, filled)
    shaped.input[1] = "filled_shape"
    channels = helper.make_node("Transpose", shaped.output[:1], ["channels"], perm=(0, 3, 1, 2))
    graph.node.insert(list(graph.node).index(first), channels)
    first.input[:2] = ["channels", "filled_kernel"]
    second.input[1] = "filled_kernel_2"
    settings = {"strides": (CELL, 1), "kernel_shape": kernel.shape[2:]}
    for item in first.attribute:
        item.ints[:] = settings.get(item.name, item.ints)


def _part_directions(graph: "onnx.GraphProto") -> None:
    """Make two LSTMs, each one way, of one that runs both ways.

    OpenVINO has a primitive for the former and takes more than twice as long for the latter, which
    it unrolls. The initial states are zero and left out.
    """
    import onnx

    weights = _weights_of(graph)
    (both,) = (node for node in graph.node if node.op_type == "LSTM")
    (units,) = (item.i for item in both.attribute if item.name == "hidden_size")
    features, *names = both.input[:4]
    parted = []
    for row, direction in enumerate(("forward", "reverse")):
        own = [f"{name}_{direction}" for name in names]
        rows = (weights[name][row : row + 1] for name in names)
        _add_weights(graph, dict(zip(own, rows, strict=True)))
        parted.append(
            onnx.helper.make_node(
                *("LSTM", [features, *own], [f"lstm_{direction}"]),
                hidden_size=units,
                direction=direction,
            )
        )
    outputs = [node.output[0] for node in parted]
    parted.append(onnx.helper.make_node("Concat", outputs, both.output[:1], axis=1))
    place = list(graph.node).index(both)
    nodes = [*graph.node[:place], *parted, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)


def _name_outputs(graph: "onnx.GraphProto") -> None:
    """Call them as `engines.Look` does."""
    for output, name in zip(graph.output, OUTPUT_NAMES, strict=True):
        source = _source_of(graph, output.name)
        source.output[list(source.output).index(output.name)] = name
        for node in graph.node:
            node.input[:] = [name if one == output.name else one for one in node.input]
        output.name = name
