"""Draw the pictures of results/ that need no measuring and write all generated tables.

$ python -m tools.figures
"""

import sys
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from benchmarks import ablation_report, report
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation import plots
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.plates.alphabet import DIGITS, NUM_CLASSES
from plate_ocr.plates.rendering import DEFAULT_SEED, plate_text
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import PlateReader, Reading
from plate_ocr.training.styles import STYLES, load_style
from plate_ocr.training.styles.row import Drawing, Style
from plate_ocr.training.styles.surroundings import add_surroundings
from tools import tables

PIPELINE_PLATE = "corruptions", 3297  # a shadow, off center, and a digit that repeats
TTA_PLATE = "corruptions", 2999  # a shadow; both views correct the first digit
CROP_SIZE = 128, 32  # columns, rows


def draw_pipeline() -> Figure:
    """One plate on its way through the reader: plate, crop, CTC posteriors, text."""
    name, index = PIPELINE_PLATE
    plate = load_benchmark(name).images[index, ..., 0]
    reader = PlateReader()
    logits, ((x_step, x, y_step, y),) = reader.forward(plate[None, ..., None])
    left, top = x - x_step / 2, y - y_step / 2  # from the center of the first pixel to its corner
    affine = (x_step, 0, left + 0.5, 0, y_step, top + 0.5)  # Pillow's first pixel begins at 0
    crop = Image.fromarray(plate).transform(
        CROP_SIZE, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )

    layout = [["plate", "crop", "crop"], ["posteriors"] * 3, ["text"] * 3]
    figure, axes = plt.subplot_mosaic(
        layout, figsize=(5, 4.2), height_ratios=(1, 2.1, 0.5), width_ratios=(1, 1, 1)
    )
    for axis in axes.values():
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(visible=True, color=plots.EDGE)
    for axis, image in ((axes["plate"], plate), (axes["crop"], crop)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    window = Rectangle((left, top), CROP_SIZE[0] * x_step, CROP_SIZE[1] * y_step, fill=False)
    window.set(edgecolor=plots.ORANGE, linewidth=2)
    axes["plate"].add_patch(window)
    draw_posteriors(axes["posteriors"], logits[0])
    write_reading(axes["text"], reader.read(plate))
    axes["plate"].set_title("1  Plate, 64 x 128")
    axes["crop"].set_title("2  Crop by the spatial transformer")
    axes["posteriors"].set_title("3  CTC posteriors of the time steps, best path below")
    axes["text"].set_title("4  Text and confidence")
    return figure


def draw_posteriors(axis: Axes, logits: np.ndarray) -> None:
    """Posteriors of a plate, its best path below them; logits (steps, 11)."""
    axis.imshow(softmax(logits).T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axis.set_yticks(range(NUM_CLASSES), ["blank", *DIGITS])
    best_path = logits.argmax(axis=1)
    axis.set_xticks(range(len(logits)), [f"-{DIGITS}"[symbol] for symbol in best_path])


def write_reading(axis: Axes, reading: Reading) -> None:
    """Write the text and its confidence."""
    confidence = f"confidence {100 * min(reading.confidence, 0.999):.1f}%"
    axis.text(0.25, 0.45, reading.text, ha="center", va="center", fontsize=22)
    axis.text(0.7, 0.45, confidence, ha="center", va="center", fontsize=12)


def draw_tta() -> Figure:
    """A plate that test-time augmentation corrects."""
    name, index = TTA_PLATE
    plates = load_benchmark(name)
    return plots.tta_views(PlateReader(), plates.images[[index]], plates.labels[index])


def draw_styles() -> Figure:
    """The same numbers in each style that training draws, before augmentation."""

    def with_surroundings(text: str, rng: np.random.Generator) -> Drawing:
        return add_surroundings(load_style("interpolated")(text, rng), rng)

    styles = {style: load_style(style) for style in STYLES} | {"surroundings": with_surroundings}
    rng = np.random.default_rng(DEFAULT_SEED)
    texts = [plate_text(DEFAULT_SEED, index) for index in range(4)]
    rows = {name: [draw_inside(draw, text, rng) for text in texts] for name, draw in styles.items()}
    return plots.plate_rows(rows, labels=texts)


def draw_inside(draw: Style, text: str, rng: np.random.Generator) -> np.ndarray:
    """The first plate in a style, uint8 (64, 128), whose digits lie away from its edges."""
    edge = np.pad(np.zeros((48, 112), bool), 8, constant_values=True)
    drawings = (draw(text, rng) for _ in count())
    return next(drawing.plate for drawing in drawings if drawing.ink[edge].min() == 255)


def draw_all(directory: Path) -> None:
    """Draw every picture into a folder."""
    runs = {part: tables.load(name) for name, part in tables.RUNS.items()}
    figures = {
        "benchmark": report.chart(tables.load("benchmark")),
        "pipeline": draw_pipeline(),
        "styles": draw_styles(),
        "training": plots.training_curves(runs),
        "tta": draw_tta(),
    }
    if ablations := tables.load_ablations():
        figures["ablations"] = ablation_report.chart(ablations)
    for name, figure in figures.items():
        plots.save_figure(figure, directory / f"{name}.png")


def main() -> None:
    """Bring pictures, tables and pages up to date with the measured results."""
    draw_all(tables.RESULTS)
    tables.write_pages()


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS, tables.ResultsError))
