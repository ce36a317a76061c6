"""What all subpackages share: resources, files, the processor, processes, missing packages."""

import json
import multiprocessing
import os
import platform
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


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
    folder, name = os.path.split(path)
    temporary = Path(folder, f".{os.urandom(4).hex()}.part.{name}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:  # noqa: PTH123
        file.write(content)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def check_writable(path: Path) -> None:
    """Make the folder of `path` and check that a file can be written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    path.open("ab").close()
    if is_new:
        path.unlink()


def read_json(path: Path | str) -> Any:
    """The content of a JSON file; a `ValueError` names a file that is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def printable(name: str) -> str:
    """A name for a message, on one line; what is longer than any path is content by mistake."""
    return one_line(name if len(name) <= 1_000 else f"{name[:50]}...{name[-50:]}")


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
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spawn_pool(processes: int) -> ProcessPoolExecutor:
    """A pool of processes that end with this one; a script needs `if __name__ == "__main__"`."""
    context = multiprocessing.get_context("spawn")  # TensorFlow forbids forks
    return ProcessPoolExecutor(processes, mp_context=context, initializer=follow_parent)


def follow_parent() -> None:
    """Ignore Ctrl-C, and end this process as soon as its parent has ended."""

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
    """Yield function(batch) of batches of `size` items, in order; each returns a result per item.

    Batches are processed in threads, at most 2 * num_threads + 1 ahead.
    """
    iterator = iter(items)
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        while batch := list(islice(iterator, size)):
            pending.append(pool.submit(function, batch))
            while pending and (len(pending) > 2 * num_threads or pending[0].done()):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


EXTRAS = {
    "onnxruntime": None,
    "cv2": "draw",
    "tqdm": "draw",
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that installs it; `None`: the package itself requires it; others: train


def missing_extra(error: ImportError) -> str:
    """How to install a missing module; an import error of another kind keeps its message."""
    if not isinstance(error, ModuleNotFoundError):
        return " ".join(str(error).split())
    name = str(error.name).partition(".")[0]
    extra = EXTRAS.get(name, "train")
    if extra is None:
        return f"{name} is missing: pip install {name}"
    return f"{name} is missing: in the folder of this project, run pip install '.[{extra}]'"
