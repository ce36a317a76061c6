"""Work for several processor cores: processes, and threads that share a stream."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

PATIENCE = 0.02  # seconds that an item waits for others to fill its batch
_starting = threading.Lock()  # a process at a time
if hasattr(os, "register_at_fork"):  # a forked process finds it free
    os.register_at_fork(
        before=_starting.acquire,
        after_in_parent=_starting.release,
        after_in_child=_starting.release,
    )


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes that are started here never see Ctrl-C: the one that starts them ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # would unblock them when it is started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(SpawnProcess):
    """A process that does not run the caller's script again, as a spawned one does.

    It needs nothing of it, and a script without `if __name__ == "__main__"` would start processes
    in every process.
    """

    def start(self) -> None:
        with _starting, _interrupts_blocked():
            main = sys.modules["__main__"]
            stand_in = ModuleType("__main__")
            stand_in.__dict__.update(vars(main), __spec__=None, __file__=None)  # so none is found
            sys.modules["__main__"] = stand_in
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(SpawnContext):
    """Spawned, not forked: the caller may hold TensorFlow's threads."""

    Process = _Process


def spawned(processes: int) -> ProcessPoolExecutor:
    """Processes that take functions of modules, with their arguments; a context that ends them.

    A function of the caller's script is not found in them.
    """
    # They begin where this process is now, not where it was when it began: in Colab a notebook
    # changes into its clone, from where alone they can import this package.
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # type: ignore[attr-defined]
    return ProcessPoolExecutor(processes, mp_context=_Context(), initializer=follow_parent)


def follow_parent() -> None:
    """Let this process end with the one that started it, also where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts both; that one tells
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Feeder(threading.Thread):
    """Takes items in a thread of its own, while there is room for them ahead of the results.

    Args:
        items: any number.
        room: how many may be ahead.
    """

    def __init__(self, items: Iterable, room: int):
        super().__init__(daemon=True)  # nobody can interrupt what waits for an item
        self.items = iter(items)
        self.events: SimpleQueue = SimpleQueue()  # ("item", it); at the end ("end", error or None)
        self.room = threading.Semaphore(room)
        self.closed = False
        self.process = os.getpid()

    def run(self) -> None:
        error = None
        try:
            self.room.acquire()
            for item in self.items:
                self.events.put(("item", item))
                self.room.acquire()
                if self.closed:
                    return
        except BaseException as raised:  # the caller's to see
            error = raised
        self.events.put(("end", error))

    def wait(self, until: float | None) -> tuple[str, Any]:
        """The next event; ("late", None) when it is time."""
        if os.getpid() != self.process:
            raise RuntimeError("a stream does not go on in a forked process")
        try:
            return self.events.get(timeout=until and max(until - time.monotonic(), 0))
        except Empty:
            return "late", None

    def close(self) -> None:
        """Take no more items."""
        self.closed = True
        if os.getpid() == self.process:
            self.room.release()


def in_batches(
    function: Callable[[list], list], items: Iterable, *, threads: int, size: int
) -> Iterator[Any]:
    """Call a function with batches of items, in threads.

    Results come as soon as they are there: a batch is full, or holds what came in `PATIENCE` and
    while all threads were busy. One more thread takes the items, a few batches ahead, so no result
    waits for a later item.

    Args:
        function: batch -> a result of each of its items.
        items: any number; an error of theirs is raised after the results of what came before.
        threads: how many batches are worked on at a time.
        size: items of a full batch.

    Yields:
        The results, in the order of the items.
    """
    feeder, pool = _Feeder(items, (2 * threads + 1) * size), ThreadPoolExecutor(threads)
    pending: deque[Future] = deque()
    batch: list = []
    full_by = 0.0
    end: tuple[BaseException | None] | None = None
    feeder.start()
    try:
        while pending or batch or end is None:
            if pending and pending[0].done():
                results = pending.popleft().result()
                feeder.room.release(len(results))
                yield from results
                continue
            idle = sum(not one.done() for one in pending) < threads
            what, value = feeder.wait(full_by if batch and idle else None)
            if what == "item":
                full_by = full_by if batch else time.monotonic() + PATIENCE
                batch.append(value)
            elif what == "end":
                end = (value,)
            late = idle and time.monotonic() >= full_by
            if batch and (len(batch) == size or end or late):
                pending.append(pool.submit(function, batch))
                pending[-1].add_done_callback(lambda _: feeder.events.put(("done", None)))
                batch = []
    finally:
        feeder.close()
        pool.shutdown(cancel_futures=True)
    if end is not None and end[0] is not None:
        raise end[0]
