import json

import pytest

from benchmarks import soak


@pytest.mark.parametrize(("step", "code"), [(0, 0), (3, 1)])
def test_memory_that_grows_fails(step, code, monkeypatch, tmp_path):
    megabytes = iter(range(100, 300))
    monkeypatch.setattr(soak, "memory", lambda: 100 + step * next(megabytes))
    assert soak.main(readings=400, output=tmp_path / "soak.json") == code
    result = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert (result["changed"], result["growth_megabytes"]) == (0, 10 * step)
