"""Every figure of the notebooks, of `model_test.py` and of the docs, in one style."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from plate_ocr.plates.alphabet import BLANK, encode
from plate_ocr.reading.backends import x_affine
from plate_ocr.reading.ctc import collapse, decode_logits
from plate_ocr.reading.reader import Digit, PlateReader, Reading
from plate_ocr.reading.tta import VIEWS, decode_with_views, make_views
from plate_ocr.utils import atomic_write

# Okabe and Ito's colors, which differ with any color vision.
BLUE, ORANGE, RED, GREEN, GRAY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#666666"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
COLORS = (BLUE, ORANGE, GREEN, GRAY)
DIGIT_COLORS = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, RED)
LIGHT_GRAY = "#c4c4c4"
EDGE = "#bbbbbb"  # of images
DPI = 150
MAX_BARS = 12
MIN_SHOWN_BOX = 4  # pixels; a smaller box is marked by a cross
Counts = Mapping[Hashable, tuple[int, int]]  # group -> correct readings and plates

# Not rc_context: leaving it undoes the interactive mode that a notebook sets at its first figure.
plt.rcParams.update(
    {
        "figure.dpi": DPI,
        "figure.constrained_layout.use": True,
        "figure.titlesize": 11,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.fontsize": 9,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }
)


def plate_grid(
    images: Sequence[np.ndarray] | np.ndarray,
    captions: Sequence[str],
    highlight: Sequence[bool] | None = None,
    title: str = "",
    columns: int = 5,
) -> Figure:
    """Plates, uint8 (64, 128) or (64, 128, 1), with a caption each; red ones are highlighted."""
    rows = -(-len(captions) // columns)
    columns = -(-len(captions) // rows)  # as few as fill the rows
    lines = 1 + max(caption.count("\n") for caption in captions)
    size = (1.4 * columns, (0.74 + 0.15 * lines) * rows + 0.25 * bool(title))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat[len(captions) :]:
        axis.set_axis_off()
    highlight = highlight if highlight is not None else [False] * len(captions)
    for axis, image, caption, red in zip(axes.flat, images, captions, highlight, strict=False):
        _show_image(axis, image, "gray", white=255, edge=RED if red else EDGE)
        color = RED if red else "black"
        # A file name may hold a dollar sign, which would begin a formula.
        axis.set_title(caption, fontsize=9, loc="center", pad=3, color=color, parse_math=False)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _show_image(axis: Axes, image: np.ndarray, colors: str, white: int, edge: str = EDGE) -> None:
    """An image, (rows, columns) or (rows, columns, 1), in a frame and without ticks."""
    axis.imshow(image.reshape(image.shape[:2]), cmap=colors, vmin=0, vmax=white)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=edge)


def prediction_grid(
    images: np.ndarray, labels: Sequence[str | None], readings: Sequence[Reading], title: str = ""
) -> Figure:
    """Plates with text and confidence; wrong texts are red, with the label."""
    wrong, captions = [], []
    for label, reading in zip(labels, readings, strict=True):
        wrong.append(label not in (None, reading.text))
        captions.append(f"{reading}\nlabel {label}" if wrong[-1] else str(reading))
    return plate_grid(images, captions, wrong, title)


def tta_views(reader: PlateReader, plate: np.ndarray, label: str, title_suffix: str = "") -> Figure:
    """A plate, uint8 (1, 64, 128, 1), and its views in test-time augmentation, each with its text.

    The title has the text of all views, wrong texts are red.
    """
    views = np.concatenate([plate, *make_views(plate)[0]])
    single = decode_logits(reader.forward(views).logits, reader.digits)
    merged = decode_with_views(reader.backend, plate, reader.forward(plate), reader.digits)
    captions = [
        f"{name}\n{text}  {100 * probability:.1f}%"
        for name, text, probability in zip(
            ("original", *VIEWS), single.texts, single.text_probability, strict=True
        )
    ]
    title = f"Highest mean P(text): {merged.texts[0]}, {100 * merged.text_probability[0]:.1f}%"
    return plate_grid(
        views, captions, [text != label for text in single.texts], f"{title}{title_suffix}"
    )


def plate_rows(
    rows: Mapping[str, Sequence[np.ndarray]], title: str = "", labels: Sequence[str] = ()
) -> Figure:
    """Rows of plates, with a name before each.

    Args:
        rows: name -> plates, uint8 (64, 128) or (64, 128, 1), as many in every row.
        title: of the figure.
        labels: of the columns, above them.
    """
    columns = len(next(iter(rows.values())))
    size = (1.2 * columns + 1.1, 0.66 * len(rows) + 0.3 * bool(title) + 0.2 * bool(labels))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for (name, images), row in zip(rows.items(), axes, strict=True):
        row[0].text(-0.06, 0.5, name, transform=row[0].transAxes, ha="right", va="center")
        for axis, image in zip(row, images, strict=True):
            _show_image(axis, image, "gray", white=255)
    for axis, label in zip(axes[0], labels, strict=False):
        axis.set_title(label, loc="center")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def localization_grid(
    images: np.ndarray, targets: np.ndarray, boxes: np.ndarray, crops: np.ndarray, title: str = ""
) -> Figure:
    """Plates with the true and the predicted box of their digits, each above its crop.

    A cross marks the center of a predicted box that is too small to be seen.

    Args:
        images: uint8 (n, 64, 128, 1).
        targets: true boxes: left, right, top and bottom in plate widths and heights, (n, 4).
        boxes: predicted boxes, the same.
        crops: what the recognition network sees, 0 for white to 1 for black, (n, 32, 128, 1).
        title: of the figure.
    """
    height, width = images.shape[1:3]
    columns = min(3, len(images))
    rows = -(-len(images) // columns)
    layout = {"figsize": (2.1 * columns, 1.75 * rows + 0.5), "squeeze": False}
    figure, axes = plt.subplots(2 * rows, columns, height_ratios=(2, 1) * rows, **layout)
    figure.suptitle(title, x=0.01, ha="left")
    plates, below = axes[::2].ravel(), axes[1::2].ravel()
    for axis in (*plates[len(images) :], *below[len(images) :]):
        axis.set_axis_off()
    for plate, image, axis, crop in zip(plates, images, below, crops, strict=False):
        _show_image(plate, image, "gray", white=255)
        _show_image(axis, crop, "gray_r", white=1)
    true = {"color": GREEN, "linewidth": 2.5, "label": "true box"}
    predicted = {"color": ORANGE, "linewidth": 1.2, "linestyle": "--", "label": "predicted box"}
    for values, style in ((targets, true), (boxes, predicted)):
        for axis, (left, right, top, bottom) in zip(plates, values, strict=False):
            x, y = width * left - 0.5, height * top - 0.5  # the center of the first pixel is at 0
            size = width * (right - left), height * (bottom - top)
            axis.add_patch(Rectangle((x, y), *size, fill=False, **style))
            if min(size) < MIN_SHOWN_BOX:
                center = x + size[0] / 2, y + size[1] / 2
                axis.plot(*center, "+", color=style["color"], markersize=10, markeredgewidth=2)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def posteriors_by_step(
    steps: Sequence[int], posteriors: np.ndarray, label: str, title: str = ""
) -> Figure:
    """CTC posteriors of one plate after several training steps, with its greedy readings.

    A panel has a stacked bar for every time step: gray for the blank, a color for every digit of
    the label, white for all other digits.

    Args:
        steps: numbers of training steps, n.
        posteriors: probabilities, (n, time steps, 11).
        label: the digits of the plate.
        title: of the figure.
    """
    columns = min(4, len(steps))
    rows = -(-len(steps) // columns)
    layout = {"figsize": (2 * columns, 1.1 * rows + 0.8), "squeeze": False}
    figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, **layout)
    digits = sorted(set(label), key=label.index)
    classes = {"blank": BLANK} | dict(zip(digits, encode(digits, 1)[:, 0], strict=True))
    colors = (LIGHT_GRAY, *DIGIT_COLORS)
    time_steps = np.arange(1, posteriors.shape[1] + 1)
    texts = collapse(posteriors.argmax(axis=-1))
    for axis in axes.flat[len(steps) :]:
        axis.set_axis_off()
    for axis, step, probabilities, text in zip(axes.flat, steps, posteriors, texts, strict=False):
        bottom = np.zeros(len(time_steps))
        for (name, index), color in zip(classes.items(), colors, strict=False):
            axis.bar(time_steps, probabilities[:, index], 1, bottom, color=color, label=name)
            bottom = bottom + probabilities[:, index]
        axis.set_title(f"step {step:,}: {text or '-'}", fontsize=9)
        axis.set(xlim=(0.5, len(time_steps) + 0.5), ylim=(0, 1), xticks=(), yticks=(0, 1))
        axis.grid(False)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.supylabel("probability", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel(f"{len(time_steps)} time steps", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def training_curves(
    runs: Mapping[str, dict],
    title_suffix: str = "",
    reported: tuple[int, float] | None = None,
) -> Figure:
    """CTC loss and validation exact match per epoch.

    Args:
        runs: what `save_run` returns, or `ResumableCheckpoint.state`, by the name to show.
        title_suffix: of the first panel.
        reported: epochs and loss of the described run, which a star marks.
    """
    ratios = {"height_ratios": (5, 2)}
    figure, (losses, matches) = plt.subplots(
        2, 1, figsize=(5.5, 5), sharex=True, gridspec_kw=ratios
    )
    if reported:
        label = f"described run: epoch {reported[0]}, loss {reported[1]} (other network and fonts)"
        losses.plot(*reported, "*", color=RED, markersize=12, label=label)
    for color, (name, run) in zip(COLORS, runs.items(), strict=False):
        history, best = run["history"], run["best_epoch"]
        epochs = [row["epoch"] for row in history]
        loss = [row["logits_loss"] for row in history]
        losses.semilogy(epochs, loss, color=color, label=f"{name}, training (dot: best epoch)")
        losses.plot(best, loss[best - 1], "o", color=color)
        validation = [row["val_logits_loss"] for row in history]
        losses.semilogy(epochs, validation, ":", color=color, label=f"{name}, validation")
        exact_match = [100 * row["val_logits_exact_match"] for row in history]
        matches.plot(epochs, exact_match, color=color)
    losses.set(title=f"CTC loss{title_suffix}")
    figure.legend(loc="outside lower center", ncols=1 if reported else 2)
    matches.set(title="Validation exact match (%)", xlabel="epoch")
    return figure


def error_rate_bars(groups: Counts, title: str, title_suffix: str = "") -> Figure:
    """Error rate of the hardest groups with errors; groups as `accuracy_by` returns them."""
    wrong = {
        name: (plates - correct, plates)
        for name, (correct, plates) in groups.items()
        if correct < plates
    }
    shown = dict(list(wrong.items())[:MAX_BARS])
    rates = [100 * errors / plates for errors, plates in shown.values()]
    figure, axis = plt.subplots(figsize=(5, 0.24 * len(shown) + 0.9))
    bars = axis.barh(range(len(shown)), rates, color=BLUE)
    axis.set_yticks(range(len(shown)), list(shown))
    counts = [f"{errors} of {plates}" for errors, plates in shown.values()]
    axis.bar_label(bars, counts, padding=3, fontsize=9)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    title = f"{title}: {len(wrong)} of {len(groups)} with errors{title_suffix}"
    axis.set(title=title, xlabel="error rate (%)", xlim=(0, 1.25 * max(rates, default=1)))
    return figure


def severity_heatmap(
    groups: Mapping[tuple[str, int], tuple[int, int]], title_suffix: str = ""
) -> Figure:
    """Exact match by corruption (row) and severity (column), as `accuracy_by` returns it."""
    names, severities = (sorted(set(keys)) for keys in zip(*groups, strict=True))
    rates = np.full((len(names), len(severities)), np.nan)
    for (name, severity), (correct, plates) in groups.items():
        rates[names.index(name), severities.index(severity)] = 100 * correct / plates
    order = np.argsort(np.nanmean(rates, axis=1), kind="stable")
    figure, axis = plt.subplots(figsize=(5, 0.28 * len(names) + 1))
    limits = (min(80, np.nanmin(rates)), 100)
    _annotated_heatmap(axis, rates[order], "Blues_r", "{:.1f}", limits)
    axis.set_xticks(range(len(severities)), severities)
    axis.set_yticks(range(len(names)), [names[row].replace("_", " ") for row in order])
    sizes = " or ".join(map(str, sorted({plates for _, plates in groups.values()})))
    title = f"Exact match (%), {sizes} plates a cell{title_suffix}"
    axis.set(title=title, xlabel="severity")
    return figure


def confusion_matrix(counts: np.ndarray, title: str) -> Figure:
    """Digit confusions, int (10, 10), true digits in rows; the diagonal is left out."""
    errors = counts - np.diag(np.diag(counts))
    figure, axis = plt.subplots(figsize=(5, 4.6))
    shown = np.where(errors > 0, errors, np.nan)
    _annotated_heatmap(axis, shown, "Blues", "{:.0f}", limits=(0, errors.max()))
    axis.set_xticks(range(10))
    axis.set_yticks(range(10))
    axis.set(title=title, xlabel="predicted", ylabel="true")
    return figure


def _annotated_heatmap(
    axis: Axes, values: np.ndarray, colors: str, text: str, limits: tuple[float, float]
) -> None:
    """A matrix with its values written in black or white, whichever contrasts more."""
    image = axis.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto")
    axis.grid(False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = np.mean(image.cmap(image.norm(value))[:3]) < 0.5
            axis.text(column, row, text.format(value), color="white" if dark else "black",
                      ha="center", va="center", fontsize=9)  # fmt: skip


def reliability_diagram(curve: Sequence[dict], ece: float, title_suffix: str = "") -> Figure:
    """Accuracy and plates per confidence bin, as `reliability_curve` returns them; ece 0 to 1."""
    figure, (axis, counts) = plt.subplots(2, 1, figsize=(5, 4.6), height_ratios=(3, 1), sharex=True)
    confidence, accuracy, plates = (
        np.array([point[key] for point in curve]) for key in ("confidence", "correct", "plates")
    )
    low, high = wilson_interval(accuracy, plates)
    axis.plot([0, 1], [0, 1], color=GRAY, linewidth=1, label="ideal")
    axis.errorbar(
        confidence, accuracy, (accuracy - low, high - accuracy),
        fmt="o", color=BLUE, ecolor=SKY, label="observed, 95% interval",
    )  # fmt: skip
    axis.set(title=f"Reliability diagram (ECE {ece:.2%}){title_suffix}", ylabel="accuracy")
    axis.legend(loc="upper left")
    counts.bar(confidence, plates, width=0.03, color=BLUE)
    counts.set(yscale="log", xlabel="confidence", ylabel="plates", yticks=(1, 100, 10_000))
    counts.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def wilson_interval(rate: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% confidence interval of a proportion, both ends from 0 to 1 (Wilson 1927)."""
    z = 1.96
    center = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2)
    return np.minimum(center - half, rate), np.maximum(center + half, rate)


