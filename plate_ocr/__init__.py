"""Draw simulated number plates and read their five digits."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime reports to Microsoft

from plate_ocr.dataset import DatasetError
from plate_ocr.images import UnreadableImage
from plate_ocr.reader import Digit, PlateReader, Reading
from plate_ocr.weights import WeightsError

__all__ = ["DatasetError", "Digit", "PlateReader", "Reading", "UnreadableImage", "WeightsError"]
__version__ = "0.2.0.dev0"
