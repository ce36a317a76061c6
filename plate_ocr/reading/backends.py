"""What runs the network: uint8 (n, 64, 128, 1) -> logits, and where in the plate they are of.

Each engine imports its library when it is made: a reader loads only what it uses.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from plate_ocr.network.checkpoint import OUTDATED, WeightsError
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.quantization import integers_are_fast, round_to_integers
from plate_ocr.utils import missing_extra

if TYPE_CHECKING:
    import keras
    import onnxruntime

BACKENDS = ("onnx", "openvino", "keras")
BATCH = 64  # plates that an engine is given at a time
FILLED = 32  # plates that OpenVINO computes at a time; among 64 one would take as long
SIZES = (FILLED, 8, 4, 1)  # of its batches; alone, a plate takes thrice as long as among 32
_used_in: dict[str, int] = {}  # library with threads of its own -> the process that began them


OUTPUT_NAMES = ("logits", "crop")  # of the ONNX graph


class ModelOutput(NamedTuple):
    """What the network says of n plates."""

    logits: np.ndarray  # float32 (n, 16, 11)
    # float32 (n, 4), in pixels of the plate: how far the columns of the frame that was looked at
    # lie apart, and where the middle of the first one lies; then the same of its rows.
    crop: np.ndarray

    @classmethod
    def join(cls, parts: Iterable["ModelOutput"]) -> "ModelOutput":
        """The same of all plates, from that of some after others."""
        first, *others = parts
        return cls(*map(np.concatenate, zip(first, *others, strict=True))) if others else first

    def of(self, rows: np.ndarray) -> "ModelOutput":
        """The same of some plates."""
        return ModelOutput(self.logits[rows], self.crop[rows])


Backend = Callable[[np.ndarray], ModelOutput]


def load_library(name: str) -> ModuleType:
    """Import the library of an engine.

    Raises:
        ImportError: it is missing, and the message says how to get it; or it is broken.
        KeyboardInterrupt: as ever, also within the start of a compiled module.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:  # itself, or what it needs
        raise ImportError(missing_extra(error, library=name), name=error.name) from error
    except Exception as error:  # a damaged installation can raise anything
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # compiled modules turn it into an ImportError
        reason = " ".join(str(error).split())
        raise ImportError(
            f"{name}: install it again, it is broken ({reason})", name=name
        ) from error


def check_not_forked(library: str) -> None:
    """Refuse a library whose threads ended where this process was forked: it would wait for ever.

    Raises:
        RuntimeError: another process, of which this one is a copy, has used the library.
    """
    if _used_in.setdefault(library, os.getpid()) != os.getpid():
        raise RuntimeError(
            f"{library} does not work in a forked process once its parent has used it; "
            'start processes by "spawn", or read with engine="onnx"'
        )


class KerasBackend:
    """Runs a network in Keras.

    Args:
        model: the network.
    """

    def __init__(self, model: "keras.Model"):
        from plate_ocr.network.crnn import with_crop

        check_not_forked("keras")
        self.model = model
        self.with_crop = with_crop(model)
        self.one_at_a_time = threading.Lock()  # Keras promises nothing to several threads

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network."""
        check_not_forked("keras")
        with self.one_at_a_time:
            found = self.with_crop.predict(images, batch_size=BATCH, verbose=0)
        return ModelOutput(*map(np.asarray, found))


def onnx_session(network: bytes) -> "onnxruntime.InferenceSession":
    """The ONNX Runtime session that runs a network, in one thread."""
    onnxruntime = load_library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # cores share batches, not the small layers of one
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


class OnnxBackend:
    """Runs the exported weights in ONNX Runtime.

    Args:
        network: the bytes of the ONNX file, whose hash has been checked.
        name: of the file, for errors.

    Raises:
        ImportError: ONNX Runtime is missing or broken.
        WeightsError: the file is no network, or was exported by another version.
    """

    def __init__(self, network: bytes, name: Path | str):
        self.network = network
        try:
            session = onnx_session(network)
        except ImportError:
            raise
        except Exception as error:  # its exceptions share no narrower base
            raise WeightsError(f"{name}: not an ONNX network") from error
        if tuple(output.name for output in session.get_outputs()) != OUTPUT_NAMES:
            raise WeightsError(f"{name}: {OUTDATED}")
        # By process: a forked one makes its own, because a thread of its parent may have held a
        # lock inside the parent's, which stays here as it is.
        self.sessions = {os.getpid(): session}

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network in batches; safe to call from several threads."""
        session = self.sessions.get(os.getpid())
        if session is None:
            session = self.sessions[os.getpid()] = onnx_session(self.network)
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return ModelOutput.join(
            ModelOutput(*session.run(None, {"plates": batch})) for batch in batches
        )


