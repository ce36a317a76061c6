"""Tesseract through tesserocr: one line of text, digits alone, the plate as it is."""

import numpy as np
import tesserocr

from benchmarks.baselines import folder_of
from benchmarks.readers import Reader


def load(variant: str) -> Reader:
    """Load Tesseract with the English data of the Debian package."""
    data = next(folder_of("tesserocr").rglob("eng.traineddata"))
    backend = tesserocr.PyTessBaseAPI(str(data.parent), "eng", psm=tesserocr.PSM.SINGLE_LINE)
    backend.SetVariable("tessedit_char_whitelist", "0123456789")

    def read(images: np.ndarray) -> list[str]:
        texts = []
        for image in images:
            height, width = image.shape
            backend.SetImageBytes(image.tobytes(), width, height, 1, width)
            texts.append(backend.GetUTF8Text().strip())
        return texts

    return Reader(read, (data,), tesserocr.tesseract_version().split("\n")[0])
