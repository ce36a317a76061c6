"""Work for several processor cores."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def spawned(processes: int) -> ProcessPoolExecutor:
    """Processes that take functions of modules, with their arguments; a context that ends them."""
    # They begin where this process is now, not where it was when it began: in Colab a notebook
    # changes into its clone, from where alone they can import this package.
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # type: ignore[attr-defined]
    # Spawned, not forked: the caller may hold TensorFlow's threads.
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
