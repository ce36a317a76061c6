"""What the commands share: their output, kinds of arguments, and the word for a missing extra."""

import argparse
import io
import os
import sys
import warnings
from pathlib import Path

EXTRAS = {
    "onnxruntime": None,
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that brings it, `None` where the package itself needs it; others: train


def prepare_console() -> None:
    """Let standard output take any file name, and keep notes of libraries off standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # an image that is unreadable gets its line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's notes on this machine


def share(text: str) -> float:
    """An argument of 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text}")
    return value


def whole_number(text: str) -> int:
    """An argument of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, not {text}")
    return int(text)


def weights_to_write(text: str) -> Path:
    """An argument that names weights: Keras takes other endings for other formats."""
    path = Path(text)
    if path.suffix != ".h5" or path.name.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(f"must end in .h5, not in .weights.h5: {text}")
    return path


def missing(error: ImportError, library: str | None = None) -> str:
    """The line that says how to get a module that only some uses need.

    Args:
        error: that it is missing; any other error tells its own line.
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
