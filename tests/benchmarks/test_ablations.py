from dataclasses import replace

import pytest

from benchmarks.ablations import CONFIG, VARIANTS, run_variant
from plate_ocr.evaluation.benchmark import load_benchmark

TINY = {"plates": 32, "batch_size": 16, "epochs": 1, "warmup_steps": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_crop", "5_fonts"])
def test_a_variant_is_trained_and_evaluated(name):
    config = replace(CONFIG, **VARIANTS[name].config | TINY)
    result = run_variant(name, config, {"layout": load_benchmark("layout").sample(5)})
    assert result["steps"] == 2 and result["sets"]["layout"]["images"] == 5
    assert result["config"]["plates"] == 32