class OpenvinoBackend:
    """Runs the exported weights in OpenVINO, rounded to what the processor multiplies fastest.

    That is bfloat16 or else float32, and for most of the convolutions integers of 8 bits where
    those are faster still.

    OpenVINO is fastest on a network compiled for one size of batch, so there are several. Plates
    that are more than half a batch fill one up. Each network is compiled once, when it is first
    needed, which takes longer than reading a plate.

    Args:
        exported: the bytes of the ONNX file, whose hash has been checked.
        threads: that call this engine at a time.
        largest: features of the convolutions, see `integers.round_to_integers`; without them there
            are no integers.
        exact: stay with float32.

    Raises:
        ImportError: OpenVINO is missing or broken.
        WeightsError: the weights were exported by another version.
    """

    def __init__(
        self,
        exported: bytes,
        num_threads: int,
        largest: Sequence[float | None] = (),
        exact: bool = False,
    ):
        sys.modules.setdefault("openvino_telemetry", None)  # it reports to Google if found
        openvino = load_library("openvino")
        check_not_forked("openvino")
        self.core = openvino.Core()
        self.exported = exported
        self.num_threads = num_threads
        able = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if not exact and "BF16" in able else "f32"
        self.largest = largest if not exact and integers_are_fast() else ()
        self.of_size: dict[int, StaticBatchModel] = {}
        self.compiling = threading.Lock()

    @property
    def rounds(self) -> bool:
        """Whether it reads a little otherwise than in float32."""
        return bool(self.largest) or self.precision != "f32"

    def _compile(self, size: int) -> "StaticBatchModel":
        network = self.core.read_model(self.exported)
        if tuple(output.any_name for output in network.outputs) != OUTPUT_NAMES:
            raise WeightsError(f"the network of the reader: {OUTDATED}")
        network.reshape([size, PLATE_HEIGHT, PLATE_WIDTH, 1])
        if self.largest:
            round_to_integers(network, self.largest)
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": self.num_threads,
            "NUM_STREAMS": self.num_threads,
        }
        return StaticBatchModel(self.core.compile_model(network, "CPU", settings))

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network in batches; safe to call from several threads."""
        check_not_forked("openvino")
        found = []
        start = 0
        while (left := len(images) - start) > 0:
            size = next(size for size in SIZES if left > size // 2)
            found.append(self._network_for(size)(images[start : start + size]))
            start += size
        return ModelOutput.join(found)

    def _network_for(self, size: int) -> "StaticBatchModel":
        with self.compiling:
            if size not in self.of_size:
                self.of_size[size] = self._compile(size)
        return self.of_size[size]


class StaticBatchModel:
    """A network compiled by OpenVINO for one size of batch."""

    def __init__(self, network):
        self.network = network
        self.idle: SimpleQueue = SimpleQueue()  # requests, each for one call at a time

    def __call__(self, images: np.ndarray) -> ModelOutput:
        """Run the network on one batch, or on fewer plates."""
        try:
            request, plates, outputs = self.idle.get_nowait()
        except Empty:
            request = self.network.create_infer_request()
            # Filling its tensors ourselves saves a tenth of a millisecond a call.
            plates = request.get_input_tensor().data
            outputs = [request.get_output_tensor(index).data for index in range(2)]
        count = len(images)
        plates[:count] = images  # what follows is of an earlier batch, and not looked at
        request.infer()
        found = ModelOutput(*(output[:count].copy() for output in outputs))
        self.idle.put((request, plates, outputs))
        return found
