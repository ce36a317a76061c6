"""The generated tables and numbers of README, docs and model card.

A page marks where one belongs: `<!-- results: NAME -->` before it, `<!-- end -->` after it.
`python -m tools.figures` fills them from results/.
"""

import re
from collections import ChainMap
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.baselines import READERS
from benchmarks.real import result_table
from benchmarks.report import table, titles
from plate_ocr.network.crnn import build_model, count_macs
from plate_ocr.utils import read_json, write_text

PROJECT = Path(__file__).parents[1]
RESULTS = PROJECT / "results"
PAGES = (PROJECT / "README.md", PROJECT / "MODEL_CARD.md", *sorted(PROJECT.glob("docs/*.md")))
BLOCK = re.compile(r"(<!-- results: (\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)
CONFIDENCE = {
    "ece": ("expected calibration error, 15 bins", ".2%"),
    "auroc_error_detection": ("AUROC, correct against incorrect", ".4f"),
    "auroc_ood": ("AUROC, plates against images of no plate", ".4f"),
    "coverage_at_99.9_precision": ("coverage at 99.9 % precision", ".2%"),
    "threshold_at_99.9_precision": ("confidence threshold for it", ".3f"),
}


class ResultsError(RuntimeError):
    """A result cannot be shown, or a page asks for what is not there; the message names it."""


def load(name: str) -> dict:
    """`results/<name>.json`.

    Raises:
        ResultsError: it was measured with other weights than the shipped ones.
    """
    result = read_json(RESULTS / f"{name}.json")
    if name == "training_described":  # made the weights that the training of the shipped began from
        expected = load("training_robust")["initial_weights"]
    else:
        expected = read_json(PROJECT / "dr_model.json")["sha256"]["dr_model.h5"]
    if result.get("origin", {}).get("weights") != expected:
        raise ResultsError(f"results/{name}.json: measured with other weights; measure it again")
    return result


def load_if_measured(name: str) -> dict | None:
    """The same, of images that are not in the repository; `None` if these weights read none."""
    try:
        return load(name)
    except (FileNotFoundError, ResultsError):
        return None


def grid(corner: str, rows: dict[str, dict[str, str]]) -> str:
    """A Markdown table of row title -> column title -> cell."""
    titles = next(iter(rows.values())).keys()
    return table([corner, *titles], [[title, *cells.values()] for title, cells in rows.items()])


def accuracy() -> str:
    """Exact match of our reader and other engines; the best of every set in bold."""
    engines = load("benchmark")["readers"]
    results = [load("evaluation"), *filter(None, [load_if_measured("real")])]
    ours = {
        "plate_ocr": ChainMap(*(result["sets"] for result in results)),
        "plate_ocr, TTA": ChainMap(*(result["tta"]["sets"] for result in results)),
    }
    correct = {
        title: {name: part["correct"] for name, part in sets.items()}
        for title, sets in ours.items()
    }
    for engine in READERS:
        if engine.key in ("ppocr_small", "ppocr_tiny", "tesseract"):
            correct[engine.title] = engines[engine.key].get("correct", {})
    plates = {name: part["images"] for name, part in ours["plate_ocr"].items()}
    return report.accuracy_table(plates, correct)


def better_engines() -> str:
    """Where other engines are better than our reader."""
    return report.better_engines(load("benchmark"))


def metrics() -> str:
    """Exact match and character error rate of our reader on every set."""
    evaluation = load("evaluation")
    rows = {}
    for name, title in titles(evaluation["sets"]).items():
        result, tta = evaluation["sets"][name], evaluation["tta"]["sets"][name]
        rows[title] = {
            "plates": f"{result['images']:,}",
            "greedy decoding": f"{100 * result['exact_match_greedy']:.2f}",
            "exact match": f"{100 * result['exact_match']:.2f}",
            "character error rate": f"{100 * result['character_error_rate']:.2f}",
            "exact match, TTA": f"{100 * tta['exact_match']:.2f}",
            "character error rate, TTA": f"{100 * tta['character_error_rate']:.2f}",
        }
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
    return result_table(result) if result else "not measured with these weights"


def training_runs() -> str:
    """Configuration and outcome of every run."""
    columns = {}
    for path in sorted(RESULTS.glob("training_*.json")):
        run = load(path.stem)
        measured, name = run["measured"], run["config"]["name"]
        del run["config"]["name"], run["config"]["seed"]
        columns[f"`{name}`"] = {
            **{f"`{key}`": setting(value) for key, value in run["config"].items()},
            "epochs": f"{run['epochs']}, best {run['best_epoch']}",
            "minutes": f"{run['minutes']:.1f}",
            "device, precision": f"{run['device']}, {run['precision']}",
            "CTC loss on clean training plates": f"{measured['loss_on_training_plates']:.6f}",
            "correct, held-out plates": f"{measured['held_out_correct']:,} of "
            f"{measured['held_out_plates']:,}",
            "correct, `data/test`": f"{measured['test_correct']} of {measured['test_plates']}",
        }
    titles = next(iter(columns.values()))
    return grid("", {title: {run: columns[run][title] for run in columns} for title in titles})


def setting(value: Any) -> str:
    """A setting of a configuration, as a cell."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:g}" for name, share in value.items()) or "none"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,g}" if is_number else str(value)


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
        f"{name}, {backend}": {views: f"{rate:,}" for views, rate in rates.items()}
        for backend, sets in load("tta")["plates_per_second"].items()
        for name, rates in sets.items()
    }
    return grid("plates/s, one thread", rows)


def compatibility() -> str:
    """The largest difference of a logit in other versions of Keras."""
    rows = {}
    for tried in load("compatibility")["environments"].values():
        versions = ", ".join(map(" ".join, tried["versions"].items()))
        rows[versions] = {"difference": f"{tried['largest_difference_of_a_logit']:.0e}"}
    return grid("versions", rows)


def model_size() -> str:
    """Parameters and multiply-adds of the network."""
    model = build_model()
    macs = count_macs(model) / 1e6
    return f"{model.count_params():,} parameters, {macs:,.1f} million multiply-adds per plate"


def hardest_fonts() -> str:
    """The five held-out fonts with the lowest exact match."""
    fonts = list(load("evaluation")["held_out_fonts_by_font"].items())[:5]
    return ", ".join(f"{name} ({correct} of {plates})" for name, (correct, plates) in fonts)


def threshold() -> str:
    """The confidence from which on one reading in a thousand is wrong."""
    return f"{load('evaluation')['confidence']['threshold_at_99.9_precision']:.3f}"


BLOCKS = {
    function.__name__: function
    for function in (accuracy, better_engines, compatibility, confidence, hardest_fonts, metrics,
                     model_size, real, threshold, training_runs, tta_ablation, tta_throughput)
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


def write_pages() -> None:
    """Fill the blocks of all pages, and write the report of the comparison."""
    for page in PAGES:
        write_text(page, fill(page.read_text(encoding="utf-8")))
    write_text(RESULTS / "benchmark.md", report.markdown(load("benchmark")))
