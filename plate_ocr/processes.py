"""Work for several processor cores."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def spawned(processes: int) -> ProcessPoolExecutor:
    """Processes that take functions of modules, with their arguments; a context that ends them."""
    # They begin where this process is now, not where it was when it began: in Colab a notebook
    # changes into its clone, from where alone they can import this package.
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # type: ignore[attr-defined]
    # Spawned, not forked: the caller may hold TensorFlow's threads.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=follow_parent)


def follow_parent() -> None:
    """Let this process end with the one that started it, also where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts both; that one tells
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
