import json

from benchmarks import soak


def test_memory_that_grows_fails(tmp_path, monkeypatch):
    megabytes = iter(range(100, 300, 3))
    monkeypatch.setattr(soak, "memory", lambda: next(megabytes))
    assert soak.main(["--readings", "400", "--output", str(tmp_path)]) == 1
    result = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert result["changed"] == 0 and result["growth_megabytes"] > soak.MAX_GROWTH
