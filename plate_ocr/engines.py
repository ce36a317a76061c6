"""What runs the network: uint8 (n, 64, 128, 1) -> float32 logits (n, 32, 11).

Each engine imports its library when it is made: a reader loads only what it uses.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.weights import WeightsError

if TYPE_CHECKING:
    import keras

ENGINES = ("onnx", "openvino", "keras")
BATCH = 64  # plates that an engine is given at a time
FILLED = 32  # plates that OpenVINO computes at a time; 64 would be no faster and waste more
FEW = 12  # plates up to which it is faster one by one

Engine = Callable[[np.ndarray], np.ndarray]


class KerasEngine:
    """Runs a network in Keras.

    Args:
        model: the network.
    """

    def __init__(self, model: "keras.Model"):
        self.model = model
        self.one_at_a_time = threading.Lock()  # Keras promises nothing to several threads

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the network."""
        with self.one_at_a_time:
            return np.asarray(self.model.predict(images, batch_size=BATCH, verbose=0))


class OnnxEngine:
    """Runs the exported weights in ONNX Runtime.

    Args:
        network: the bytes of the ONNX file, whose hash has been checked.
        name: of the file, for errors.
    """

    def __init__(self, network: bytes, name: Path | str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # cores share batches, not the small layers of one
        try:
            self.session = onnxruntime.InferenceSession(
                network, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no narrower base
            raise WeightsError(f"{name}: not an ONNX network") from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the network in batches."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([self.session.run(None, {"plates": batch})[0] for batch in batches])


class OpenvinoEngine:
    """Runs the exported weights in OpenVINO, in bfloat16 where the processor multiplies in it.

    OpenVINO is fastest on a network compiled for one size of batch, so there are two: for single
    plates, and for batches, the last of which is filled up. Each is compiled once, when it is
    first needed, which takes longer than reading a plate.

    Args:
        exported: the bytes of the ONNX file, whose hash has been checked.
        threads: that call this engine at a time.
        rounded: to bfloat16, if the processor multiplies in it; False keeps float32.
    """

    def __init__(self, exported: bytes, threads: int, rounded: bool = True):
        import openvino

        self.core = openvino.Core()
        self.exported = exported
        self.threads = threads
        able = "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.rounded = rounded and able
        self.of_size: dict[int, FixedBatch] = {}
        self.compiling = threading.Lock()

    def _compile(self, size: int) -> "FixedBatch":
        network = self.core.read_model(self.exported)
        network.reshape([size, PLATE_HEIGHT, PLATE_WIDTH, 1])
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.rounded else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.threads,
        }
        return FixedBatch(self.core.compile_model(network, "CPU", settings), size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the network in batches; safe to call from several threads."""
        size = 1 if len(images) <= FEW else FILLED
        with self.compiling:
            if size not in self.of_size:
                self.of_size[size] = self._compile(size)
        return self.of_size[size](images)


class FixedBatch:
    """A network compiled by OpenVINO for one size of batch."""

    def __init__(self, network, size: int):
        self.network = network
        self.size = size
        self.idle: SimpleQueue = SimpleQueue()  # requests, each for one call at a time

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Run the network on any number of plates."""
        try:
            request, plates, logits = self.idle.get_nowait()
        except Empty:
            request = self.network.create_infer_request()
            # Filling its tensors ourselves saves a tenth of a millisecond a call.
            plates, logits = request.get_input_tensor().data, request.get_output_tensor().data
        found = np.empty((len(images), *logits.shape[1:]), logits.dtype)
        for start in range(0, len(images), self.size):
            batch = images[start : start + self.size]
            plates[: len(batch)] = batch  # what follows in the last batch is not looked at
            request.infer()
            found[start : start + len(batch)] = logits[: len(batch)]
        self.idle.put((request, plates, logits))
        return found
