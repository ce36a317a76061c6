import json

import pytest

from benchmarks import soak


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    assert soak.main(["--readings", "40000", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert result["changed"] == 0 and result["growth_megabytes"] <= soak.GROWTH
    assert len(result["stages"]) == soak.STAGES


def test_memory_that_grows_is_seen(tmp_path, monkeypatch):
    megabytes = iter(range(100, 300, 3))
    monkeypatch.setattr(soak, "memory", lambda: next(megabytes))
    assert soak.main(["--readings", "400", "--output", str(tmp_path)]) == 1
