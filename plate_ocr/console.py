"""What the commands share: standard output as they need it, and the word for a missing extra."""

import io
import os
import sys
import warnings

EXTRAS = {
    "ray": "ray",
    "pyarrow": "ray",
    "jax": "hosts",
    "openvino": "openvino",
}  # module -> extra that brings it; others: train


def prepare_console() -> None:
    """Let standard output take any file name, and keep notes of libraries off standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # an image that is unreadable gets its line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's notes on this machine


def missing(error: ModuleNotFoundError) -> str:
    """The line that says how to get a module that only some uses need."""
    extra = EXTRAS.get(str(error.name), "train")
    return (
        f"{error.name} is missing: it comes with the extra [{extra}] of this project; "
        f"in its folder, pip install '.[{extra}]'"
    )
