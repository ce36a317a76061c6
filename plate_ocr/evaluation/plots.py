"""Every figure of the notebooks, of `model_test.py` and of the README, in one style."""

import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from plate_ocr.utils import PACKAGE, atomic_write

# Matplotlib caches its list of fonts beside the package, not in the home folder.
os.environ.setdefault("MPLCONFIGDIR", str(PACKAGE.parent / ".cache" / "matplotlib"))

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from plate_ocr.reading.reader import Digit, Reading
from plate_ocr.reading.tta import x_affine

# Okabe and Ito's colours, told apart with any colour vision.
BLUE, ORANGE, RED, GREEN, GRAY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, GRAY)
COLUMNS = 6
ABLATION_SETS = ("held_out_fonts", "corruptions", "layout", "held_out")
DOTS_PER_INCH = 72
# Not rc_context: leaving it undoes the interactive mode that a notebook sets at its first figure.
plt.rcParams.update(
    {
        "figure.dpi": DOTS_PER_INCH,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "figure.titlesize": 12,
    }
)


def plate_grid(
    images: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[str],
    wrong: Sequence[bool] | None = None,
    title: str = "",
    columns: int = COLUMNS,
) -> Figure:
    """Plates with a caption each.

    Args:
        images: n arrays, uint8 (64, 128) or (64, 128, 1).
        captions: n texts of one or two lines.
        wrong: which captions are set in red.
        title: above the grid.
        columns: plates in a row.
    """
    wrong = wrong if wrong is not None else [False] * len(captions)
    columns = min(columns, len(captions))
    rows = -(-len(captions) // columns)
    lines = max(caption.count("\n") for caption in captions)  # more than one
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.75 * columns, (1.14 + 0.16 * lines) * rows + 0.45),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, caption, is_wrong in zip(axes.flat, images, captions, wrong, strict=False):
        axis.imshow(image.reshape(image.shape[:2]), cmap="gray", vmin=0, vmax=255)
        axis.set_title(
            caption,
            fontsize=9,
            loc="center",
            pad=3,
            color=RED if is_wrong else "black",
            fontweight="bold" if is_wrong else "normal",
        )
        axis.set_axis_on()
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set(visible=True, color=RED if is_wrong else "#bbbbbb")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def prediction_grid(
    images: np.ndarray, labels: Sequence[str | None], readings: Sequence[Reading], title: str = ""
) -> Figure:
    """Plates with reading and confidence; wrong readings in red, with the truth."""
    wrong = [
        truth is not None and truth != reading.text
        for truth, reading in zip(labels, readings, strict=True)
    ]
    captions = [
        f"{reading.text}, is {truth}" if is_wrong else f"{reading.text}  {reading.confidence:.1%}"
        for truth, reading, is_wrong in zip(labels, readings, wrong, strict=True)
    ]
    return plate_grid(images, captions, wrong, title)


def dataset_statistics(records: Sequence[dict], mark: str = "") -> Figure:
    """How often every font, size, gap and digit occurs in a data set; `mark` ends the title."""
    fonts = Counter(record["font"] for record in records)
    sizes = Counter(record["size"] for record in records)
    gaps = Counter(record["spacing"] for record in records)
    digits = Counter(digit for record in records for digit in record["text"])
    figure = plt.figure(figsize=(10, 5.6), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.1))
    axis = figure.add_subplot(grid[:, 0])
    names = sorted(fonts, reverse=True)
    axis.barh(names, [fonts[name] for name in names], color=BLUE)
    axis.set(title=f"Plates of each of the {len(fonts)} fonts{mark}")
    for row, (title, counts) in enumerate(
        [
            ("Plates of each font size (pixels)", sizes),
            ("Plates of each gap between digits (pixels)", gaps),
            ("How often each digit stands on a plate", digits),
        ]
    ):
        axis = figure.add_subplot(grid[row, 1])
        keys = sorted(counts)
        axis.bar(keys, [counts[key] for key in keys], color=BLUE)
        axis.set(title=title)
        if len(keys) <= 10:
            axis.set_xticks(keys)
    return figure


