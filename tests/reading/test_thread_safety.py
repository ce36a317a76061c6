"""Two at once: threads and processes that share a reader, and weights that are replaced."""

import copy
import multiprocessing
import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import keras
import numpy as np
import pytest
from conftest import succeeds_in_a_fork

from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import build_model
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.export import export_onnx
from plate_ocr.training.fit import save_model


@pytest.mark.parametrize("backend", ["keras", "onnx", "openvino"])
def test_eight_threads_share_a_reader(random_weights, backend):
    """Each gets the readings of its own images, as one thread alone does."""
    reader = PlateReader(random_weights, backend=backend)
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


@pytest.mark.parametrize(
    "backend",
    [
        "onnx",
        pytest.param("keras", marks=pytest.mark.slow),
        pytest.param("openvino", marks=pytest.mark.slow),
    ],
)
def test_a_copied_reader_reads_as_the_first(random_weights, backend, tmp_path, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    monkeypatch.chdir(random_weights.parent)
    reader = PlateReader(random_weights.name, backend, num_threads=3, tta=True)
    monkeypatch.chdir(tmp_path)
    for other in (copy.deepcopy(reader), pickle.loads(pickle.dumps(reader))):
        assert other.backend is not reader.backend and other.tta
        assert other.num_threads == reader.num_threads
        assert other.read(image) == reader.read(image)


def test_a_copy_whose_weights_are_gone_says_so_when_it_is_used(random_weights, tmp_path):
    for path in random_weights.parent.glob(f"{random_weights.stem}.*"):
        shutil.copy(path, tmp_path)
    sent = pickle.dumps(PlateReader(tmp_path / random_weights.name))
    for path in tmp_path.iterdir():
        path.unlink()
    reader = pickle.loads(sent)
    with pytest.raises(WeightsError, match=random_weights.name):
        reader.read(np.zeros((64, 128), np.uint8))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_reader_goes_to_a_pool_of_processes(random_weights, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    reader = PlateReader(random_weights, num_threads=1)
    images = list(np.random.default_rng(0).integers(0, 256, (3, 64, 128), np.uint8))
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(reader.read, images).result(60) == reader.read(images)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_though_a_thread_holds_a_lock_of_the_session(random_weights):
    reader = PlateReader(random_weights, num_threads=1)
    image = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    expected = reader.read(image)

    class Locked:
        """As a session is in the child where another thread runs it during the fork."""

        def run(self, *_):
            threading.Event().wait()

    reader.backend.sessions[os.getpid()] = Locked()
    assert succeeds_in_a_fork(lambda: reader.read(image) == expected)
    assert succeeds_in_a_fork(lambda: list(reader.stream([image])) == [expected])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("backend", ["keras", "openvino"])
def test_an_engine_that_would_wait_for_ever_in_a_forked_child_is_refused(random_weights, backend):
    image = np.full((64, 128), 255, np.uint8)
    reader = PlateReader(random_weights, backend)
    reader.read(image)

    def refused(work):
        with pytest.raises(RuntimeError, match=backend):
            work()
        return True

    assert succeeds_in_a_fork(lambda: refused(lambda: reader.read(image)))
    assert succeeds_in_a_fork(lambda: refused(lambda: PlateReader(random_weights, backend)))
    assert reader.read(image)


@pytest.mark.slow
def test_a_reader_while_weights_are_replaced(tmp_path):
    """It reads with the old weights or with the new ones, or is refused; never with a mixture."""
    image = np.random.default_rng(0).integers(0, 256, (64, 128), np.uint8)
    expected, folders = {}, []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        folder = tmp_path / str(seed)
        save_model(build_model(), folder / "dr_model.h5")
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
