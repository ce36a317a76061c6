"""The generated tables and numbers of README, docs, model card and results/*.md.

A page marks where one belongs: `<!-- results: NAME -->` before it, `<!-- end -->` after it.
`python -m tools.figures` fills them from results/.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks import ablation_report, report
from benchmarks.baselines import READERS
from benchmarks.environments import PROJECT, RESULTS
from benchmarks.real import ALL, result_table
from benchmarks.report import grid, percent, titles
from plate_ocr.evaluation.benchmark import POOLED
from plate_ocr.network.crnn import build_model, count_macs, count_parameters
from plate_ocr.utils import read_json, write_text

PAGES = (PROJECT / "README.md", PROJECT / "MODEL_CARD.md", *sorted(PROJECT.glob("docs/*.md")))
BLOCK = re.compile(r"(<!-- results: (\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)
NOT_MEASURED = "not measured with these weights"
HOSTS = 100  # of the computed times
RUNS = {"training_described": "Part I", "training_robust": "Part II"}
# Settings of the table of runs, in the order of its rows.
SETTINGS = {
    "learning_rate": "peak learning rate",
    "warmup_steps": "warm-up steps (0: constant rate)",
    "batch_size": "batch size",
    "epochs": "maximum epochs",
    "patience": "patience of early stopping, epochs",
    "box_weight": "weight of the box loss",
    "plates": "training plates",
    "val_plates": "validation plates",
    "test_plates": "test plates",
    "augment": "augmentation",
    "styles": "probabilities of the styles",
    "surroundings_prob": "probability of surroundings",
    "dropout": "dropout",
}
STYLES = {
    "interpolated": "interpolated fonts",
    "segments": "seven-segment displays",
    "counters": "rolling counters",
    "squared": "squared digits",
}
SHOWN_ENGINES = ("ppocr_small", "ppocr_tiny", "rapidocr", "tesseract")
CONFIDENCE = {
    "ece": ("expected calibration error, 15 bins", ".2%"),
    "auroc_error_detection": ("AUROC, correct against wrong", ".4f"),
    "auroc_ood": ("AUROC, plates against images of no plate", ".4f"),
    "coverage_at_99.9_precision": ("coverage at 99.9% precision", ".2%"),
    "threshold_at_99.9_precision": ("confidence threshold for it", ".3f"),
}


class ResultsError(RuntimeError):
    """A result cannot be shown, or a page asks for what is not there; the message names it."""


def load(name: str) -> dict:
    """`results/<name>.json`.

    Raises:
        ResultsError: it was measured with other weights than the shipped ones; ablations train
            weights of their own, but the same network.
    """
    result, key = read_json(RESULTS / f"{name}.json"), "weights"
    if name == "training_described":  # made the weights that the training of the shipped began from
        expected = load("training_robust")["initial_weights"]
    elif name == "ablations":
        expected, key = read_json(PROJECT / "dr_model.json")["network"], "network"
    else:
        expected = read_json(PROJECT / "dr_model.json")["sha256"]["dr_model.h5"]
    if result.get("origin", {}).get(key) != expected:
        raise ResultsError(f"results/{name}.json: measured with other {key}; measure it again")
    return result


def load_if_measured(name: str) -> dict | None:
    """The same, of images that are not in the repository; `None` if these weights read none."""
    try:
        return load(name)
    except (FileNotFoundError, ResultsError):
        return None


def load_ablations() -> dict | None:
    """The ablations; `None` before they have two seeds of the base, and so the noise."""
    result = load_if_measured("ablations")
    return result if result and len(result["runs"]["base"]["seeds"]) > 1 else None


def all_sets() -> tuple[dict, dict]:
    """What our reader read on every set, and with test-time augmentation."""
    single, tta = {}, {}
    for result in filter(None, (load("evaluation"), load_if_measured("real"))):
        single |= result["sets"]
        tta |= result["tta"]["sets"]
    return single, tta


def accuracy() -> str:
    """Exact match of our reader and other engines; the best of every set in bold."""
    single, tta = all_sets()
    correct = {
        title: {name: part["correct"] for name, part in sets.items()}
        for title, sets in (("plate_ocr", single), ("plate_ocr, TTA", tta))
    }
    engines = load("benchmark")["readers"]
    for engine in READERS:
        if engine.key in SHOWN_ENGINES:
            correct[engine.title] = engines[engine.key].get("correct", {})
    return report.accuracy_table({name: part["images"] for name, part in single.items()}, correct)


def better_engines() -> str:
    """Where other engines are better than our reader."""
    return report.better_engines(load("benchmark"))


def better_sets() -> str:
    """On which sets another engine is better than our reader."""
    return report.better_sets(load("benchmark"))


def exact_match() -> str:
    """Exact match of our reader on every set."""
    single, tta = all_sets()
    rows = {
        title: {"plates": f"{single[name]['images']:,}"}
        | {
            column: percent(part[name]["correct"], part[name]["images"])
            for column, part in (("one view", single), ("with TTA", tta))
        }
        for name, title in titles(single).items()
    }
    return grid("exact match, %", rows)


def metrics() -> str:
    """Exact match and character error rate of our reader on every set."""
    sets, tta_sets = all_sets()
    rows = {}
    for name, title in titles(sets).items():
        single, tta = sets[name], tta_sets[name]
        rates = {
            "greedy decoding": single["exact_match_greedy"],
            "exact match": single["exact_match"],
            "character error rate": single["character_error_rate"],
            "exact match, TTA": tta["exact_match"],
            "character error rate, TTA": tta["character_error_rate"],
        }
        rows[title] = {"plates": f"{single['images']:,}"}
        rows[title] |= {column: f"{100 * rate:.2f}" for column, rate in rates.items()}
    return grid("%", rows)


def confidence() -> str:
    """How well the confidence is calibrated, and what it separates."""
    evaluation = load("evaluation")
    columns = {"P(text)": evaluation, "with TTA": evaluation["tta"]}
    if evaluation["platt_scaling"]:
        columns["with Platt scaling"] = evaluation["platt_scaling"]
    rows = {
        title: {name: f"{result['confidence'][key]:{form}}" for name, result in columns.items()}
        for key, (title, form) in CONFIDENCE.items()
    }
    return grid("confidence", rows)


def real() -> str:
    """Accuracy and confidence on real images, which are not in the repository."""
    result = load_if_measured("real")
    return result_table(result) if result else NOT_MEASURED


def fine_tuning() -> str:
    """Exact match before and after fine-tuning on some numbers of images."""
    result, rows = load_if_measured("fine_tuning"), {}
    if not result:
        return NOT_MEASURED
    for run in result["runs"]:
        synthetic, fonts = run["synthetic plates"], run["held-out fonts"]
        plates = f"{synthetic['images']:,} synthetic plates"
        before = (
            f"Before: {percent(synthetic['before'], synthetic['images'])} on the synthetic plates, "
            f"{percent(fonts['before'], fonts['images'])} on held-out fonts."
        )
        name = report.SETS.get(f"{run['name']}/test", run["name"]).removeprefix("real: ")
        rows[f"{run['images']:,} {name}"] = {
            "test, before": percent(run["test"]["before"], run["test"]["images"]),
            "test, after": percent(run["test"]["after"], run["test"]["images"]),
            f"{plates}, after": percent(synthetic["after"], synthetic["images"]),
            "held-out fonts, after": percent(fonts["after"], fonts["images"]),
            "test, calibration error": f"{100 * run['test']['ece']:.1f}",
            "minutes": f"{run['minutes']:.1f}",
        }
    return f"{grid('exact match, %', rows)}\n{before}\n"


def training_runs() -> str:
    """Configuration and outcome of both parts."""
    rows: dict[str, dict[str, str]] = {}
    for name, part in RUNS.items():
        run = load(name)
        measured, config = run["measured"], run["config"]
        cells = {title: setting(config[key]) for key, title in SETTINGS.items()} | {
            "epochs trained": f"{run['epochs']}, best {run['best_epoch']}",
            "minutes": f"{run['minutes']:.1f}",
            "minutes at the median epoch time": f"{median_minutes(run):.1f}",
            "device, precision": f"{run['device']}, {run['precision']}",
            "CTC loss on clean training plates": f"{measured['loss_on_training_plates']:.6f}",
            "correct, held-out numbers": f"{measured['held_out_correct']:,} of "
            f"{measured['held_out_plates']:,}",
            "correct, `data/test`": f"{measured['test_correct']} of {measured['test_plates']}",
        }
        for title, cell in cells.items():
            rows.setdefault(title, {})[part] = cell
    return grid("", rows)


def median_minutes(run: dict) -> float:
    """Minutes of a training run if every epoch took the median time."""
    return run["epochs"] * median(row["seconds"] for row in run["history"]) / 60


def setting(value: Any) -> str:
    """A setting of a configuration, as a cell."""
    if isinstance(value, dict):
        return ", ".join(f"{STYLES.get(key, key)} {p:g}" for key, p in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,g}"


def tta_ablation() -> str:
    """Errors with one view, with all, and with some of them."""
    rows: dict[str, dict[str, str]] = {}
    for name, result in load("tta")["sets"].items():
        for views, wrong in result["wrong"].items():
            rows.setdefault(views, {})[f"{name}, {result['plates']:,} plates"] = f"{wrong:,}"
    return grid("errors", rows)


def tta_throughput() -> str:
    """Plates per second with and without test-time augmentation."""
    rows = {
        f"{report.SETS.get(name, name)}, {backend}": {
            views: f"{rate:,}" for views, rate in rates.items()
        }
        for backend, sets in load("tta")["plates_per_second"].items()
        for name, rates in sets.items()
    }
    return grid("plates/s, one thread", rows)


def profile() -> str:
    """Where the time of a reading goes, and how near the network is to the peak of a core."""
    measured = load("profile")
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for size, batch in measured["batches"].items():
        stages, column = dict(batch["microseconds"]), f"batch of {size}"
        total, network = stages.pop("read"), stages["network"]
        stages["everything else"] = max(total - sum(stages.values()), 0)
        for stage, time in stages.items():
            rows[stage][column] = f"{time:,.0f} µs, {time / total:.0%}"
            if stage == "network":
                for part, share in batch["network"].items():
                    rows[f"- {part}"][column] = f"{share * network:,.0f} µs"
        rows["read"][column] = f"{total:,.0f} µs"
        rows["network, GFLOP/s"][column] = f"{batch['gflops']:.0f} of {measured['peak_gflops']:.0f}"
    return grid("stage, per plate", rows)


def ablations() -> str:
    """What every change of the training does: figure, short table and where they are from."""
    results = load_ablations()
    if not results:
        return NOT_MEASURED
    link = "![Difference of every change from the base by group of sets](../results/ablations.png)"
    parts = link, ablation_report.short_table(results), ablation_report.caption(results)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def networks() -> str:
    """The network against larger and smaller ones."""
    results = load_ablations()
    return ablation_report.short_table(results, networks=True) if results else NOT_MEASURED


def compatibility() -> str:
    """The largest difference of a logit in other versions of Keras."""
    rows = {}
    for tried in load("compatibility")["environments"].values():
        versions = ", ".join(map(" ".join, tried["versions"].items()))
        rows[versions] = {
            "largest difference of a logit": f"{tried['largest_difference_of_a_logit']:.0e}"
        }
    return grid("versions", rows)


def model_size() -> str:
    """Parameters and multiply-adds of the network."""
    model = build_model()
    macs = count_macs(model) / 1e6
    return f"{count_parameters(model):,} parameters, {macs:,.1f} million multiply-adds per plate"


def speed() -> str:
    """Plates per second of our reader and of the fastest other engines."""
    readers = report.measured(load("benchmark"))
    best = {reader: max(part["plates_per_second"].values()) for reader, part in readers.items()}
    ours = READERS[0]
    others = {reader.title: round(best[reader]) for reader in best if reader.loader != ours.loader}
    fastest = [title for title, rate in others.items() if rate == max(others.values())]
    return (
        f"{readers[ours]['plates_per_second']['1']:,.0f} plates per second at batch size 1 and "
        f"{best[ours]:,.0f} in larger batches, against {max(others.values()):,} of the fastest "
        f"other engines, {' and '.join(fastest)}"
    )


def real_summary() -> str:
    """How much worse real images are read than synthetic ones."""
    result, evaluation = load_if_measured("real"), load("evaluation")
    if not result:
        return f"Real images: {NOT_MEASURED}."

    def span(sets: Iterable[dict], form: str) -> str:
        rates = [part["exact_match"] for part in sets]
        return " to ".join(f"{100 * end:{form}}" for end in (min(rates), max(rates)))

    real_sets, synthetic = result["sets"], evaluation["sets"]
    both = real_sets[ALL]
    return (
        "Real images are read worse: "
        f"{span([part for name, part in real_sets.items() if name != ALL], '.0f')}% exact match, "
        f"against {span([synthetic[name] for name in POOLED], '.1f')}% on held-out fonts, "
        f"corruptions, layout and cross-generator (captcha: "
        f"{100 * synthetic['captcha']['exact_match']:.0f}%). Their expected calibration error is "
        f"{100 * both['ece']:.0f}% on all {both['images']:,} images together "
        f"({100 * evaluation['confidence']['ece']:.1f}% on the synthetic ones); "
        "with so few images it is overestimated."
    )


def scale() -> str:
    """What one host draws and reads on Ray, and what a million readings do to a process."""
    ray, soak = load("scale"), load("soak")
    early, late = soak["per_second"]
    rows = {
        f"`draw-many`, {ray['cores']} cores": f"{ray['drawn_per_second']:,} plates/s",
        f"`read-many`, {ray['cores']} cores": f"{ray['read_per_second']:,} plates/s",
        "a plate in Parquet": f"{ray['bytes_per_plate']:,} bytes",
        f"{soak['readings']:,} readings in one process: growth of memory, from the second quarter "
        "to the last": f"{soak['growth_megabytes']:+.1f} MB",
        "- plates/s in the second quarter and in the last": f"{early:,} and {late:,}",
        "- readings that changed": f"{soak['changed']:,}",
    }
    return grid(ray["origin"]["machine"], {row: {"measured": cell} for row, cell in rows.items()})


def scale_computed() -> str:
    """What a billion plates would take."""
    ray = load("scale")
    hours = [1e9 / HOSTS / ray[f"{task}_per_second"] / 3600 for task in ("drawn", "read")]
    return (
        f"a billion plates take {ray['bytes_per_plate']:,} GB, and {HOSTS} such hosts draw them in "
        f"{hours[0]:.1f} hours and read them in {hours[1]:.1f}"
    )


def ray_cost() -> str:
    """What Ray costs where one process would do."""
    ray, soak = load("scale"), load("soak")
    return (
        f"{ray['read_per_second']:,} plates/s with Ray and its start, against "
        f"{soak['per_second'][0]:,} in one process"
    )


def training_time() -> str:
    """How long both parts of the training took, and on what."""
    runs = [load(name) for name in RUNS]
    hours = sum(run["minutes"] for run in runs) / 60
    steady = sum(map(median_minutes, runs)) / 60
    text = f"The training of the shipped weights took {hours:.1f} hours on a {runs[-1]['device']}"
    if hours - steady < 0.1:
        return f"{text}."
    return f"{text}, with pauses of the machine; at the median epoch time, {steady:.1f} hours."


def calibration_error() -> str:
    """The expected calibration error on synthetic test sets."""
    return f"{load('evaluation')['confidence']['ece']:.2%}"


def coverage() -> str:
    """The fraction of plates that can be accepted with one error in a thousand."""
    return f"{load('evaluation')['confidence']['coverage_at_99.9_precision']:.1%}"


def threshold() -> str:
    """The confidence from which on one reading in a thousand is wrong."""
    return f"{load('evaluation')['confidence']['threshold_at_99.9_precision']:.3f}"


BLOCKS = {
    function.__name__: function
    for function in (ablations, accuracy, better_engines, better_sets, calibration_error,
                     compatibility, confidence, coverage, exact_match, fine_tuning, metrics,
                     model_size, networks, profile, ray_cost, real, real_summary, scale,
                     scale_computed, speed, threshold, training_runs, training_time, tta_ablation,
                     tta_throughput)
}  # fmt: skip


def fill(page: str) -> str:
    """Fill the blocks of a Markdown page; a `ResultsError` names one that is unknown."""

    def filled(match: re.Match) -> str:
        start, name, _, end = match.groups()
        if name not in BLOCKS:
            raise ResultsError(f"there is no block {name} of results")
        content = BLOCKS[name]()
        return f"{start}\n\n{content}\n{end}" if "\n" in content else f"{start}{content}{end}"

    return BLOCK.sub(filled, page)


def reports() -> dict[str, str]:
    """The pages in results/ that are generated as a whole: name -> content."""
    pages = {"benchmark.md": report.markdown(load("benchmark"))}
    if results := load_ablations():
        pages["ablations.md"] = ablation_report.markdown(results)
    return pages


def write_pages() -> None:
    """Fill the blocks of all pages, and write the reports of the comparison and the ablations."""
    for page in PAGES:
        write_text(page, fill(page.read_text(encoding="utf-8")))
    for name, content in reports().items():
        write_text(RESULTS / name, content)
