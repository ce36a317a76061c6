"""Two at once: threads that share a reader, and a reader while its weights are replaced."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from plate_ocr.export import export_onnx
from plate_ocr.model import build_model
from plate_ocr.reader import PlateReader
from plate_ocr.training import save_reader
from plate_ocr.weights import WeightsError


@pytest.mark.parametrize("engine", ["keras", "onnx", "openvino"])
def test_eight_threads_share_a_reader(random_weights, engine):
    """Each gets the readings of its own images, as one thread alone does."""
    reader = PlateReader(random_weights, engine=engine)
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 64, 128), np.uint8)
    expected = [reader.read(list(share)) for share in images]
    together = threading.Barrier(8)

    def read(thread):
        together.wait()
        return [reader.read(list(images[thread])) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for readings, alone in zip(pool.map(read, range(8)), expected, strict=True):
            for again in readings:
                assert [one.text for one in again] == [one.text for one in alone]
                np.testing.assert_allclose(
                    [one.confidence for one in again], [one.confidence for one in alone], rtol=1e-3
                )


@pytest.mark.slow
def test_a_reader_while_weights_are_replaced(tmp_path):
    """It reads with the old weights or with the new ones, or is refused; never with a mixture."""
    image = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    expected, folders = {}, []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        folder = tmp_path / str(seed)
        save_reader(build_model(), folder / "dr_model.h5")
        export_onnx(folder / "dr_model.h5")
        folders.append(folder)
        expected[PlateReader(folder / "dr_model.h5").read(image).confidence] = seed
    assert len(expected) == 2
    shared = tmp_path / "shared"
    shutil.copytree(folders[0], shared)
    finished = threading.Event()

    def replace():
        for turn in range(200):
            for suffix in (".json", ".h5", ".onnx"):
                new = shutil.copy(folders[(turn + 1) % 2] / f"dr_model{suffix}", tmp_path)
                (tmp_path / new).replace(shared / f"dr_model{suffix}")
        finished.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen, refused = set(), 0
    while not finished.is_set():
        try:
            seen.add(PlateReader(shared / "dr_model.h5").read(image).confidence)
        except WeightsError:
            refused += 1
    writer.join()
    seen.add(PlateReader(shared / "dr_model.h5").read(image).confidence)
    assert seen <= set(expected) and refused
