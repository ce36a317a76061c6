"""Tables and the figure of what `benchmarks.compare` measured."""

import re
from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.baselines import READERS, Reader
from plate_ocr.evaluation.benchmark import TITLES
from plate_ocr.evaluation.notebook import markdown_table
from plate_ocr.evaluation.plots import BLUE, GRAY, GREEN, LIGHT_GRAY, ORANGE, PURPLE, RED, SKY

SETS = {"test": "data/test"} | TITLES
# Folders of real images that docs/benchmark.md describes; others have the last parts of their path.
SETS |= {
    "meters/test": "real: water meters",
    "cheques/test": "real: bank cheques",
    "seven_segment/test": "real: seven-segment displays",
}
NOTHING = "-"
# Color and marker of the readers in the figure of accuracy.
MARKERS = {
    "plate_ocr": (BLUE, "o"),
    "ppocr_small": (ORANGE, "s"),
    "ppocr_tiny": (GREEN, "D"),
    "ppocr_v5": (PURPLE, "P"),
    "rapidocr": (SKY, "X"),
    "ddddocr": (RED, "v"),
    "tesseract": (GRAY, "^"),
}


def grid(corner: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """A Markdown table of row title -> column title -> cell."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [[title, *(row.get(name, NOTHING) for name in columns)] for title, row in rows.items()]
    return f"{markdown_table([corner, *columns], lines).data}\n"


def titles(sets: Iterable[str]) -> dict[str, str]:
    """The titles of sets in their order; other folders have their name as title."""
    known = {name: title for name, title in SETS.items() if name in sets}
    return known | {name: name for name in sets if "/" in name and name not in known}


def measured(results: dict) -> dict[Reader, dict]:
    """The readers that did not fail, and their figures."""
    figures = {reader: results["readers"].get(reader.key, {}) for reader in READERS}
    return {reader: part for reader, part in figures.items() if "correct" in part}


def percent(correct: int, plates: int) -> str:
    """A percentage; 100.00 only if all are correct."""
    return f"{100 if correct == plates else min(100 * correct / plates, 99.99):.2f}"


def accuracy_table(plates: dict[str, int], correct: dict[str, dict[str, int]]) -> str:
    """Exact match on sets; `correct` is title of a reader -> set -> plates.

    The best of a set is bold if several engines read it; "ours, TTA" is the same engine as "ours".
    """
    rows = {}
    for name, title in titles(plates).items():
        counts = {reader: sets[name] for reader, sets in correct.items() if name in sets}
        rates = {reader: percent(count, plates[name]) for reader, count in counts.items()}
        engines = {reader.partition(",")[0] for reader in counts}
        best = max(counts.values()) if len(engines) > 1 else None
        rows[title] = {"plates": f"{plates[name]:,}"} | {
            reader: f"**{rate}**" if counts[reader] == best else rate
            for reader, rate in rates.items()
        }
    return grid("exact match, %", rows)


def latency_table(results: dict) -> str:
    """Median time for an image of every folder; empty without folders."""
    times = {reader.title: part["latency_ms_by_set"] for reader, part in measured(results).items()}
    rows = {
        title: {reader: f"{part[name]:.2f}" for reader, part in times.items()}
        for name, title in titles(results["sets"]).items()
        if "/" in name
    }
    return grid("median latency, ms", rows) if rows else ""


def gains(results: dict) -> dict[str, dict[str, float]]:
    """Title of another engine -> set -> percentage points by which it is better than our reader."""
    plates = results["sets"]
    ours = results["readers"]["plate_ocr"].get("correct", plates)
    return {
        reader.title: {
            name: 100 * (figures["correct"][name] - ours[name]) / plates[name]
            for name in titles(plates)
            if figures["correct"][name] > ours[name]
        }
        for reader, figures in measured(results).items()
        if reader.loader != "plate_ocr"
    }


def better_engines(results: dict) -> str:
    """Where other engines are better than our reader: sets and percentage points."""
    names, lines = titles(results["sets"]), []
    for engine, points in gains(results).items():
        better = ", ".join(f"{names[name]} (+{gain:.2f})" for name, gain in points.items())
        if better:
            lines.append(f"- {engine}: {better}\n")
    if not lines:
        return "No other engine is more accurate than plate_ocr on any of these sets.\n"
    head = "More accurate than plate_ocr, by percentage points of exact match:\n\n"
    return head + "".join(lines)


def better_sets(results: dict) -> str:
    """The sets that another engine reads better than our reader, in a sentence."""
    better = {name for points in gains(results).values() for name in points}
    names = [
        title.replace("real: ", "real ")
        for name, title in titles(results["sets"]).items()
        if name in better
    ]
    if not names:
        return "No other engine is more accurate than plate_ocr on any of these sets."
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"Other engines are more accurate than plate_ocr on {listed}."


def cost_table(results: dict) -> str:
    """Speed, start, size and memory of every reader."""
    rows = {}
    for reader, figures in measured(results).items():
        rates, best = figures["plates_per_second"], figures["best_batch"]
        rows[reader.title] = {
            "plates/s, batch size 1": f"{rates['1']:,.0f}",
            "plates/s, best batch size": f"{rates[str(best)]:,.0f} (batch size {best})",
            "median latency, ms": f"{figures['latency_ms']:.2f}",
            "start to first reading, s": f"{figures['start_seconds']:.2f}",
            "weights, MB": f"{figures['bytes'] / 1e6:,.1f}",
            "peak memory, MB": f"{figures['peak_memory'] / 1e6:,.0f}",
        }
    return grid("engine", rows)


def notes(results: dict) -> list[str]:
    """How it was measured, and what failed."""
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['flags'])}), "
        f"{machine['system']}; every engine has one core and one thread. "
        f"Load average before the run: {machine['load_before']}.",
        f"Median of {results['rounds']} rounds after one warm-up, in which the engines take turns; "
        f"{results['timed_plates']} plates per round, a random choice of all drawn plates. "
        "Exact match and peak memory: batch size 1. Images of folders: own "
        "size, uncropped, one pass.",
    ]
    for reader in (reader for reader in READERS if reader.key in results["readers"]):
        figures = results["readers"][reader.key]
        versions = ", ".join(
            " ".join(re.split("=+", pin))
            for pin in results["versions"][reader.environment]
            if pin.split("=")[0] in (reader.environment, "onnxruntime", "tesseract-ocr-eng")
        )
        known = filter(None, (reader.note, figures.get("note"), versions))
        lines.append(f"{reader.title}: {figures.get('failed') or '; '.join(known)}.")
    return lines


def markdown(results: dict) -> str:
    """The whole report; where others are better comes first."""
    correct = {reader.title: part["correct"] for reader, part in measured(results).items()}
    items = "".join(f"- {line}\n" for line in notes(results))
    parts = ("# Comparison with other OCR engines\n", better_engines(results),
             accuracy_table(results["sets"], correct), latency_table(results),
             cost_table(results), items)  # fmt: skip
    return "\n".join(filter(None, parts))


def chart(results: dict) -> Figure:
    """Error rate on every set, and throughput of every reader."""
    figure, (errors, rates) = plt.subplots(2, 1, figsize=(5.5, 8), height_ratios=(2.4, 1))
    _plot_errors(errors, results)
    _plot_throughput(rates, results)
    return figure


def _plot_errors(axis: Axes, results: dict) -> None:
    """Markers on a log scale, because the best are close together; no errors at the left edge.

    data/test is left out: it has too few plates to compare.
    """
    plates, sets = results["sets"], titles([name for name in results["sets"] if name != "test"])
    shown = [reader for reader in measured(results) if reader.key in MARKERS]
    none = 100 / (3 * max(plates.values()))
    for number, reader in enumerate(shown):
        (color, marker), correct = MARKERS[reader.key], results["readers"][reader.key]["correct"]
        wrong = [max(none, 100 * (1 - correct[name] / plates[name])) for name in sets]
        offset = 0.12 * (number - (len(shown) - 1) / 2)  # else equal readers hide each other
        rows = [row + offset for row in range(len(sets))]
        axis.plot(wrong, rows, marker, color=color, markersize=8, mec="white", label=reader.title)
    for row in range(0, len(sets), 2):
        axis.axhspan(row - 0.5, row + 0.5, color=LIGHT_GRAY, alpha=0.3, linewidth=0)
    axis.set_xscale("log")
    axis.set_yticks(range(len(sets)), sets.values())
    axis.set_ylim(len(sets) - 0.5, -0.5)
    axis.minorticks_off()
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100) if tick > 2 * none]
    axis.set_xticks([none, *ticks], ["0", *(f"{tick:g}%" for tick in ticks)])
    axis.set(title="Error rate (lower is better)", xlim=(none / 1.4, 140))
    axis.legend(loc="upper center", bbox_to_anchor=(0.3, -0.05), ncols=3)


def _plot_throughput(axis: Axes, results: dict) -> None:
    """A bar per reader: batch size 1, and, pale, what the best batch size adds."""
    readers = measured(results)
    rates = [figures["plates_per_second"] for figures in readers.values()]
    single, best = [rate["1"] for rate in rates], [max(rate.values()) for rate in rates]
    colors = [MARKERS.get(reader.key, MARKERS["plate_ocr"])[0] for reader in readers]
    rows = range(len(rates))
    axis.barh(rows, single, color=colors)
    bars = axis.barh(rows, best, color=colors, alpha=0.4)
    axis.bar_label(bars, [f"{rate:,.0f}" for rate in best], padding=3, fontsize=9)
    for row, figures in enumerate(readers.values()):
        if figures["best_batch"] > 1:
            number = {"x": single[row], "y": row, "va": "center", "fontsize": 9}
            axis.text(s=f"batch size 1: {single[row]:,.0f} ", color="white", ha="right", **number)
            axis.text(s=f" batch size {figures['best_batch']}", **number)
    axis.set_yticks(rows, [reader.title for reader in readers])
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.locator_params(axis="x", nbins=4)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set(title="Throughput, 1 core (plates/s)", xlim=(0, 1.2 * max(best)))
