"""Draw simulated number plates and read their five digits."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports to Microsoft

from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.plates.dataset import DatasetError
from plate_ocr.plates.images import ImageError
from plate_ocr.reading.reader import Digit, PlateReader, Reading

__all__ = ["DatasetError", "Digit", "ImageError", "PlateReader", "Reading", "WeightsError"]
__version__ = "0.3.0"
