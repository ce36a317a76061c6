"""Threads and processes that share a reader."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from conftest import succeeds_in_a_fork

from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import PlateReader

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 64, 128), np.uint8)
IMAGE = NOISE[0, 0]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_threads_share_a_reader(random_weights, backend):
    """Each gets the readings of its own images, as one thread alone does."""
    reader = PlateReader(random_weights, backend=backend)
    expected = [[reading.text for reading in reader.read(list(images))] for images in NOISE]
    start = threading.Barrier(8)

    def read(thread):
        start.wait()
        readings = [reader.read(list(NOISE[thread])) for _ in range(5)]
        return [[reading.text for reading in repetition] for repetition in readings]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [[texts] * 5 for texts in expected]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_reader_goes_to_a_pool_of_processes(random_weights, method, tmp_path, monkeypatch):
    monkeypatch.chdir(random_weights.parent)
    reader = PlateReader(random_weights.name, num_threads=1, tta=True)
    monkeypatch.chdir(tmp_path)  # the weights are found from another folder
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(reader.read, IMAGE).result(60) == reader.read(IMAGE)


def test_onnx_reads_in_a_forked_child(random_weights):
    reader = PlateReader(random_weights)
    expected = list(reader.stream(NOISE[0]))
    assert succeeds_in_a_fork(lambda: list(reader.stream(NOISE[0])) == expected)


@pytest.mark.parametrize("backend", ["keras", "openvino"])
def test_a_backend_that_would_hang_in_a_forked_child_is_refused(random_weights, backend):
    reader = PlateReader(random_weights, backend)
    reader.read(IMAGE)

    def refused():
        with pytest.raises(RuntimeError, match="fork"):
            reader.read(IMAGE)
        return True

    assert succeeds_in_a_fork(refused)
