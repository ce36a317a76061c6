import os
import threading
import time

import pytest
from conftest import succeeds_in_a_fork

from plate_ocr import utils
from plate_ocr.utils import map_batches


def doubled(batch):
    return [2 * item for item in batch]


def threads_end(before):
    latest = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < latest:
        time.sleep(0.01)
    return threading.active_count() <= before


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_results_come_in_the_order_of_the_items(num_threads, count):
    before = threading.active_count()
    found = list(map_batches(doubled, iter(range(count)), num_threads=num_threads, size=7))
    assert found == [2 * number for number in range(count)] and threads_end(before)


def test_items_that_are_there_share_a_batch():
    sizes = []

    def work(batch):
        sizes.append(len(batch))
        return batch

    list(map_batches(work, range(1000), num_threads=2, size=100))
    assert len(sizes) <= 13  # ten, but for a machine that stood still


def test_items_that_come_while_all_threads_are_busy_share_a_batch():
    sizes = []
    all_came = threading.Event()

    def items():
        for number in range(6):
            time.sleep(2 * utils.PATIENCE)
            yield number
        all_came.set()

    def work(batch):
        sizes.append(len(batch))
        assert all_came.wait(10)
        return batch

    assert list(map_batches(work, items(), num_threads=1, size=100)) == list(range(6))
    assert sizes == [1, 5]


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(map_batches(lambda batch: [1 / item for item in batch], [0], num_threads=1, size=2))


def test_an_interrupt_within_the_items_comes_after_what_was_there():
    def items():
        yield 1
        raise KeyboardInterrupt

    stream = map_batches(doubled, items(), num_threads=2, size=2)
    assert next(stream) == 2
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def test_a_stream_that_nobody_reads_on_leaves_no_threads():
    before = threading.active_count()
    taken = []
    stream = map_batches(
        doubled,
        map(taken.append, range(10_000)),
        num_threads=2,
        size=4,
    )
    with pytest.raises(TypeError):
        next(stream)  # nothing can be doubled
    assert threads_end(before) and len(taken) <= 6 * 4
    stream = map_batches(doubled, range(10_000), num_threads=2, size=4)
    next(stream)
    del stream
    assert threads_end(before)


def test_a_stream_can_be_left_while_its_source_has_nothing():
    before, more = threading.active_count(), threading.Event()

    def items():
        yield 1
        more.wait(20)
        yield 2

    stream = map_batches(doubled, items(), num_threads=2, size=4)
    begun = time.monotonic()
    assert next(stream) == 2
    stream.close()
    assert time.monotonic() - begun < 5
    more.set()
    assert threads_end(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_stream_is_refused_in_a_forked_child():
    stream = map_batches(doubled, range(100), num_threads=1, size=1)
    next(stream)

    def refused():
        with pytest.raises(RuntimeError, match="forked"):
            list(stream)
        return True

    assert succeeds_in_a_fork(refused)
    assert len(list(stream)) == 99


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_process_is_started_can_start_others():
    held = threading.Event()

    def hold():
        with utils._starting:
            held.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert succeeds_in_a_fork(lambda: utils._starting.acquire(timeout=5))
    thread.join()
