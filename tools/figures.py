"""Draw the pictures of results/ that need no measuring and write all generated tables.

$ python -m tools.figures
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from benchmarks import ablation_report, report
from plate_ocr.cli import run_command
from plate_ocr.evaluation import plots
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.plates.alphabet import DIGITS, NUM_CLASSES
from plate_ocr.plates.rendering import DEFAULT_SEED, plate_text
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import PlateReader, Reading
from plate_ocr.reading.tta import VIEWS, make_views
from plate_ocr.training.fit import load_runs
from plate_ocr.training.styles import STYLES, load_style
from plate_ocr.training.styles.row import Drawing
from plate_ocr.training.styles.surroundings import add_surroundings
from tools import tables

PIPELINE_PLATE = "corruptions", 3297  # a shadow, off centre, and a digit that repeats
TTA_PLATE = "cross_generator", 911  # light digits on a label
CROP_SIZE = 128, 32  # columns, rows


def draw_pipeline() -> Figure:
    """One plate on its way through the reader: plate, crop, CTC posteriors, text."""
    name, index = PIPELINE_PLATE
    plate = load_benchmark(name).images[index, ..., 0]
    reader = PlateReader()
    logits, ((x_step, x, y_step, y),) = reader.forward(plate[None, ..., None])
    left, top = x - x_step / 2, y - y_step / 2  # from the centre of the first pixel to its corner
    affine = (x_step, 0, left + 0.5, 0, y_step, top + 0.5)  # Pillow's first pixel begins at 0
    crop = Image.fromarray(plate).transform(
        CROP_SIZE, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
    )

    ratios = {"width_ratios": (1, 1.7), "height_ratios": (1, 1.5)}
    figure, axes = plt.subplots(2, 2, figsize=(7, 3.6), **ratios)
    (plate_axis, crop_axis), (text_axis, steps_axis) = axes
    for axis in axes.flat:
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
    for axis, image in ((plate_axis, plate), (crop_axis, crop)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="auto")
    window = Rectangle((left, top), CROP_SIZE[0] * x_step, CROP_SIZE[1] * y_step, fill=False)
    window.set(edgecolor=plots.ORANGE, linewidth=2)
    plate_axis.add_patch(window)
    steps_axis.imshow(softmax(logits)[0].T, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    steps_axis.set_yticks(range(NUM_CLASSES), ["blank", *DIGITS])
    write_reading(text_axis, logits[0], reader.read(plate))
    plate_axis.set_title("1  Plate, 64 x 128 pixels")
    crop_axis.set_title("2  Crop by the spatial transformer, 32 x 128")
    steps_axis.set_title(f"3  CTC posteriors of {logits.shape[1]} time steps")
    text_axis.set_title("4  Text and confidence")
    return figure


def write_reading(axis: Axes, logits: np.ndarray, reading: Reading) -> None:
    """Write the most probable class of every time step, the text and its confidence."""
    axis.set_facecolor("#e8eef4")
    axis.spines[:].set_visible(False)
    best_path = "".join(f"·{DIGITS}"[symbol] for symbol in logits.argmax(axis=1))
    for height, line, size, family in (
        (0.83, "best path, · is blank", 9, None),
        (0.71, best_path, 11, "monospace"),
        (0.4, reading.text, 30, None),
        (0.12, f"confidence {100 * min(reading.confidence, 0.999):.1f} %", 11, None),
    ):
        axis.text(0.5, height, line, ha="center", va="center", fontsize=size, family=family)


def draw_tta() -> Figure:
    """A plate and its views in test-time augmentation."""
    name, index = TTA_PLATE
    plate = load_benchmark(name).images[[index]]
    images = np.concatenate([plate, *make_views(plate)[0]])
    return plots.plate_grid(images, ["original", *VIEWS])


def draw_styles() -> Figure:
    """A row of plates in each style that training draws, before augmentation."""

    def with_surroundings(text: str, rng: np.random.Generator) -> Drawing:
        return add_surroundings(load_style("interpolated")(text, rng), rng)

    styles = {style: load_style(style) for style in STYLES} | {"surroundings": with_surroundings}
    captions, rng = np.repeat(list(styles), 4).tolist(), np.random.default_rng(DEFAULT_SEED)
    texts = [plate_text(DEFAULT_SEED, index) for index in range(len(captions))]
    plates = [styles[name](text, rng).plate for name, text in zip(captions, texts, strict=True)]
    return plots.plate_grid(plates, captions, columns=4)


def draw_all(directory: Path) -> None:
    """Draw every picture into a folder."""
    figures = {
        "benchmark": report.chart(tables.load("benchmark")),
        "pipeline": draw_pipeline(),
        "styles": draw_styles(),
        "training": plots.training_curves(load_runs(tables.RESULTS)),
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
    sys.exit(run_command(main, tables.ResultsError))
