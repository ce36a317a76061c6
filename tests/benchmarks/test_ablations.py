import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ablation_report, ablations
from benchmarks.ablations import NETWORKS, VARIANTS, build_network, make_font_folder
from benchmarks.report import titles
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.crnn import architecture_hash, build_model
from plate_ocr.network.spatial_transformer import with_box
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.training.config import TrainingError
from plate_ocr.utils import read_json
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


def test_a_folder_has_some_fonts_and_their_first_instances(fonts, monkeypatch, tmp_path):
    monkeypatch.setattr(ablations, "CACHE", tmp_path)
    chosen = load_fonts(make_font_folder(step=4, count=5, instances=1))
    assert [font.family for font in chosen] == [font.family for font in fonts[::4][:5]]
    assert [font.instances for font in chosen] == [font.instances[:1] for font in fonts[::4][:5]]


@pytest.mark.slow
def test_runs_are_kept_and_what_is_missing_is_run(monkeypatch, tmp_path):
    # Three steps each: nothing is read. The first two variants share Part I, the third has none.
    first = {name: VARIANTS[name] for name in ("base", "no_segments")}
    another = {"no_localization": replace(VARIANTS["no_localization"], has_part_1=False)}
    config = replace(ablations.CONFIG, plates=24, batch_size=16, warmup_steps=1)
    changes = {"CONFIG": config, "VARIANTS": first, "PART_1_STEPS": 1, "STEPS": 3, "PART_1": {}}
    changes["is_close_to_base"] = lambda results, name: name == "base"
    for name, value in changes.items():
        monkeypatch.setattr(ablations, name, value)
    sets, path = {"layout": load_benchmark("layout").sample(5)}, tmp_path / "ablations.json"
    ablations.run_all(sets, path)
    results = read_json(path)
    results["runs"]["base"]["seeds"]["2026"]["minutes"] = 99
    path.write_text(json.dumps(results))
    monkeypatch.setattr(ablations, "VARIANTS", first | another)
    ablations.run_all(sets, path)
    seeds = {name: run["seeds"] for name, run in read_json(path)["runs"].items()}
    assert seeds["base"].keys() == {"2026", "2027"}
    assert seeds["no_segments"].keys() == seeds["no_localization"].keys() == {"2026"}
    assert seeds["base"]["2026"]["minutes"] == 99
    assert seeds["no_localization"]["2026"]["sets"]["layout"]["images"] == 5
    assert len(ablations.PART_1) == 2  # one for each seed of the base
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
    assert ablation_report.is_close_to_base(results, "base")
    assert not ablation_report.is_close_to_base(results, "no_segments")
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
