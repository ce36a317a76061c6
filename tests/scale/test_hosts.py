"""Training on several hosts, here two processes that talk over the loopback interface."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from conftest import PROJECT

from plate_ocr.plates.dataset import generate_dataset

# With all that could differ between hosts: distortions, dropout and a learning rate that moves.
# Adam moves a weight by the sign of its gradient, be that nothing but rounding, which differs
# between hosts and processors. With a large epsilon, what rounding leaves moves nothing.
TINY = """
import sys
from dataclasses import replace
from functools import partial

import keras

from plate_ocr.cli import main
from plate_ocr.training.config import CONFIGS

keras.optimizers.Adam = partial(keras.optimizers.Adam, epsilon=1e-3)
CONFIGS["tiny"] = replace(
    CONFIGS["default"],
    name="tiny", batch_size=16, epochs=3, warmup_steps=2, dropout=0.2, val_plates=8,
)
sys.exit(main(sys.argv[1:]))
"""

EPOCHS = ("Epoch ", "3/3 ", "[Gloo]")  # lines that tell how far a run is


def start(folder, name, *arguments):
    command = [sys.executable, "-c", TINY, "train", folder / "train", folder / f"{name}.h5"]
    command += ["--config", "tiny", "--checkpoints", folder / name, *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "KERAS_BACKEND": "jax"}
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_both(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = ("--coordinator", address, "--hosts", 2, "--host")
    return [start(folder, "both", *hosts, index) for index in range(2)]


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=1800)
        assert process.returncode == 0, output


def history(folder):
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))["history"]


@pytest.mark.slow
def test_two_hosts_have_the_loss_curve_of_one(tmp_path):
    generate_dataset(tmp_path / "train", count=40, processes=1, progress=False)
    finish(start(tmp_path, "alone"))
    finish(*start_both(tmp_path))
    alone, both = history(tmp_path / "alone"), history(tmp_path / "both")
    assert len(alone) == len(both) == 3
    for name in ("loss", "val_loss"):
        expected = pytest.approx([row[name] for row in alone], rel=1e-5)
        assert [row[name] for row in both] == expected
    assert alone[0]["loss"] != alone[2]["loss"]
    assert {path.suffix for path in tmp_path.glob("both.*")} == {".h5", ".json"}


@pytest.mark.slow
def test_a_host_that_loses_another_ends_with_one_line_and_all_go_on_when_started_again(tmp_path):
    generate_dataset(tmp_path / "train", count=40, processes=1, progress=False)
    both, localization = tmp_path / "both", tmp_path / "both" / "localization"
    for victim, folder in ((1, localization), (0, both)):
        hosts = start_both(tmp_path)
        while not list(folder.glob("*.h5")):
            assert [host.poll() for host in hosts] == [None, None]
            time.sleep(0.1)
        hosts[victim].kill()
        output, _ = hosts[1 - victim].communicate(timeout=300)
        hosts[victim].communicate()
        assert hosts[1 - victim].returncode == 2, output
        told = [line for line in output.splitlines() if not line.startswith(EPOCHS)]
        assert len(told) == 1 and "host" in told[0] and "checkpoint" in told[0], output
    finish(*start_both(tmp_path))
    assert [row["epoch"] for row in history(localization)] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in history(both)] == [1, 2, 3]
