import json
import subprocess
import sys

import pytest
from conftest import PROJECT

from benchmarks import soak


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    # In a process of its own: what other tests have loaded is collected later.
    command = [sys.executable, "-m", "benchmarks.soak", "--readings", "40000"]
    done = subprocess.run([*command, "--output", tmp_path], cwd=PROJECT, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    result = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert result["changed"] == 0 and result["growth_megabytes"] <= soak.MAX_GROWTH
    assert len(result["stages"]) == soak.STAGES


def test_memory_that_grows_fails(tmp_path, monkeypatch):
    megabytes = iter(range(100, 300, 3))
    monkeypatch.setattr(soak, "memory", lambda: next(megabytes))
    assert soak.main(["--readings", "400", "--output", str(tmp_path)]) == 1
