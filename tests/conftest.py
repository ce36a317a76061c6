import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import pytest
from PIL import Image

from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import render_glyphs

PROJECT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT)}


def run_python(*command, cwd=PROJECT):
    """Run Python in a process of its own; it may fail, but not with a traceback."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def interrupt(is_time, *command):
    """Run Python in a process of its own, and press Ctrl-C in time: it ends as it should."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=PROJECT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what runs in the background ignore SIGINT, and tests would pass that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not is_time():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted\n")


def succeeds_in_a_fork(function):
    """Whether a forked child ends within 10 seconds, and the function returned true in it."""
    child = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(0 if function() else 1)
    )
    child.start()
    child.join(10)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode == 0


def environment_with_home(home):
    """The environment of a user with this home folder and no settings."""
    unset = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ORT_DISABLE_TELEMETRY")
    kept = {name: value for name, value in ENVIRONMENT.items() if name not in unset}
    return kept | {"HOME": str(home)}


def write_plates(folder, positions, *, digits=5, size=(128, 64), suffix=".png"):
    """Write images whose names are their labels, and return their folder."""
    folder.mkdir(parents=True)
    plates = render_plates(positions, digits=digits)
    for image, label in zip(plates.images[..., 0], plates.labels, strict=True):
        Image.fromarray(image).resize(size).save(folder / f"{label}{suffix}", quality=95)
    return folder


def ink_columns(fonts, record):
    """First column of every digit's ink, and the one behind its last: (5, 2)."""
    font = next(font for font in fonts if font.family == record["font"])
    glyphs = render_glyphs(font.path, tuple(record["axes"].items()), record["size"])
    widths = [glyphs[int(digit)].ink.shape[1] for digit in record["text"]]
    starts = np.cumsum([record["x"], *[width + record["spacing"] for width in widths[:-1]]])
    return np.stack([starts, starts + widths], axis=1)


@pytest.fixture(scope="session")
def fonts():
    return load_fonts()


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory):
    """A saved network with fresh weights and its ONNX export."""
    import keras

    from plate_ocr.network.crnn import build_model
    from plate_ocr.training.export import export_weights
    from plate_ocr.training.saving import save_model

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.h5"
    save_model(build_model(), path)
    export_weights(path)
    return path
