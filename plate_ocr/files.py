"""Files and folders that are either whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The temporary name is hidden, unique to the process, and keeps the ending of `path`, which
    some writers choose their format by. What stands there is removed when the block raises.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file that is either whole or not there."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