def training_curves(runs: dict[str, tuple[dict, list[dict]]], mark: str = "") -> Figure:
    """Training loss (log scale) and validation exact match of every run.

    Args:
        runs: as `training.read_results` gives them.
        mark: appended to the titles.
    """
    figure, (losses, matches) = plt.subplots(
        1, 2, figsize=(10, 3.8), width_ratios=(1.4, 1), layout="constrained"
    )
    for colour, (name, (result, history)) in zip(COLOURS, runs.items(), strict=False):
        epochs = [row["epoch"] for row in history]
        loss = [row["loss"] for row in history]
        best = result["best_epoch"]
        ending = "stopped" if result["stopped_early"] else "ended"
        label = f"{name}, training: {ending} after {len(epochs)}, kept {best}, {loss[best - 1]:.2g}"
        losses.semilogy(epochs, loss, color=colour, label=label)
        validation = [row["val_loss"] for row in history]
        losses.semilogy(epochs, validation, ":", color=colour, label=f"{name}, validation")
        losses.plot(best, loss[best - 1], "o", color=colour)
        losses.axvline(epochs[-1], color=colour, linewidth=1, alpha=0.5)
        exact = [100 * row["val_exact_match"] for row in history]
        matches.plot(epochs, exact, color=colour, label=name)
    losses.set(title=f"CTC loss{mark}", xlabel="epoch")
    legend = losses.get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=2, fontsize=8)
    matches.set(title=f"Validation plates read exactly (%){mark}", xlabel="epoch")
    if len(runs) > 1:
        matches.legend(loc="lower right", fontsize=8)
    return figure


def accuracy_bars(groups: Mapping[Hashable, tuple[int, int]], title: str) -> Figure:
    """Exact match of groups of plates, the first twenty of them.

    Args:
        groups: name -> right readings and plates, the worst first.
        title: above the bars.
    """
    shown = list(groups.items())[:20]
    figure, axis = plt.subplots(figsize=(7, 0.2 * len(shown) + 0.9), layout="constrained")
    rates = [100 * right / plates for _, (right, plates) in shown]
    axis.barh([str(name) for name, _ in shown], rates, color=BLUE)
    for row, (rate, (_, (right, plates))) in enumerate(zip(rates, shown, strict=True)):
        axis.text(rate, row, f" {right}/{plates}", va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set(title=title, xlabel="read exactly (%)", xlim=(0, 112))
    axis.tick_params(axis="y", labelsize=8)
    axis.grid(False, axis="y")
    return figure


def severity_heatmap(groups: Mapping[tuple[str, int], tuple[int, int]], mark: str = "") -> Figure:
    """Exact match of every corruption (row) and severity (column).

    Args:
        groups: (corruption, severity) -> right readings and plates.
        mark: appended to the title.
    """
    mild, harsh = (
        np.sum([groups[key] for key in groups if (key[1] <= 3) == is_mild], axis=0)
        for is_mild in (True, False)
    )
    severities = sorted({severity for _, severity in groups})
    rate = {key: 100 * right / plates for key, (right, plates) in groups.items()}
    names = sorted(
        {name for name, _ in groups},
        key=lambda name: (sum(rate.get((name, severity), 100) for severity in severities), name),
    )
    table = np.array([[rate.get((name, severity), np.nan) for severity in severities]
                      for name in names])  # fmt: skip
    figure, axis = plt.subplots(figsize=(6, 0.27 * len(names) + 1), layout="constrained")
    axis.imshow(table, cmap="cividis", vmin=min(80, np.nanmin(table)), vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        light = value < (100 + min(80, np.nanmin(table))) / 2
        axis.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8,
                  color="white" if light else "black")  # fmt: skip
    axis.set_xticks(range(len(severities)), list(map(str, severities)))
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    axis.grid(False)
    title = "Severity 1 to 3: {:.2%}, 4 and 5: {:.2%} read exactly{}"
    axis.set(title=title.format(mild[0] / mild[1], harsh[0] / harsh[1], mark), xlabel="severity")
    return figure


def confusion_matrix(counts: np.ndarray, title: str) -> Figure:
    """Which digit was read as which: int (10, 10), truth in rows; the right ones are left out."""
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    figure, axis = plt.subplots(figsize=(4.6, 4.1), layout="constrained")
    axis.imshow(wrong, cmap="cividis_r")
    for (row, column), value in np.ndenumerate(wrong):
        if value > 0:
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                      color="white" if value > np.nanmax(wrong) / 2 else "black")  # fmt: skip
    axis.set_xticks(range(10))
    axis.set_yticks(range(10))
    axis.grid(False)
    axis.set(title=title, xlabel="read as", ylabel="digit")
    return figure


