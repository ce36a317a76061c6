"""Backends run the network: images -> logits and crop windows. Each imports its own library."""

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from plate_ocr.network.checkpoint import OUTDATED_EXPORT, WeightsError
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

if TYPE_CHECKING:
    import keras

BACKENDS = ("onnx", "openvino", "keras")
OUTPUT_NAMES = ("logits", "crop")  # of the ONNX graph
NETWORK_BATCH = 32  # plates that the network computes at a time; more are no faster
STATIC_BATCHES = (NETWORK_BATCH, 8, 4, 1)  # compiled for OpenVINO
# Bias correction: the network reports digits this many columns of the crop too far left. Its
# strided convolutions are padded on the right, which makes 1.5; the rest depends on the weights.
POSITION_OFFSET = 2.5


class ModelOutput(NamedTuple):
    """The output of the network for n plates."""

    logits: np.ndarray  # float32 (n, 16, 11)
    crop: np.ndarray  # float32 (n, 4), pixels: spacing and x of its first column; same of rows

    @classmethod
    def concatenate(cls, parts: Iterable["ModelOutput"]) -> "ModelOutput":
        """The output of all plates, from those of consecutive batches."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def x_affine(crop: np.ndarray) -> np.ndarray:
    """The network's crops, (n, 4) -> scale and offset, float64 (n, 2), from crop to plate.

    x_plate = scale * x_crop + offset, in plate widths.
    """
    scale, start = crop[:, 0].astype(float), crop[:, 1].astype(float)
    offset = (start + (1 - scale) / 2 + POSITION_OFFSET * scale) / PLATE_WIDTH
    return np.stack([scale, offset], axis=-1)


Backend = Callable[[np.ndarray], ModelOutput]  # of uint8 (n, 64, 128, 1), n > 0; thread-safe


class KerasBackend:
    """Runs a network in Keras."""

    def __init__(self, model: "keras.Model"):
        from plate_ocr.network.spatial_transformer import with_crop

        self.model = model
        self.with_crop = with_crop(model)
        self.lock = threading.Lock()  # Keras does not promise to be thread-safe

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network."""
        with self.lock:
            return ModelOutput(*self.with_crop.predict(images, NETWORK_BATCH, verbose=0))


class OnnxBackend:
    """Runs the content of an ONNX file, `network`, in ONNX Runtime; errors show its name."""

    def __init__(self, network: bytes, name: Path | str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # threads run whole batches; the layers are too small
        self.session = onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"]
        )
        if tuple(output.name for output in self.session.get_outputs()) != OUTPUT_NAMES:
            raise WeightsError(f"{name}: {OUTDATED_EXPORT}")

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network."""
        batches = (images[i : i + NETWORK_BATCH] for i in range(0, len(images), NETWORK_BATCH))
        return ModelOutput.concatenate(
            self.session.run(None, {"plates": batch}) for batch in batches
        )


class OpenvinoBackend:
    """Runs the content of an ONNX file in OpenVINO, in bfloat16 where the processor has it.

    It is fastest with batches of a fixed size, so the network is compiled for several, each when it
    is first needed. At most `num_threads` threads call it at a time.
    """

    def __init__(self, network: bytes, num_threads: int, float32: bool = False):
        sys.modules.setdefault("openvino_telemetry", None)  # it reports to Google if found
        import openvino

        self.core = openvino.Core()
        self.network = self.core.read_model(network)
        capabilities = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.reduced_precision = "BF16" in capabilities and not float32
        self.settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.reduced_precision else "f32",
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": num_threads,
        }
        self.compiled: dict[int, openvino.CompiledModel] = {}  # by batch size
        self.compiling = threading.Lock()
        self.thread_local = threading.local()  # its requests; each runs one batch at a time

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network."""
        outputs, start = [], 0
        while (left := len(images) - start) > 0:
            size = next(size for size in STATIC_BATCHES if left > size // 2)
            outputs.append(self._run(images[start : start + size], size))
            start += size
        return ModelOutput.concatenate(outputs)

    def _run(self, images: np.ndarray, size: int) -> ModelOutput:
        """Run the network compiled for `size` plates on as many or fewer."""
        requests = self.thread_local.__dict__.setdefault("requests", {})
        if size not in requests:
            with self.compiling:
                if size not in self.compiled:
                    self.network.reshape([size, PLATE_HEIGHT, PLATE_WIDTH, 1])
                    model = self.core.compile_model(self.network, "CPU", self.settings)
                    self.compiled[size] = model
            requests[size] = self.compiled[size].create_infer_request()
        request = requests[size]
        # Filling its tensors ourselves makes single plates a fifth faster.
        request.get_input_tensor().data[: len(images)] = images
        request.infer()
        tensors = (request.get_tensor(name).data for name in OUTPUT_NAMES)
        return ModelOutput(*(tensor[: len(images)].copy() for tensor in tensors))