def ctc_posteriors(
    image: np.ndarray,
    probabilities: np.ndarray,
    title: str,
    digits: Sequence[Digit],
    crop: np.ndarray,
) -> Figure:
    """A plate, uint8 (64, 128), above its CTC posteriors, (steps, 11), in the same columns.

    The digits of the reading are marked at their position. The crop, (4,), is as in `ModelOutput`.
    """
    figure, (plate, grid) = plt.subplots(2, 1, figsize=(6, 5), sharex=True)
    steps, classes = probabilities.shape
    width = image.shape[1]
    scale, offset = width * x_affine(crop[None])[0]
    extent = (offset - 0.5, offset + scale - 0.5, classes - 0.5, -0.5)
    plate.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    plate.set_yticks([])
    plate.set_title(title, pad=18)  # above the digits
    grid.imshow(probabilities.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=extent)
    grid.set_yticks(range(classes), ["blank", *"0123456789"])
    grid.set(xlabel=f"image column (px); {steps} time steps span the crop")
    plate.set_xlim(-0.5, width - 0.5)
    above = plate.get_xaxis_transform()
    for digit in digits:
        plate.text(digit.x - 0.5, 1.02, digit.digit, transform=above, ha="center")
    for axis in (plate, grid):
        axis.grid(False)
        for digit in digits:
            axis.axvline(digit.x - 0.5, color=ORANGE, linewidth=1)
    return figure


def save_figure(figure: Figure, path: Path | str) -> None:
    """Save a figure atomically; it stays open, so that a notebook shows it."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
