"""Tables and the chart of what `benchmarks.compare` measured."""

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from benchmarks.baselines import GENERATORS, READERS
from plate_ocr.evaluation.plots import BLUE, GRAY, GREEN, ORANGE, RED

SETS = {
    "test": "data/test",
    "held_out_fonts": "unseen fonts",
    "corruptions_1_to_3": "conditions, severity 1 to 3",
    "corruptions_4_to_5": "conditions, severity 4 and 5",
    "layout": "layout",
    "cross_generator": "another generator",
    "captcha": "captcha",
}
NOTHING = "-"
# One look a reader, told apart by colour and by shape.
LOOKS = {
    "plate_ocr": (BLUE, "o"),
    "ppocr_small": (ORANGE, "s"),
    "ppocr_tiny": (GREEN, "D"),
    "ddddocr": (RED, "^"),
    "tesseract": (GRAY, "v"),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def percent(right: int, plates: int) -> str:
    """A share; only what is whole is told as 100."""
    share = 100 * right / plates
    return f"{share:.2f}" if right == plates else f"{min(share, 99.99):.2f}"


def megabytes(size: int) -> str:
    """Bytes in millions."""
    return f"{size / 1e6:,.1f}"


def accuracy_table(results: dict) -> str:
    """Exact match of every trained reader on every set."""
    plates = results["sets"]
    rows = [["plates", *(f"{plates[name]:,}" for name in SETS)]]
    for peer in READERS:
        if peer.trained:
            exact = results["readers"][peer.key].get("correct", {})
            cells = (percent(exact[name], plates[name]) if exact else NOTHING for name in SETS)
            rows.append([peer.title, *cells])
    return table(["exact match, %", *SETS.values()], rows)


def cost_table(results: dict) -> str:
    """Speed, start, size and memory of every reader."""
    rows = []
    for peer in READERS:
        figures = results["readers"][peer.key]
        if "failed" in figures:
            rows.append([peer.title, *[NOTHING] * 6])
            continue
        rates = figures["plates_per_second"]
        batch = figures["best_batch"]
        rows.append(
            [
                peer.title,
                f"{rates['1']:,.0f}",
                f"{rates[str(batch)]:,.0f} (batch {batch})",
                f"{figures['latency_ms']:.2f}",
                f"{figures['start_seconds']:.2f}",
                megabytes(figures["bytes"]),
                f"{figures['peak_memory'] / 1e6:,.0f}",
            ]
        )
    head = ["reader", "plates/s, batch 1", "plates/s, best batch", "median latency, ms",
            "start to first reading, s", "weights, MB", "peak memory, MB"]  # fmt: skip
    return table(head, rows)


def generator_table(results: dict) -> str:
    """PNG files a second."""
    rows = []
    for peer in GENERATORS:
        figures = results["generators"][peer.key]
        failed = "failed" in figures
        rows.append(
            [peer.title, *[NOTHING] * 2]
            if failed
            else [peer.title, f"{figures['files']:,}", f"{figures['files_per_second']:,.0f}"]
        )
    return table(["generator", "files a round", "PNG files/s"], rows)


def notes(results: dict) -> list[str]:
    """How it was measured, and what failed."""
    machine = results["machine"]
    flags = ", ".join(machine["flags"]) or "none of the flags looked for"
    lines = [
        f"{machine['processor']}, {machine['cores']} cores ({flags}), {machine['system']}; "
        f"one core and one thread each. Load before the run: {machine['load_before']}.",
        f"Medians of {results['rounds']} rounds in turn, after one that does not count; "
        f"{results['timed_plates']} plates a round, a random choice of all sets. Exact match and "
        "peak memory: one plate a call.",
    ]
    share, peak = results["share_of_peak"], results["float32_peak"]
    lines.append(
        f"The largest of the matrix products: {peak / 1e9:.0f} GFLOP/s in float32 on one thread. "
        + (
            f"Our reader, from images to texts, reaches {share:.0%} of it."
            if share is not None
            else "The share that our reader reaches is unknown: its network could not be rebuilt."
        )
    )
    lines.append(
        "Importing ONNX Runtime, NumPy and Pillow and reading nothing takes "
        f"{results['import_only_seconds']:.2f} s of the start."
    )
    for peer in READERS:
        note = results["readers"][peer.key].get("note")
        versions = ", ".join(
            " ".join(re.split("=+", pin))
            for pin in results["versions"][peer.environment]
            if re.split("=", pin)[0] in (peer.environment, "onnxruntime", "tesseract-ocr-eng")
        )
        told = [text for text in (peer.prepared, note, versions) if text]
        lines.append(f"{peer.title}: {'; '.join(told)}.")
    failed = [
        f"{peer.title}: {group[peer.key]['failed']}"
        for peers, group in ((READERS, results["readers"]), (GENERATORS, results["generators"]))
        for peer in peers
        if "failed" in group[peer.key]
    ]
    return lines + failed


def markdown(results: dict) -> str:
    """The whole report."""
    tables = (accuracy_table(results), cost_table(results), generator_table(results))
    listed = "".join(f"- {line}\n" for line in notes(results))
    return "# Benchmark\n\n" + "\n".join(tables) + "\n" + listed


def chart(results: dict) -> Figure:
    """Misread plates of every set, and plates a second of every reader."""
    figure, (errors, rates) = plt.subplots(
        1, 2, figsize=(11.5, 4.4), width_ratios=(1.15, 1), layout="constrained"
    )
    _draw_errors(errors, results)
    _draw_rates(rates, results)
    return figure


def _draw_errors(axis: plt.Axes, results: dict) -> None:
    """Dots on a log scale, because the good are close together; none misread at the left edge."""
    plates, readers = results["sets"], results["readers"]
    shown = [peer for peer in READERS if peer.key in LOOKS and "correct" in readers[peer.key]]
    none = 100 / (3 * max(plates.values()))
    for place, peer in enumerate(shown):
        colour, marker = LOOKS[peer.key]
        exact = readers[peer.key]["correct"]
        wrong = [max(none, 100 * (1 - exact[name] / plates[name])) for name in SETS]
        height = 0.12 * (place - (len(shown) - 1) / 2)  # else equal readers would hide each other
        rows = [row + height for row in range(len(SETS))]
        axis.plot(wrong, rows, marker, color=colour, label=peer.title)
    axis.set_xscale("log")
    axis.set_yticks(range(len(SETS)), SETS.values())
    axis.invert_yaxis()
    axis.minorticks_off()
    ticks = [tick for tick in (0.01, 0.1, 1, 10, 100) if tick > 2 * none]
    axis.set_xticks([none, *ticks], ["none", *(f"{tick:g} %" for tick in ticks)])
    axis.set(title="Plates misread: left is better", xlim=(none / 1.4, 140))
    _legend_below(axis, len(shown))


def _draw_rates(axis: plt.Axes, results: dict) -> None:
    """Two marks a reader on a log scale: one plate a call, and the best batch."""
    measured = [peer for peer in READERS if "failed" not in results["readers"][peer.key]]
    rows = range(len(measured))
    rates = [results["readers"][peer.key]["plates_per_second"] for peer in measured]
    alone, best = [rate["1"] for rate in rates], [max(rate.values()) for rate in rates]
    axis.hlines(rows, alone, best, color=GRAY)
    axis.plot(best, rows, "s", markersize=9, color=ORANGE, label="best batch")
    axis.plot(alone, rows, "o", markersize=5, color=BLUE, label="one plate a call")
    for row in rows:
        told = f"{alone[row]:,.0f}" + (f" to {best[row]:,.0f}" if best[row] > alone[row] else "")
        axis.annotate(
            told, (best[row], row), (8, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_xscale("log")
    axis.set_yticks(rows, [peer.title for peer in measured])
    axis.invert_yaxis()
    axis.set(title="Plates a second, one core")
    axis.set_xlim(right=15 * max(best))  # room for the figures
    _legend_below(axis, 2)


def _legend_below(axis: plt.Axes, columns: int) -> None:
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.1), ncols=columns)