def reliability_diagram(table: Sequence[dict], error: float, mark: str = "") -> Figure:
    """How often readings of a confidence are right, and how many there are of each.

    Args:
        table: as `calibration.reliability` gives it.
        error: the expected calibration error, 0 to 1.
        mark: appended to the title.
    """
    figure, (axis, counts) = plt.subplots(
        2, 1, figsize=(5, 4.6), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    confidence = [row["confidence"] for row in table]
    axis.plot([0, 1], [0, 1], color=GRAY, linewidth=1, label="perfect")
    axis.plot(confidence, [row["correct"] for row in table], "o-", color=BLUE, label="measured")
    axis.set(title=f"Calibration error {error:.2%}{mark}", ylabel="share right")
    axis.legend(loc="lower right")
    counts.bar(confidence, [row["plates"] for row in table], width=0.03, color=BLUE)
    counts.set(yscale="log", xlabel="confidence", ylabel="plates")
    return figure


def accuracy_vs_font_distance(
    distances: Sequence[float], rates: Sequence[float], names: Sequence[str], title: str
) -> Figure:
    """Exact match of fonts over how far their digits are from any training font.

    Args:
        distances: one a font.
        rates: exact match, 0 to 1.
        names: of the fonts; the five worst are written out.
        title: above the points.
    """
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axis.plot(distances, [100 * rate for rate in rates], "o", color=BLUE, alpha=0.7)
    middle = np.median(np.array(distances)[np.isfinite(distances)])
    for place, row in enumerate(sorted(range(len(names)), key=lambda row: rates[row])[:5]):
        axis.annotate(
            names[row],
            (distances[row], 100 * rates[row]),
            xytext=(0, (6, -12)[place % 2]),  # above and below in turn, for points close together
            textcoords="offset points",
            ha="right" if distances[row] > middle else "left",
            fontsize=8,
        )
    axis.set(
        title=title,
        xlabel="distance of the digits to the nearest training font (mean difference of ink)",
        ylabel="read exactly (%)",
    )
    return figure


def ablation_plot(runs: Mapping[str, dict]) -> Figure:
    """Exact match of every ablation on some sets, a row each, the shipped config as a line.

    Args:
        runs: as `results/ablations.json` holds them, the shipped config first.
    """
    first, *others = runs.values()
    rows = {run["change"]: run["sets"] for run in runs.values()}
    greedy = {
        name: {"exact_match": first["sets"][name]["exact_match_greedy"]} for name in ABLATION_SETS
    }
    rows["greedy decoding, of the same weights as the first"] = greedy
    figure, axis = plt.subplots(figsize=(7, 0.25 * len(rows) + 1.3), layout="constrained")
    for colour, marker, name in zip(COLOURS, "os^D", ABLATION_SETS, strict=False):
        rates = [100 * of_sets[name]["exact_match"] for of_sets in rows.values()]
        axis.plot(rates, range(len(rows)), marker, color=colour, label=name.replace("_", " "))
        axis.axvline(rates[0], color=colour, linewidth=0.8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"read exactly (%), {len(runs)} equal short runs")
    figure.legend(loc="outside lower center", ncols=len(ABLATION_SETS), fontsize=8)
    worst = sorted(others, key=lambda run: run["sets"][ABLATION_SETS[0]]["exact_match"])[:3]
    figure.suptitle(f"What costs most: {'; '.join(run['change'] for run in worst)}", fontsize=10)
    return figure


def ctc_posteriors(
    image: np.ndarray,
    probabilities: np.ndarray,
    title: str,
    digits: Sequence[Digit],
    frame: np.ndarray,
) -> Figure:
    """A plate above the probabilities of blank and digits at every time step.

    Args:
        image: uint8 (64, 128).
        probabilities: (steps, 11), rows sum to 1.
        title: above the plate.
        digits: of the reading; each is marked where it was read.
        frame: that the steps are of, as `engines.Look` has it.
    """
    figure, (plate, grid) = plt.subplots(
        2, 1, figsize=(7, 5.2), height_ratios=(1.25, 1), layout="constrained", sharex=True
    )
    width = image.shape[1]
    ((scale, offset),) = width * x_affine(frame[None])
    left, right = np.array([offset, offset + scale]) - 0.5
    plate.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    for axis in (plate, grid):
        axis.grid(False)
    plate.set_yticks([])
    plate.set_title(title, pad=18)  # above the digits
    grid.imshow(
        probabilities.T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        extent=(left, right, probabilities.shape[1] - 0.5, -0.5),
    )
    grid.set_yticks(range(probabilities.shape[1]), ["blank", *"0123456789"], fontsize=8)
    grid.set(xlabel=f"image column; {len(probabilities)} time steps share the input crop")
    plate.set_xlim(-0.5, width - 0.5)
    for one in digits:
        for axis in (plate, grid):
            axis.axvline(one.x - 0.5, color=ORANGE, linewidth=1)
        plate.annotate(one.digit, (one.x - 0.5, 1), (0, 2), xycoords=plate.get_xaxis_transform(),
                       textcoords="offset points", ha="center", fontweight="bold")  # fmt: skip
    return figure


def save_figure(figure: Figure, path: Path | str) -> None:
    """Save a figure; the file is whole or not there."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
