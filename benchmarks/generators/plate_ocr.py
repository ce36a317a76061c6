"""Our generator, in one process."""

from collections.abc import Callable
from pathlib import Path

from plate_ocr.plates.dataset import generate_dataset


def load(variant: str) -> Callable[[Path, int], None]:
    """The generator, as the notebook calls it."""

    def draw(directory: Path, count: int) -> None:
        generate_dataset(directory, start=0, count=count, processes=1, progress=False)

    return draw
