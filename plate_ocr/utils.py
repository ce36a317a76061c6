"""What all rooms share: resources, files, the processor, processes, missing packages."""

import errno
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parent
MAX_SHOWN_NAME = 1_000  # characters; what is longer is no path but content by mistake


def resource_path(name: str) -> Path:
    """The path of a top-level file or folder of the project, such as `fonts`."""
    installed = PACKAGE / "resources" / name
    return installed if installed.exists() else PACKAGE.parent / name


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` when the block ends without an error.

    The temporary path is hidden, stands in the same folder and keeps the ending, from which some
    writers choose a format. It may become a file or a folder; an error removes it.
    """
    temporary = _temporary(path)
    try:
        yield Path(temporary)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        _give_up(temporary, path, error)
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically; in half the time of `atomic_write`, for thousands of them."""
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:  # noqa: PTH123
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        _give_up(temporary, path, error)
        raise


def _temporary(path: Path | str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{os.urandom(4).hex()}.part.{name}")  # noqa: PTH118


def _give_up(temporary: str, path: Path | str, error: BaseException) -> None:
    """Remove the temporary file, and let an error of the system name the file itself."""
    if isinstance(error, OSError) and error.filename in (None, temporary):
        error.filename = str(path)
    _remove(temporary)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def _remove(path: Path | str) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)  # noqa: PTH108, PTH112


def check_writable(path: Path, size: int = 1) -> None:
    """Make the folder of `path` and check that a file of `size` bytes can be written there.

    Raises:
        OSError: it cannot; the error names `path` or its folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(_Writable), atomic_write(path) as temporary:
        temporary.write_bytes(bytes(size))
        raise _Writable  # so that nothing is left


class _Writable(Exception):
    """The test file was written."""


def read_json(path: Path | str) -> Any:
    """The content of a JSON file.

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
    """SHA-256 of a dictionary as JSON, without its entry `checksum`.

    Raises:
        RecursionError: it is nested too deeply.
    """
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def shown(name: str) -> str:
    """A name for a message: on one line, and cut where it is too long for a path."""
    name = name if len(name) <= MAX_SHOWN_NAME else f"{name[:50]}...{name[-50:]}"
    return one_line(name)


def one_line(text: str) -> str:
    """A text such as the name of a file, with escapes for characters that are not printable."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def cpuinfo(field: str) -> str:
    """A field of the first core in Linux' /proc/cpuinfo; the empty string elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith(field)), "")


def processor_name() -> str:
    """The name of the processor."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_supports(*instructions: str) -> bool:
    """Whether the processor has one of these instruction sets, by Linux' names for them."""
    return not set(instructions).isdisjoint(cpuinfo("flags").split())


def cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; obeys PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fork_safe_lock() -> threading.Lock:  # type: ignore[valid-type]
    """A lock that a forked child never inherits as locked: a fork waits for it."""
    lock = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


_start_lock = fork_safe_lock()


class _Process(SpawnProcess):
    """A spawned process that does not run the caller's script again.

    A script without `if __name__ == "__main__"` would start processes in every process. Ctrl-C
    is blocked while it starts, so it inherits that: its parent ends it.
    """

    def start(self) -> None:
        with _start_lock, _interrupts_blocked():
            main = sys.modules["__main__"]
            without_script = ModuleType("__main__")
            without_script.__dict__.update(vars(main), __spec__=None, __file__=None)
            sys.modules["__main__"] = without_script
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def spawn_pool(processes: int) -> ProcessPoolExecutor:
    """A pool of processes that end with this one; they are spawned, as TensorFlow forbids forks.

    They can run functions of modules, but none of the caller's script.
    """
    # Their import path starts here, not where Python was started: a notebook in Colab changes into
    # its clone of this repository.
    multiprocessing.process.ORIGINAL_DIR = str(Path.cwd())  # type: ignore[attr-defined]
    context = SpawnContext()
    context.Process = _Process
    return ProcessPoolExecutor(processes, mp_context=context, initializer=follow_parent)


def follow_parent() -> None:
    """Let this process ignore Ctrl-C and end with its parent, also where that is killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()


def map_batches(
    function: Callable[[list], list], items: Iterable, *, num_threads: int, size: int
) -> Iterator[Any]:
    """Call a function with batches of items in threads, at most 2 * num_threads + 1 ahead.

    Args:
        function: batch -> a list with one result per item.
        items: any number; an error they raise comes after the results of the items before it.
        num_threads: how many batches are processed in parallel.
        size: items per batch; the last may have fewer.

    Yields:
        The results, in the order of the items.
    """
    iterator, error = iter(items), None
    pool = ThreadPoolExecutor(num_threads)
    pending: deque[Future] = deque()
    try:
        while error is None:
            batch: list = []
            try:
                batch.extend(islice(iterator, size))  # keeps what came before an error
            except Exception as raised:
                error = raised
            if not batch:
                break
            pending.append(pool.submit(function, batch))
            while pending and (len(pending) > 2 * num_threads or pending[0].done()):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
        if error is not None:
            raise error
    finally:
        pool.shutdown(cancel_futures=True)


EXTRAS = {
    "onnxruntime": None,
    "cv2": "draw",
    "tqdm": "draw",
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that installs it; `None`: the package itself requires it; others: train


def missing_extra(error: ImportError, library: str | None = None) -> str:
    """The message for a missing module: how to install it.

    Args:
        error: the failed import; an error of another kind keeps its own message.
        library: the library that needs the module, if that is another.
    """
    if not isinstance(error, ModuleNotFoundError):
        return " ".join(str(error).split())
    name = str(error.name).partition(".")[0]
    library = library or name
    extra = EXTRAS.get(library, "train")
    if extra is None:
        return f"{name} is missing: pip install {library}"
    return (
        f"{name} is missing: it comes with the extra [{extra}] of this project; "
        f"in its folder, pip install '.[{extra}]'"
    )
