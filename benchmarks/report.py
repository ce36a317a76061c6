"""Tables and the figure of what `benchmarks.compare` measured."""

import re
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.baselines import READERS, Reader
from plate_ocr.evaluation.plots import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED

SETS = {
    "test": "data/test",
    "held_out": "held-out numbers, training fonts",
    "held_out_fonts": "held-out fonts",
    "corruptions_1_to_3": "corruptions, severity 1 to 3",
    "corruptions_4_to_5": "corruptions, severity 4 and 5",
    "layout": "layout",
    "cross_generator": "cross-generator",
    "captcha": "captcha",
    "segments": "seven-segment displays",
}
NOTHING = "-"
# Colour and marker of the readers in the figure of accuracy.
MARKERS = {
    "plate_ocr": (BLUE, "o"),
    "ppocr_small": (ORANGE, "s"),
    "ppocr_tiny": (GREEN, "D"),
    "ppocr_v5": (PURPLE, "P"),
    "ddddocr": (RED, "^"),
    "tesseract": (GRAY, "v"),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned to the left, the others to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def titles(sets: Iterable[str]) -> dict[str, str]:
    """The titles of sets; a folder has the last two parts of its path as name and title."""
    known = {name: title for name, title in SETS.items() if name in sets}
    return known | {name: name for name in sets if "/" in name}


def measured(results: dict) -> dict[Reader, dict]:
    """The readers in these results, and their figures or why they failed."""
    readers = results["readers"]
    return {reader: readers[reader.key] for reader in READERS if reader.key in readers}


def percent(correct: int, plates: int) -> str:
    """A percentage; 100.00 only if all are correct."""
    rate = 100 * correct / plates
    return f"{rate:.2f}" if correct == plates else f"{min(rate, 99.99):.2f}"


def accuracy_table(plates: dict[str, int], correct: dict[str, dict[str, int]]) -> str:
    """Exact match on sets, whose best is bold; `correct` is title of a reader -> set -> plates."""
    rows = []
    for name, title in titles(plates).items():
        counts = [sets.get(name) for sets in correct.values()]
        best = max((count for count in counts if count is not None), default=0)
        row = [title, f"{plates[name]:,}"]
        for count in counts:
            cell = NOTHING if count is None else percent(count, plates[name])
            row.append(f"**{cell}**" if count == best else cell)
        rows.append(row)
    return table(["exact match, %", "plates", *correct], rows)


def latency_table(results: dict) -> str:
    """Median time for an image of every folder; empty without folders."""
    readers = measured(results)
    times = [figures.get("latency_ms_by_set") for figures in readers.values()]
    rows = [
        [name, *(f"{part[name]:.2f}" if part else NOTHING for part in times)]
        for name in results["sets"]
        if name not in SETS
    ]
    head = ["median latency, ms", *(reader.title for reader in readers)]
    return table(head, rows) if rows else ""


def better_engines(results: dict) -> str:
    """Where other engines are better than our reader: sets and percentage points."""
    plates, lines = results["sets"], []
    ours = results["readers"]["plate_ocr"].get("correct", plates)
    for reader, figures in measured(results).items():
        gains = []
        for name, title in titles(plates).items():
            gain = figures.get("correct", ours)[name] - ours[name]
            if gain > 0 and reader.loader != "plate_ocr":
                gains.append(f"{title} (+{100 * gain / plates[name]:.2f})")
        if gains:
            lines.append(f"- {reader.title}: {', '.join(gains)}\n")
    if not lines:
        return "No other engine is more accurate than plate_ocr on any of these sets.\n"
    head = "More accurate than plate_ocr, by percentage points of exact match:\n\n"
    return head + "".join(lines)


def cost_table(results: dict) -> str:
    """Speed, start, size and memory of every reader."""
    head = ["reader", "plates/s, batch size 1", "plates/s, best batch size", "median latency, ms",
            "start to first reading, s", "weights, MB", "peak memory, MB"]  # fmt: skip
    rows = []
    for reader, figures in measured(results).items():
        cells = [NOTHING] * (len(head) - 1)
        if "failed" not in figures:
            rates, best = figures["plates_per_second"], figures["best_batch"]
            cells = [
                f"{rates['1']:,.0f}",
                f"{rates[str(best)]:,.0f} (batch size {best})",
                f"{figures['latency_ms']:.2f}",
                f"{figures['start_seconds']:.2f}",
                f"{figures['bytes'] / 1e6:,.1f}",
                f"{figures['peak_memory'] / 1e6:,.0f}",
            ]
        rows.append([reader.title, *cells])
    return table(head, rows)


def notes(results: dict) -> list[str]:
    """How it was measured, and what failed."""
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['flags'])}), "
        f"{machine['system']}; every reader has one core and one thread. "
        f"Load before the run: {machine['load_before']}.",
        f"Median of {results['rounds']} rounds after one warm-up, in which the readers take turns; "
        f"{results['timed_plates']} plates per round, a random choice of all drawn plates. "
        "Exact match and peak memory: batch size 1. Images of folders: own "
        "size, uncropped, one pass.",
    ]
    for reader, figures in measured(results).items():
        versions = ", ".join(
            " ".join(re.split("=+", pin))
            for pin in results["versions"][reader.environment]
            if pin.split("=")[0] in (reader.environment, "onnxruntime", "tesseract-ocr-eng")
        )
        known = filter(None, (reader.note, figures.get("note"), versions))
        details = figures.get("failed") or "; ".join(known)
        lines.append(f"{reader.title}: {details}.")
    return lines


