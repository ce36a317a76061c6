"""Training on several hosts: here two processes on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import PROJECT

from plate_ocr.plates.dataset import generate_dataset
from plate_ocr.training.distributed import Distributed, HostError, run_in_subprocess

# Augmentation, dropout and a changing learning rate: all that could differ between hosts. Rounding
# does differ. Adam moves a weight by the sign of its gradient, even if that is only rounding; a
# large epsilon and a small learning rate prevent that. Fresh weights crop hardly more than a point,
# where it grows as well.
TRAIN = """
import sys
from dataclasses import replace
from functools import partial

import keras

from plate_ocr.cli import main
from plate_ocr.training.config import CONFIGS

keras.optimizers.Adam = partial(keras.optimizers.Adam, epsilon=1e-3)
CONFIGS["tiny"] = replace(
    CONFIGS["robust"],
    name="tiny", learning_rate=2e-5, batch_size=16, epochs=3, warmup_steps=2, dropout=0.2,
    val_plates=8,
)
sys.exit(main(sys.argv[1:]))
"""
PROGRESS = ("epoch ", "[Gloo]")  # how progress lines begin


def start(folder, name, *arguments):
    command = [sys.executable, "-c", TRAIN, "train", folder / "train", folder / f"{name}.h5"]
    command += ["--config", "tiny", "--initial-weights", PROJECT / "dr_model.h5"]
    command += ["--checkpoints", folder / name, *arguments]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = ("--coordinator-address", address, "--num-processes", 2, "--process-id")
    return [start(folder, "two", *options, index) for index in range(2)]


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=1800)
        assert process.returncode == 0, output


def history(folder):
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))["history"]


@pytest.mark.slow
def test_two_hosts_have_the_loss_curve_of_one(tmp_path):
    # The last of three batches holds 8 plates.
    generate_dataset(tmp_path / "train", count=40)
    finish(start(tmp_path, "one"))
    finish(*start_two(tmp_path))
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(one) == len(two) == 3 and one[0]["loss"] != one[2]["loss"]
    for name in ("loss", "val_loss"):
        expected = pytest.approx([row[name] for row in one], rel=2e-4)
        assert [row[name] for row in two] == expected
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)
    assert {path.suffix for path in tmp_path.glob("two.*")} == {".h5", ".json"}


@pytest.mark.slow
def test_a_lost_host_ends_the_other_with_one_line_and_both_resume(tmp_path):
    generate_dataset(tmp_path / "train", count=40)
    two = tmp_path / "two"
    for epoch, victim in ((1, 1), (2, 0)):
        hosts = start_two(tmp_path)
        while not list(two.glob(f"epoch-00{epoch}.*")):
            assert [host.poll() for host in hosts] == [None, None]
            time.sleep(0.1)
        hosts[victim].kill()
        output, _ = hosts[1 - victim].communicate(timeout=300)
        hosts[victim].communicate()
        assert hosts[1 - victim].returncode == 2, output
        errors = [line for line in output.splitlines() if not line.startswith(PROGRESS)]
        assert len(errors) == 1 and "host" in errors[0] and "checkpoint" in errors[0], output
    finish(*start_two(tmp_path))
    assert [row["epoch"] for row in history(two)] == [1, 2, 3]


def test_a_lost_host_is_reported_in_one_line():
    for error in (ValueError("UNKNOWN: Gloo failed\nat length"), RuntimeError("INTERNAL: lost")):
        with pytest.raises(HostError) as reported, Distributed(1, 2, 2).session():
            raise error
        assert "\n" not in str(reported.value)
    for host, error in (
        (Distributed(1, 2, 2), ValueError("a bug")),
        (Distributed(), ValueError("INTERNAL: x")),
    ):
        with pytest.raises(ValueError, match=str(error)), host.session():
            raise error


def test_work_ended_by_a_signal_is_reported(capfd):
    with pytest.raises(HostError, match="SIGKILL"):
        run_in_subprocess(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert run_in_subprocess(lambda: print("done") or 3) == 3 and capfd.readouterr().out == "done\n"
