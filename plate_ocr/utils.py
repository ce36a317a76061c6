"""What all rooms share: resources, atomic files, the processor, processes, missing extras."""

import errno
import glob
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parent


def resource_path(name: str) -> Path:
    """The path of a top-level file or folder of the project, such as `fonts`."""
    installed = PACKAGE / "resources" / name
    return installed if installed.exists() else PACKAGE.parent / name


HOST = platform.node()  # of several that share a disk
LONGEST_NAME = 1_000  # characters; longer ones are no paths but content by mistake


@contextmanager
def atomic_write(path: Path | str, first: bool = False) -> Iterator[Path]:
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
    with atomic_write(path, first=first) as temporary:
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
    with suppress(_Tried), atomic_write(path) as temporary:
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


def cpuinfo(field: str) -> str:
    """A line of Linux' description of the first core; the empty string elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith(field)), "")


def processor_name() -> str:
    """The processor in words."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use: fewer than the machine has, where it is limited."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; obeys PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_supports(*instructions: str) -> bool:
    """Whether the processor has one of these instructions, by Linux' names for them."""
    return not set(instructions).isdisjoint(cpuinfo("flags").split())


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


def spawn_pool(processes: int) -> ProcessPoolExecutor:
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


def map_batches(
    function: Callable[[list], list], items: Iterable, *, num_threads: int, size: int
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
    feeder, pool = _Feeder(items, (2 * num_threads + 1) * size), ThreadPoolExecutor(num_threads)
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
            idle = sum(not one.done() for one in pending) < num_threads
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


EXTRAS = {
    "onnxruntime": None,
    "cv2": "draw",
    "tqdm": "draw",
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that brings it, `None` where the package itself needs it; others: train


def missing_extra(error: ImportError, library: str | None = None) -> str:
    """The line that says how to get a module that only some uses need.

    Args:
        error: that it is missing; of any other error, its own message is the line.
        library: that needs the module, if it is not used for itself.
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


def fork_safe_lock() -> threading.Lock:  # type: ignore[valid-type]
    """A lock that a forked child never inherits as locked: a fork waits for it."""
    lock = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock
