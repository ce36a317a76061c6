import pytest

from benchmarks import results, soak
from plate_ocr.utils import read_json


@pytest.mark.parametrize(("step", "code"), [(0, 0), (3, 1)])
def test_memory_that_grows_fails(step, code, monkeypatch, tmp_path):
    megabytes = iter(range(100, 300))
    monkeypatch.setattr(soak, "memory", lambda: 100 + step * next(megabytes))
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert soak.main(readings=400) == code
    result = read_json(tmp_path / "soak.json")
    assert (result["changed"], result["growth_megabytes"]) == (0, 10 * step)
