"""ddddocr's recognition model, with the package's own scaling."""

from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.preprocess import crop_to_ink, decode_digits
from benchmarks.readers import Reader

HEIGHT = 64  # pixels, of the model's input


def load(variant: str) -> Reader:
    """Load the beta model for one thread.

    Its scores are held to digits: `set_ranges` only strikes other characters out of the finished
    text, which reads fewer plates.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # The package offers no way to choose the threads.
    onnxruntime.InferenceSession = partial(onnxruntime.InferenceSession, sess_options=options)
    import ddddocr

    package = ddddocr.DdddOcr(beta=True, show_ad=False)
    session = package.ocr_engine.session  # kept: the package drops its own when it is collected
    symbols = package.ocr_engine.get_charset()
    classes = np.array([0, *(symbols.index(digit) for digit in "0123456789")])
    name = session.get_inputs()[0].name

    def read(images: np.ndarray) -> list[str]:
        texts = []
        for image in images:  # the model takes one plate at a time
            ink = Image.fromarray(crop_to_ink(image))
            size = (ink.width * HEIGHT // ink.height, HEIGHT)
            pixels = np.asarray(ink.resize(size, Image.Resampling.LANCZOS), "float32") / 255
            scores = session.run(None, {name: pixels[None, None]})[0]
            texts.append(decode_digits(scores.reshape(-1, scores.shape[-1]), classes))
        return texts

    return Reader(read, (Path(ddddocr.__file__).parent / "common.onnx",))
