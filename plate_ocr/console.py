"""What the commands share: exit codes, output, kinds of arguments, the line on a missing extra."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from plate_ocr.files import one_line, try_to_write

# The only place that lists them; `--help` of every command ends with it.
EXIT_CODES = (
    "Exit codes: 0 all done, also where the reader of the output closed it; 1 some images could "
    "not be read, or problems were found; 2 nothing could be done, or arguments are unusable; "
    "130 interrupted."
)
EXTRAS = {
    "onnxruntime": None,
    "cv2": "draw",
    "tqdm": "draw",
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that brings it, `None` where the package itself needs it; others: train


def run_command(command: Callable[[], int | None], *refusals: type[Exception]) -> int:
    """Run a command to its exit code; what it cannot do ends it with one line on standard error.

    Args:
        command: what to run; it returns an exit code, or None for 0.
        refusals: errors whose message is that line.

    Returns:
        One of `EXIT_CODES`.
    """
    prepare_console()
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has seen enough
        return 0
    except refusals as error:
        print_error(error)
    except ImportError as error:
        print_error(missing(error))
    except OSError as error:
        print_error(f"{error.filename or 'error'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    finally:
        _drop_unwritable_output()
    return 2


def _drop_unwritable_output() -> None:
    """Empty the buffers, so that Python finds nothing to complain about when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_error(error: object) -> None:
    """Print a line on standard error, where somebody reads it."""
    with suppress(OSError):
        print(one_line(str(error)), file=sys.stderr)


def prepare_console() -> None:
    """Let standard streams be there, take any file name and show a warning as one line.

    Notes of libraries are kept off them.
    """
    # Closed when we start: Python has None there, and `print` would write errors among the output.
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"  # without a line of code
    warnings.filterwarnings("ignore", module="PIL")  # an image that is unreadable gets its line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's notes on this machine


def share(text: str) -> float:
    """An argument of 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text:.60}")
    return value


def whole_number(text: str) -> int:
    """An argument of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, not {text:.60}")
    return int(text)


def path(text: str) -> Path:
    """An argument that names a file or folder; an empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, and is empty")
    return Path(text)


def output_file(text: str) -> Path:
    """An argument that names a file to write; refused before the work whose result it takes."""
    name = path(text)
    if not name.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {name.parent}")
    try:
        try_to_write(name)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror or error}") from error
    return name


def weights_to_write(text: str) -> Path:
    """An argument that names weights to write: Keras takes other endings for other formats."""
    if Path(text).suffix != ".h5" or text.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(f"must end in .h5, not in .weights.h5: {text:.60}")
    return Path(text)


def missing(error: ImportError, library: str | None = None) -> str:
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
