"""Files and folders that are either whole or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str, tidy: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The temporary name is hidden, unique to the process, and keeps the ending of `path`, which
    some writers choose their format by. What stands there is removed when the block raises.

    Args:
        path: what is to be written.
        tidy: first remove what killed processes left of `path`. It takes a look at the whole
            folder: those who write thousands of files into one do it for all at once.
    """
    path = Path(path)
    if tidy:
        for leftover in path.parent.glob(f".*.part.{path.name}"):
            if not _runs(leftover.name.split(".")[1]):
                _remove(leftover)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def _runs(process: str) -> bool:
    """Whether a process may be running; on Windows, asking would end it."""
    if os.name == "nt" or not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():  # on a read-only disk, unlinking nothing is an error too
        path.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file that is either whole or not there."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
