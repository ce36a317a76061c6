import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ablation_report, ablations
from benchmarks.ablations import NETWORKS, VARIANTS, build_network
from benchmarks.report import titles
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.crnn import architecture_hash, build_model
from plate_ocr.network.spatial_transformer import with_box
from plate_ocr.training.config import TrainingError
from tools import tables


def test_the_base_is_the_network_as_it_is_trained():
    expected, found = with_box(build_model()), build_network()
    assert architecture_hash(found) == architecture_hash(expected)
    assert found.count_params() == expected.count_params()


def test_networks_have_other_sizes():
    sizes = [build_network(**variant.network).count_params() for variant in NETWORKS.values()]
    assert len(set(sizes)) == len(sizes)


def test_time_steps_are_rows_or_columns_of_the_whole_plate():
    """Each logit depends on its surroundings alone where no LSTM carries anything on."""
    plates = np.random.default_rng(0).integers(0, 255, (1, 64, 128, 1), np.uint8)
    for name, axis in (("rows_as_time", 1), ("no_localization", 2)):
        model = build_network(**VARIANTS[name].network, lstm_layers=0)
        changed = plates.copy()
        changed[(slice(None),) * axis + (slice(-8, None),)] = 0
        before, after = (
            model.predict(images, verbose=0)["logits"][0] for images in (plates, changed)
        )
        differs = np.abs(after - before).max(axis=1) > 1e-6
        assert differs[-1] and not differs[: len(differs) // 4].any()


@pytest.mark.slow
def test_runs_are_kept_and_what_is_missing_is_run(monkeypatch, tmp_path):
    # Variants of every kind in three steps each: nothing is read, and none differs from the base.
    config = replace(ablations.CONFIG, plates=24, batch_size=16, warmup_steps=1)
    names = ("base", "no_segments", "no_part_1", "5_fonts", "no_localization")
    monkeypatch.setattr(ablations, "CONFIG", config)
    monkeypatch.setattr(ablations, "VARIANTS", {name: VARIANTS[name] for name in names})
    monkeypatch.setattr(ablations, "PART_1_STEPS", 1)
    monkeypatch.setattr(ablations, "STEPS", 3)
    sets, path = {"layout": load_benchmark("layout").sample(5)}, tmp_path / "ablations.json"
    ablations.run_all(sets, path)
    results = json.loads(path.read_text())
    runs = results["runs"]
    assert list(runs) == list(ablations.VARIANTS)
    for run in runs.values():
        assert set(run["seeds"]) == {"2026", "2027"}
        assert run["seeds"]["2026"]["sets"]["layout"]["images"] == 5
    kept = runs["base"]["seeds"]["2026"]["minutes"] = 99
    del runs["no_segments"]["seeds"]["2027"]
    path.write_text(json.dumps(results))
    ablations.run_all(sets, path)
    runs = json.loads(path.read_text())["runs"]
    assert runs["base"]["seeds"]["2026"]["minutes"] == kept
    assert set(runs["no_segments"]["seeds"]) == {"2026", "2027"}
    with pytest.raises(TrainingError, match=r"ablations\.json"):
        ablations.run_all({"segments": load_benchmark("segments").sample(5)}, path)


SETS = {"held_out_fonts": 200, "corruptions_1_to_3": 100, "corruptions_4_to_5": 100,
        "layout": 100, "cross_generator": 100, "segments": 100, "meters/test": 50}  # fmt: skip
BASE_RATES = (0.80, 0.82)  # of both seeds


def made_up(**variants):
    """Results in which a variant has the same exact match on all sets, for one or two seeds."""
    runs = {}
    for name, values in ({"base": BASE_RATES} | variants).items():
        seeds = {}
        for seed, value in enumerate(values):
            rates = {"exact_match": value, "exact_match_greedy": value - 0.1}
            seeds[str(seed)] = {"minutes": 3.0, "sets": dict.fromkeys(SETS, rates)}
        variant = {"title": VARIANTS[name].title, "network": VARIANTS[name].network}
        runs[name] = {"variant": variant, "parameters": 1_000, "macs": 5e6, "seeds": seeds}
    settings = {"images": SETS, "steps": [400, 1_000], "batch_size": 64}
    network = architecture_hash(build_model())
    origin = {"network": network, "machine": "a processor", "date": "2026-11-30"}
    return {"origin": origin, "settings": settings, "runs": runs}


def table_of(results, build=ablation_report.full_table, **options):
    lines = build(results, **options).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {title: cells for title, *cells in rows}


def test_differences_beyond_the_noise_are_bold():
    results = made_up(no_counters=(0.79,), no_segments=(0.72,), half_filters=(0.70, 0.72))
    rows = table_of(results)
    count = len(titles(SETS))
    assert rows[VARIANTS["base"].title] == ["2", *["81.0%"] * (count + 1)]
    assert rows["no counters"] == ["1", "**-2.0**", *["-2.0"] * count]
    assert rows["no seven-segment displays"] == ["1", *["**-9.0**"] * (count + 1)]
    assert rows["greedy decoding"] == ["2", *["**-10.0**"] * (count + 1)]
    # Twice the standard error: a deviation of 1.25 points, two seeds of the base.
    for title, noise in (("noise, one seed", 2.5 * 1.5**0.5), ("noise, two seeds", 2.5)):
        single = f"± {noise:.1f}"
        assert rows[title] == ["-", f"± {noise / count**0.5:.1f}", *[single] * count]
    assert VARIANTS["half_filters"].title not in rows
    networks = table_of(results, networks=True)
    assert networks["half the filters"] == ["1,000", "5.0", "2", *["**-10.0**"] * (count + 1)]
    assert "no counters" not in networks and "greedy decoding" not in networks
    # All sets, three, two, one and one: the noise of a mean is lower.
    short = table_of(results, ablation_report.short_table)
    assert short["no counters"] == ["1", "**-2.0**", "**-2.0**", "-2.0", "-2.0", "-2.0"]


def test_pages_show_the_ablations_of_this_network_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    path = tmp_path / "ablations.json"
    unmeasured = tables.ablations(), tables.networks()
    results = made_up(no_counters=(0.79,), half_filters=(0.70, 0.72))
    path.write_text(json.dumps(results))
    assert "| no counters | 1 | **-2.0** | **-2.0** | -2.0 |" in tables.ablations()
    assert "| half the filters | 1,000 |" in tables.networks()
    both = ablation_report.markdown(results)
    assert "| no counters | 1 | **-2.0** | -2.0 |" in both and "| half the filters |" in both
    path.write_text(json.dumps(results | {"origin": {"network": "0" * 64}}))
    assert (tables.ablations(), tables.networks()) == unmeasured
