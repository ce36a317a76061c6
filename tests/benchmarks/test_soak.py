import pytest

from benchmarks import soak


@pytest.mark.parametrize(("step", "code"), [(0, 0), (3, 1)])
def test_memory_that_grows_fails(step, code, monkeypatch, capsys):
    megabytes = iter(range(100, 300))
    monkeypatch.setattr(soak, "memory", lambda: 100 + step * next(megabytes))
    assert soak.main(readings=400) == code
    assert f"0 readings changed; memory grew by {10 * step}.0 MB" in capsys.readouterr().out
