"""Backends run the network: images -> logits and crop windows.

Each imports its library when it is made, and raises a WeightsError if it cannot run the weights.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from plate_ocr.network.checkpoint import OUTDATED_EXPORT, WeightsError
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import missing_extra

if TYPE_CHECKING:
    import keras
    import onnxruntime
    import openvino

BACKENDS = ("onnx", "openvino", "keras")
OUTPUT_NAMES = ("logits", "crop")  # of the ONNX graph
NETWORK_BATCH = 32  # plates that the network computes at a time; more are no faster
STATIC_BATCHES = (NETWORK_BATCH, 8, 4, 1)  # compiled for OpenVINO
_used_in: dict[str, int] = {}  # library that starts threads -> the process that used it first


class ModelOutput(NamedTuple):
    """The output of the network for n plates."""

    logits: np.ndarray  # float32 (n, 16, 11)
    crop: np.ndarray  # float32 (n, 4), pixels: spacing and x of its first column; same of rows

    @classmethod
    def concatenate(cls, parts: Iterable["ModelOutput"]) -> "ModelOutput":
        """The output of all plates, from those of consecutive batches."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def take(self, rows: np.ndarray | slice) -> "ModelOutput":
        """The output of some plates."""
        return ModelOutput(self.logits[rows], self.crop[rows])


Backend = Callable[[np.ndarray], ModelOutput]  # of uint8 (n, 64, 128, 1), n > 0


def load_library(name: str) -> ModuleType:
    """Import the library of a backend; an ImportError says how to get it if it does not work."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:  # itself, or what it needs
        raise ImportError(missing_extra(error, library=name), name=error.name) from error
    except Exception as error:  # a damaged installation can raise anything
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # compiled modules turn it into an ImportError
        reason = " ".join(str(error).split())
        message = f"{name}: install it again, it is broken ({reason})"
        raise ImportError(message, name=name) from error


def check_not_forked(library: str) -> None:
    """Refuse a library used before a fork: it would wait for ever for threads of the parent."""
    if _used_in.setdefault(library, os.getpid()) != os.getpid():
        raise RuntimeError(
            f"{library} does not work in a forked process once its parent has used it; "
            'start processes with "spawn", or read with backend="onnx"'
        )


class KerasBackend:
    """Runs a network in Keras."""

    def __init__(self, model: "keras.Model"):
        from plate_ocr.network.crnn import with_crop

        self.model = model
        self.with_crop = with_crop(model)
        self.lock = threading.Lock()  # Keras does not promise to be thread-safe

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network; thread-safe."""
        check_not_forked("keras")
        with self.lock:
            return ModelOutput(*self.with_crop.predict(images, NETWORK_BATCH, verbose=0))


def onnx_session(network: bytes) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session that runs a network in one thread."""
    onnxruntime = load_library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads run whole batches; the layers are too small to split
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


class OnnxBackend:
    """Runs the content of an ONNX file, `network`, in ONNX Runtime; errors show its name."""

    def __init__(self, network: bytes, name: Path | str):
        self.network = network
        try:
            session = onnx_session(network)
        except ImportError:
            raise
        except Exception as error:  # its exceptions share no narrower base
            raise WeightsError(f"{name}: not an ONNX network") from error
        if tuple(output.name for output in session.get_outputs()) != OUTPUT_NAMES:
            raise WeightsError(f"{name}: {OUTDATED_EXPORT}")
        # A forked process opens its own: a thread of its parent may have held a lock in this one.
        self.sessions = {os.getpid(): session}

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network; thread-safe."""
        session = self.sessions.get(os.getpid())
        if session is None:
            session = self.sessions[os.getpid()] = onnx_session(self.network)
        batches = (images[i : i + NETWORK_BATCH] for i in range(0, len(images), NETWORK_BATCH))
        return ModelOutput.concatenate(session.run(None, {"plates": batch}) for batch in batches)


class OpenvinoBackend:
    """Runs exported weights in OpenVINO, in bfloat16 where the processor has it.

    It is fastest with batches of a fixed size, so the network is compiled for several, each when it
    is first needed. At most `num_threads` threads call it at a time.
    """

    def __init__(self, network: bytes, num_threads: int, float32: bool = False):
        sys.modules.setdefault("openvino_telemetry", None)  # it reports to Google if found
        openvino = load_library("openvino")
        check_not_forked("openvino")
        self.core = openvino.Core()
        self.network = self.core.read_model(network)
        if tuple(output.any_name for output in self.network.outputs) != OUTPUT_NAMES:
            raise WeightsError(f"the ONNX file of the weights: {OUTDATED_EXPORT}")
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
        """Run the network; thread-safe."""
        check_not_forked("openvino")
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
            requests[size] = self._compile(size).create_infer_request()
        request = requests[size]
        # Filling its tensors ourselves makes single plates a fifth faster.
        request.get_input_tensor().data[: len(images)] = images
        request.infer()
        tensors = (request.get_output_tensor(index).data for index in range(2))
        return ModelOutput(*(tensor[: len(images)].copy() for tensor in tensors))

    def _compile(self, size: int) -> "openvino.CompiledModel":
        with self.compiling:
            if size not in self.compiled:
                self.network.reshape([size, PLATE_HEIGHT, PLATE_WIDTH, 1])
                self.compiled[size] = self.core.compile_model(self.network, "CPU", self.settings)
            return self.compiled[size]
