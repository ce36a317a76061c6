"""Files and folders that are either whole or not there."""

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = platform.node()  # of several that share a disk
LONGEST_NAME = 1_000  # characters; longer ones are no paths but content by mistake


@contextmanager
def replacing(path: Path | str, first: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    The temporary name is hidden, unique to the process and its host, and keeps the ending of
    `path`, which some writers choose their format by. What stands there is removed when the block
    raises; what killed processes of this host left of `path` is removed first.

    Args:
        path: what is to be written.
        first: leave a file that is there by the time the block ends.
    """
    folder, name = os.path.split(path)
    for leftover in Path(folder).glob(f".*.part.{glob.escape(name)}"):
        process, host = _writer_of(leftover)
        if host == HOST and not _runs(process):
            _remove(leftover)
    temporary = Path(_hidden(path))
    try:
        yield temporary
        if first:
            _link(temporary, Path(path))
        else:
            temporary.replace(path)
    except BaseException as error:
        _give_up(temporary, path, error)
        raise


def write_bytes(path: str, content: bytes) -> None:
    """Write a file that is either whole or not there, one of thousands.

    As `replacing`, in half the time; but what was left of it is not looked for, because that
    takes a look at the whole folder: who writes thousands of files does it for all at once.
    """
    temporary = _hidden(path)
    try:
        _put(temporary, content)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        _give_up(Path(temporary), path, error)
        raise


def _put(path: str, content: bytes) -> None:
    # A tenth of the time goes into the objects that `open` makes.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while content:  # a disk that is nearly full takes a part
            content = content[os.write(file, content) :]
    finally:
        os.close(file)


def _hidden(path: Path | str) -> str:
    folder, name = os.path.split(path)
    hidden = f".{os.getpid()}@{HOST}.part.{name}"
    return f"{folder}/{hidden}" if folder else hidden


def is_being_written(temporary: Path) -> bool:
    """Whether a process of this host that may be running is writing this."""
    process, host = _writer_of(temporary)
    return host == HOST and _runs(process)


def _writer_of(temporary: Path) -> tuple[str, str]:
    """The process whose temporary name this is, and its host."""
    process, _, host = temporary.name[1:].partition(".part.")[0].partition("@")
    return process, host


def _give_up(temporary: Path, path: Path | str, error: BaseException) -> None:
    """Let an error name the file, and remove what was written of it."""
    if isinstance(error, OSError) and error.filename in (None, str(temporary)):
        error.filename = str(path)
    _remove(temporary)


def _link(temporary: Path, path: Path) -> None:
    """Let a file take a place that is free, which replacing cannot see to."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    except OSError:  # a disk without links
        temporary.replace(path)
    _remove(temporary)


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
    # A Path raises an error where a name is too long to be there.
    if os.path.isdir(path):  # noqa: PTH112
        shutil.rmtree(path)
    elif os.path.exists(path):  # noqa: PTH110
        path.unlink(missing_ok=True)  # of nothing, an error too on a read-only disk


def write_text(path: Path | str, text: str, first: bool = False) -> None:
    """Write a UTF-8 text file that is either whole or not there.

    Args:
        path: the file.
        text: all of it.
        first: leave a file that is there; of several that write at once, one wins.
    """
    with replacing(path, first=first) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def shown(name: str) -> str:
    """A name for a message: on one line, and cut where it is too long for a path."""
    name = name if len(name) <= LONGEST_NAME else f"{name[:50]}...{name[-50:]}"
    return one_line(name)


def one_line(text: str) -> str:
    """A text such as the name of a file, with escapes for what would break or garble its line."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def try_to_write(path: Path, size: int = 1) -> None:
    """Write so many bytes beside `path` and remove them, to learn early whether it can be written.

    Its folder is made.

    Raises:
        OSError: it cannot be written; the error names `path` or its folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(_Tried), replacing(path) as temporary:
        temporary.write_bytes(bytes(size))
        raise _Tried


class _Tried(Exception):
    """What was written can be removed."""


def read_json(path: Path | str) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        ValueError: it cannot be read or is not JSON; the message names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def checksum(content: dict) -> str:
    """SHA-256 of all that a description says but its own `checksum`.

    Raises:
        RecursionError: it is nested too deep.
    """
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
