"""One module a reader: `load(variant)` imports the package and returns a `Reader`.

Each runs in the environment of its peer, so nothing heavy is imported here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Reader(NamedTuple):
    """A loaded reader."""

    read: Callable[["np.ndarray"], list[str]]  # uint8 (n, 64, 128) -> n texts
    weights: tuple[Path, ...] = ()  # the files it cannot read without
    note: str = ""  # what only the running package can tell, such as its precision