def markdown(results: dict) -> str:
    """The whole report; where others are better comes first."""
    correct = {
        reader.title: figures.get("correct", {}) for reader, figures in measured(results).items()
    }
    items = "".join(f"- {line}\n" for line in notes(results))
    parts = ("# Benchmark\n", better_engines(results), accuracy_table(results["sets"], correct),
             latency_table(results), cost_table(results), items)  # fmt: skip
    return "\n".join(filter(None, parts))


def chart(results: dict) -> Figure:
    """Error rate on every set, and throughput of every reader."""
    figure, (errors, rates) = plt.subplots(2, 1, figsize=(7, 7), height_ratios=(1.3, 1))
    _plot_errors(errors, results)
    _plot_throughput(rates, results)
    return figure


def _plot_errors(axis: Axes, results: dict) -> None:
    """Markers on a log scale, because the best are close together; no errors at the left edge."""
    plates, sets = results["sets"], titles(results["sets"])
    shown = {
        reader: figures["correct"]
        for reader, figures in measured(results).items()
        if reader.key in MARKERS and "correct" in figures
    }
    none = 100 / (3 * max(plates.values()))
    for number, (reader, correct) in enumerate(shown.items()):
        colour, marker = MARKERS[reader.key]
        wrong = [max(none, 100 * (1 - correct[name] / plates[name])) for name in sets]
        offset = 0.12 * (number - (len(shown) - 1) / 2)  # else equal readers hide each other
        rows = [row + offset for row in range(len(sets))]
        axis.plot(wrong, rows, marker, color=colour, label=reader.title)
    axis.set_xscale("log")
    axis.set_yticks(range(len(sets)), sets.values())
    axis.invert_yaxis()
    axis.minorticks_off()
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100) if tick > 2 * none]
    axis.set_xticks([none, *ticks], ["0", *(f"{tick:g} %" for tick in ticks)])
    axis.set(title="Error rate (lower is better)", xlim=(none / 1.4, 140))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _plot_throughput(axis: Axes, results: dict) -> None:
    """Two markers per reader on a log scale: batch size 1, and the best batch size."""
    names, single, best = [], [], []
    for reader, figures in measured(results).items():
        if "failed" not in figures:
            names.append(reader.title)
            single.append(figures["plates_per_second"]["1"])
            best.append(max(figures["plates_per_second"].values()))
    rows = range(len(names))
    axis.hlines(rows, single, best, color=GRAY)
    axis.plot(best, rows, "s", markersize=9, color=ORANGE, label="best batch size")
    axis.plot(single, rows, "o", markersize=5, color=BLUE, label="batch size 1")
    for row in rows:
        text = f"{single[row]:,.0f}" + (f" to {best[row]:,.0f}" if best[row] > single[row] else "")
        offset = {"xytext": (8, 0), "textcoords": "offset points"}
        axis.annotate(text, (best[row], row), va="center", fontsize=9, **offset)
    axis.set_xscale("log")
    axis.set_yticks(rows, names)
    axis.invert_yaxis()
    axis.set(title="Throughput, 1 core (plates/s)")
    axis.set_xlim(right=8 * max(best))  # room for the numbers
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
