"""Tables and the figure of what `benchmarks.compare` measured."""

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.baselines import READERS
from plate_ocr.evaluation.plots import BLUE, GRAY, GREEN, ORANGE, RED

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
    "ddddocr": (RED, "^"),
    "tesseract": (GRAY, "v"),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned to the left, the others to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def titles(results: dict) -> dict[str, str]:
    """The sets on which these results were measured, and their titles."""
    return {name: title for name, title in SETS.items() if name in results["sets"]}


def percent(correct: int, plates: int) -> str:
    """A percentage; 100.00 only if all are correct."""
    rate = 100 * correct / plates
    return f"{rate:.2f}" if correct == plates else f"{min(rate, 99.99):.2f}"


def accuracy_table(results: dict) -> str:
    """Exact match of every trained reader on every set."""
    plates, sets = results["sets"], titles(results)
    rows = [["plates", *(f"{plates[name]:,}" for name in sets)]]
    for reader in READERS:
        correct = results["readers"][reader.key].get("correct", {})
        cells = (percent(correct[name], plates[name]) if correct else NOTHING for name in sets)
        rows.append([reader.title, *cells])
    return table(["exact match, %", *sets.values()], rows)


def cost_table(results: dict) -> str:
    """Speed, start, size and memory of every reader."""
    head = ["reader", "plates/s, batch size 1", "plates/s, best batch size", "median latency, ms",
            "start to first reading, s", "weights, MB", "peak memory, MB"]  # fmt: skip
    rows = []
    for reader in READERS:
        figures = results["readers"][reader.key]
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
        f"{results['timed_plates']} plates per round, a random choice of all sets. Exact match and "
        "peak memory: batch size 1.",
    ]
    for reader in READERS:
        figures = results["readers"][reader.key]
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
    """The whole report."""
    items = "".join(f"- {line}\n" for line in notes(results))
    return f"# Benchmark\n\n{accuracy_table(results)}\n{cost_table(results)}\n{items}"


def chart(results: dict) -> Figure:
    """Error rate on every set, and throughput of every reader."""
    figure, (errors, rates) = plt.subplots(2, 1, figsize=(7, 7), height_ratios=(1.3, 1))
    _plot_errors(errors, results)
    _plot_throughput(rates, results)
    return figure


def _plot_errors(axis: Axes, results: dict) -> None:
    """Markers on a log scale, because the best are close together; no errors at the left edge."""
    plates, readers, sets = results["sets"], results["readers"], titles(results)
    measured = [reader for reader in READERS if "correct" in readers[reader.key]]
    shown = [reader for reader in measured if reader.key in MARKERS]
    none = 100 / (3 * max(plates.values()))
    for number, reader in enumerate(shown):
        colour, marker = MARKERS[reader.key]
        correct = readers[reader.key]["correct"]
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
    axis.legend(loc=(0.01, 0.42))  # where no reader has an error rate


def _plot_throughput(axis: Axes, results: dict) -> None:
    """Two markers per reader on a log scale: batch size 1, and the best batch size."""
    measured = [reader for reader in READERS if "failed" not in results["readers"][reader.key]]
    rows = range(len(measured))
    rates = [results["readers"][reader.key]["plates_per_second"] for reader in measured]
    single, best = [rate["1"] for rate in rates], [max(rate.values()) for rate in rates]
    axis.hlines(rows, single, best, color=GRAY)
    axis.plot(best, rows, "s", markersize=9, color=ORANGE, label="best batch size")
    axis.plot(single, rows, "o", markersize=5, color=BLUE, label="batch size 1")
    for row in rows:
        text = f"{single[row]:,.0f}" + (f" to {best[row]:,.0f}" if best[row] > single[row] else "")
        offset = {"xytext": (8, 0), "textcoords": "offset points"}
        axis.annotate(text, (best[row], row), va="center", fontsize=9, **offset)
    axis.set_xscale("log")
    axis.set_yticks(rows, [reader.title for reader in measured])
    axis.invert_yaxis()
    axis.set(title="Throughput, 1 core (plates/s)")
    axis.set_xlim(right=8 * max(best))  # room for the numbers
    axis.legend(loc="center right")
