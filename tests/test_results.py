"""Every figure that is told was measured: README and notebooks against results/."""

import json
import re

import nbformat
import pytest
from conftest import PROJECT

from benchmarks import report
from benchmarks.baselines import READERS
from benchmarks.report import percent
from plate_ocr.evaluation.benchmark import SETS, load_benchmark
from plate_ocr.network.crnn import count_macs
from plate_ocr.plates.dataset import SPLITS
from plate_ocr.reading.tta import VIEWS
from tools.scale_page import PAGE, page

# The sets of the comparison that the README shows.
COMPARED = (
    "held_out_fonts",
    "corruptions_1_to_3",
    "corruptions_4_to_5",
    "layout",
    "cross_generator",
)
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def result(name):
    return json.loads((PROJECT / "results" / f"{name}.json").read_text(encoding="utf-8"))


def conclusion(name):
    notebook = nbformat.read(PROJECT / name, as_version=4)
    return notebook.cells[-1].outputs[0]["data"]["text/markdown"]


@pytest.fixture(scope="module", params=["default", "baseline"])
def run(request):
    return result(f"training_{request.param}")


@pytest.fixture(scope="module")
def evaluation():
    return result("evaluation")


def test_the_runs_are_of_full_size(run):
    measured = run["measured"]
    assert (measured["test_plates"], measured["held_out_plates"]) == (60, 9_940)
    assert run["config"]["plates"] == 60_000


def test_the_runs_read_plates_of_the_kind_they_were_trained_on(run):
    measured = run["measured"]
    assert measured["test_correct"] == 60
    assert measured["held_out_correct"] / measured["held_out_plates"] >= 0.9995


def test_the_described_run_ends_lower_than_it_was_told_to_us():
    assert result("training_baseline")["measured"]["loss_on_training_plates"] <= 0.0015


def test_readme_tells_the_runs(run):
    measured = run["measured"]
    for figure in (
        f"{measured['fresh_exact']:,} of {measured['fresh_plates']:,}",
        f"{measured['test_exact']} of {measured['test_plates']}",
        f"{measured['loss_on_training_plates']:.6f}",
        f"{run['epochs']} epochs, kept epoch {run['best_epoch']}",
        f"{run['minutes']:.1f} minutes",
    ):
        assert figure in README, figure


def test_readme_tells_what_the_demo_prints():
    summary = result("test")["summary"]
    for decoding, key in (("", "exact_match"), ("greedy ", "exact_match_greedy")):
        right = round(summary[key] * summary["images"])
        line = f"\n{decoding}exact match  {right}/{summary['images']}  {100 * summary[key]:.2f} %\n"
        assert line in README, key


