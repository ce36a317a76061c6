"""Training on several hosts, here two processes that talk over the loopback interface."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.dataset import generate
from plate_ocr.hosts import Host

# With all that could differ between hosts: distortions, dropout and a learning rate that moves.
# Adam moves a weight by the sign of its gradient, be that nothing but rounding, which differs
# between hosts and processors. With a large epsilon, what rounding leaves moves nothing.
TINY = """
import sys
from dataclasses import replace
from functools import partial

import keras

from plate_ocr.__main__ import main
from plate_ocr.training import RECIPES

keras.optimizers.Adam = partial(keras.optimizers.Adam, epsilon=1e-3)
RECIPES["tiny"] = replace(
    RECIPES["shipped"],
    name="tiny", batch_size=16, epochs=3, warmup_steps=2, dropout=0.2, validation_plates=8,
)
sys.exit(main(sys.argv[1:]))
"""


def start(folder, name, *arguments):
    command = [sys.executable, "-c", TINY, "train", folder / "train", folder / f"{name}.h5"]
    command += ["--recipe", "tiny", "--checkpoints", folder / name, *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "KERAS_BACKEND": "jax"}
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=1800)
        assert process.returncode == 0, output


def history(folder):
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))["history"]


@pytest.mark.slow
def test_two_hosts_have_the_loss_curve_of_one(tmp_path):
    generate(tmp_path / "train", count=40, processes=1, progress=False)  # the last batch holds 8
    finish(start(tmp_path, "alone"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = ("--coordinator", address, "--hosts", 2, "--host")
    finish(*(start(tmp_path, "both", *hosts, index) for index in range(2)))
    alone, both = history(tmp_path / "alone"), history(tmp_path / "both")
    assert len(alone) == len(both) == 3
    for name in ("loss", "val_loss"):
        expected = pytest.approx([row[name] for row in alone], rel=1e-5)
        assert [row[name] for row in both] == expected
    assert alone[0]["loss"] != alone[2]["loss"]
    assert {path.suffix for path in tmp_path.glob("both.*")} == {".h5", ".json"}


def test_the_shares_of_all_hosts_are_the_batch():
    batch = np.arange(12)
    shares = [Host(index, 3).share(batch) for index in range(3)]
    assert np.array_equal(np.concatenate(shares), batch)


def test_a_batch_that_cannot_be_shared_is_refused():
    from plate_ocr.dataset import draw_plates
    from plate_ocr.training import ShuffledPlates, TrainingError

    with pytest.raises(TrainingError, match="3 devices cannot share a batch of 4 plates"):
        ShuffledPlates(draw_plates(range(10)), 6, 0, host=Host(0, 3, 3))