def test_readme_tells_the_evaluation(evaluation):
    for name, one in evaluation["sets"].items():
        if name in ("tuning", "corruptions"):  # told in two parts, or not at all
            continue
        tta = evaluation["tta"]["sets"][name]
        told = f"{one['exact']:,} of {one['images']:,} | {one['exact_match']:.2%} |"
        told += f" {tta['exact']:,} | {tta['exact_match']:.2%} |"
        assert told in README.replace(" %", "%"), name
    certainty, tta = evaluation["confidence"], evaluation["tta"]["confidence"]
    for name in ("held_out_fonts", "corruptions_4_to_5"):  # mistakes that looking again leaves
        sets = (evaluation["sets"][name], evaluation["tta"]["sets"][name])
        once, careful_wrong = (one["images"] - one["correct"] for one in sets)
        assert re.search(rf"of {once} (mistakes )?\D+{careful_wrong}\b", CHANGELOG), name
    for rate in ("ece", "coverage_at_99.9_precision"):
        told = " | ".join(f"{100 * one[rate]:.2f} %" for one in (certainty, tta))
        assert f"| {told} |" in README, rate
    for area in ("auroc_error_detection", "auroc_ood"):
        assert f"| {certainty[area]:.4f} | {tta[area]:.4f} |" in README, area
    thresholds = (one["threshold_at_99.9_precision"] for one in (certainty, tta))
    assert f"threshold for it | {' | '.join(f'{least:.3f}' for least in thresholds)} |" in README
    raw = f"{100 * certainty['ece_uncalibrated']:.2f} %"
    card = (PROJECT / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"even closer: {raw}" in README and f"uncalibrated: {raw}" in card
    least = f"{certainty['threshold_at_99.9_precision']:.3f}"
    page = (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
    assert f"from {least} on" in README and f"from {least} on" in page


def test_the_page_tells_what_looking_again_brings():
    page = (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
    found = result("tta")
    description = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    earlier = found["weights"] != description["sha256"]["dr_model.h5"]
    assert ("The figures are of the weights before these" in page) == earlier
    on_tuning, on_labels = (found["sets"][name]["wrong"] for name in ("tuning", "labels"))
    for told, way in (("one look", "once"), ("all six looks", "all views")):
        assert f"| {told} | {on_tuning[way]:,} | {on_labels[way]:,} |" in page
    for name in VIEWS:
        way = f"without {name}"
        assert f"| all but {name} | {on_tuning[way]:,} | {on_labels[way]:,} |" in page
    for rates in found["plates_per_second"]["onnx"].values():
        assert f"{rates['careful']:,} in place of {rates['once']:,}" in page
    for told, share, kind in (
        ("two thirds as many", 2 / 3, "tuning"),
        ("two fifths where", 2 / 5, "labels"),
    ):
        rates = found["plates_per_second"]["onnx"][kind]
        assert rates["tta"] / rates["once"] == pytest.approx(share, abs=0.05)
        assert told in README


def test_the_model_card_tells_the_evaluation(evaluation):
    card = (PROJECT / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name, one in evaluation["sets"].items():
        if name in ("tuning", "corruptions"):
            continue
        rates = (one["exact_match"], one["exact_match_greedy"], one["character_error_rate"])
        told = " | ".join(f"{100 * rate:.2f} %" for rate in rates)
        assert f"{one['images']:,} | {told} |" in card, name
    again = evaluation["tta"]["sets"]
    for name in (
        "held_out",
        "held_out_fonts",
        "corruptions_1_to_3",
        "corruptions_4_to_5",
        "layout",
    ):
        assert f"{100 * again[name]['exact_match']:.2f} %" in card, name
    assert f"{100 * again['cross_generator']['exact_match']:.2f} % of the other" in card
    certainty, run = evaluation["confidence"], result("training_default")
    for figure in (
        f"calibration error {100 * certainty['calibration_error']:.2f} %",
        f"coverage at 99.9 % precision {100 * certainty['coverage_at_99.9_precision']:.2f} %",
        f"{certainty['auroc_error_detection']:.4f}",
        f"{certainty['auroc_ood']:.4f}",
        f"{run['epochs']} epochs, {run['minutes']:.1f} minutes",
        f"On {certainty['plates']:,} plates",
        f"{round(run['config']['plates']):,} plain plates",
    ):
        assert figure in card, figure
    fonts, kinds = evaluation["unseen_fonts_by_font"], evaluation["unseen_fonts_by_kind"]
    worst = ", ".join(f"{name} ({right} of {of})" for name, (right, of) in [*fonts.items()][:5])
    assert f"Worst fonts: {worst}" in card
    worst = ", ".join(f"{name} {right / of:.1%}" for name, (right, of) in [*kinds.items()][:3])
    assert f"Worst kinds: {worst}" in card.replace(" %", "%")


@pytest.mark.parametrize(
    ("run", "plates"),
    [
        ("default", ["corruptions", "held_out_fonts", "held_out"]),
        ("no_augmentation", ["corruptions"]),
        ("5_fonts", ["held_out_fonts"]),
        ("100_families", ["held_out_fonts"]),
        ("6000_plates", ["held_out"]),
        ("whole_plate", ["held_out_fonts"]),
        ("rows_as_time", ["held_out_fonts"]),
        ("no_blended_faces", ["held_out_fonts"]),
        ("no_handwriting", ["held_out_fonts"]),
    ],
)
def test_readme_tells_the_ablations(run, plates):
    sets = result("ablations")["runs"][run]["sets"]
    for name in plates:
        assert f"{100 * sets[name]['exact_match']:.1f} %" in README, name


def test_the_ablations_are_of_the_network_told():
    described = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    runs = result("ablations")["runs"]
    earlier = runs["default"]["network"] != described["network"]
    for text in (README, CHANGELOG):
        assert ("are of the network before, with 32 time steps" in text) == earlier
    assert "Each of the thirteen changes" in README and len(runs) == 1 + 13
    for name, run in runs.items():
        assert 1 <= run["steps"] / runs["default"]["steps"] < 1.03, name


def test_the_evaluation_is_of_the_committed_weights(evaluation):
    description = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    assert evaluation["weights"] == description["sha256"]
    assert evaluation["calibration"] == description["calibration"]


def test_readme_tells_the_size_of_the_network():
    from plate_ocr.network.crnn import build_model

    model = build_model()
    assert f"{model.count_params():,} parameters" in README
    assert f"{count_macs(model) / 1e6:.1f} million multiply-adds" in README
    described = result("benchmark")["networks"]["baseline"]
    told = f"{described['parameters'] / 1e6:.2f} M parameters, "
    told += f"{described['multiply_adds'] / 1e6:.0f} M multiply-adds"
    card = (PROJECT / "MODEL_CARD.md").read_text(encoding="utf-8")
    for text, figure in ((README, told), (card, f"{model.count_params():,} parameters")):
        assert figure in text, figure


def test_the_dataset_card_tells_the_sets():
    card = (PROJECT / "data" / "README.md").read_text(encoding="utf-8")
    page = (PROJECT / "data" / "benchmark" / "README.md").read_text(encoding="utf-8")
    total = 0
    for name, stems in SETS.items():
        images = len(load_benchmark(name, PROJECT / "data" / "benchmark").labels)
        files = ", ".join(f"`{stem}.npz`" for stem in stems)
        assert f"| {files} | {images:,} |" in page, name
        total += images
    assert f"| `benchmark` | {total:,} |" in card
    for name in ("train", "validation", "test"):
        start, count = SPLITS[name]
        assert f"| `{name}` | {count:,} | {start:,} to {start + count - 1:,} |" in card
    start, count = SPLITS["benchmark"]
    for one in (card, page):
        assert f"{start:,} to {start + count - 1:,}" in one
    fonts = json.loads((PROJECT / "fonts" / "fonts.json").read_text(encoding="utf-8"))
    instances = sum(len(font["instances"]) for font in fonts)
    told = (PROJECT / "fonts" / "README.md").read_text(encoding="utf-8")
    assert f"{len(fonts)} families with open licences, {instances} instances" in told
    assert f"{len(fonts)} families" in README and f"{len(fonts)} families" in card


def test_the_notebooks_conclude_with_the_measured_figures(evaluation):
    shipped, measured = result("training_default"), result("training_default")["measured"]
    told = conclusion("training.ipynb")
    assert f"{measured['fresh_exact']:,} of {measured['fresh_plates']:,}" in told
    assert f"{measured['loss_on_training_plates']:.6f}" in told
    assert f"for {shipped['epochs']} epochs" in told
    told = conclusion("evaluation.ipynb")
    for name in ("held_out", "held_out_fonts", "layout", "cross_generator"):
        assert f"**{evaluation['sets'][name]['exact_match']:.2%}**" in told


def test_readme_tells_the_versions_that_were_tried():
    for one in result("compatibility").values():
        keras, backend = (
            (name, version) for name, version in one["versions"].items() if name != "numpy"
        )
        name = {"tensorflow": "TensorFlow", "jax": "JAX"}[backend[0]]
        assert f"Keras {keras[1]} with {name} {backend[1]}" in README
        assert one["largest_difference_of_a_logit"] <= 1e-4


@pytest.mark.parametrize("page", [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links or page.parent != PROJECT
    for link in links:
        assert link.startswith("http") or (page.parent / link).exists(), link


def times_the_fastest_other(found):
    trained = [peer.key for peer in READERS if peer.trained]
    best = {key: max(found["readers"][key]["plates_per_second"].values()) for key in trained}
    return best["openvino"] / max(best[key] for key in best if key not in ("openvino", "plate_ocr"))


def test_readme_tells_the_comparison_with_others():
    found = result("benchmark")
    plates = found["sets"]
    rows = {peer.key: peer.title for peer in READERS if peer.trained}
    assert found["readers"].keys() >= rows.keys()
    for key, title in rows.items():
        one = found["readers"][key]
        if "failed" in one:
            continue
        shares = [percent(one["correct"][name], plates[name]) for name in COMPARED]
        rates = one["plates_per_second"]
        speed = [f"{rates['1']:,.0f}", f"{max(rates.values()):,.0f}", f"{one['start_seconds']:.2f}"]
        assert f"| {title} | {' | '.join([*shares, *speed])} |" in README, title
    captchas = percent(found["readers"]["ppocr_small"]["correct"]["captcha"], plates["captcha"])
    assert f"captchas ({captchas} %) better" in README
    described = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))
    earlier = found["weights_sha256"] != described["sha256"]["dr_model.onnx"]
    assert ("are of the weights before these" in README) == earlier
    assert f"{found['import_only_seconds']:.2f} s" in README
    assert f"{times_the_fastest_other(found):.1f} times" in README
    for processor in ("avx2", "vnni"):
        there = result(f"benchmark_{processor}")
        assert f"{times_the_fastest_other(there):.1f} times" in README
        earlier = there["weights_sha256"] != found["weights_sha256"]
        assert earlier == (processor == "avx2")  # "with the network before"
    assert "With the network before" in README


def test_every_table_of_the_comparison_is_of_its_figures():
    for name in ("benchmark", "benchmark_avx2", "benchmark_vnni"):
        table = (PROJECT / "results" / f"{name}.md").read_text(encoding="utf-8")
        assert table.strip() == report.markdown(result(name)).strip(), name


def test_the_page_on_scale_is_of_these_results():
    assert PAGE.read_text(encoding="utf-8") == page()  # else: python tools/scale_page.py


def test_the_page_tells_the_networks_that_were_tried():
    from benchmarks.architectures import NETWORKS
    from plate_ocr.network.crnn import architecture_hash

    tried = result("architectures")["networks"]
    assert tried.keys() == NETWORKS.keys()
    for name, network in NETWORKS.items():
        assert tried[name]["network"] == architecture_hash(network.build()), name
    page = (PROJECT / "docs" / "networks.md").read_text(encoding="utf-8")
    for name, one in result("architectures")["precisions"].items():
        told = (f"{one['plates_per_second']:,}", f"{one['exact']:,} of 3,000")
        assert f"| {name} | {' | '.join(told)} | {one['unlike_float32']} |" in page, name
    for one in (*tried.values(), *result("architectures_whole_plates")["networks"].values()):
        assert one["parameters"] <= 400_000 and one["multiply_adds"] <= 30_000_000
        told = (
            one["change"],
            f"{one['parameters']:,}",
            f"{one['multiply_adds'] / 1e6:.1f} M",
            *(f"{rate:,}" for rate in one["plates_per_second"].values()),
            *(f"{rate:,}" for rate in one.get("one_at_a_time", {}).values()),
            *(f"{100 * one['sets'][of]['exact_match']:.1f} %" for of in ("tuning", "held_out")),
        )
        assert f"| {' | '.join(told)} |" in page, one["change"]
