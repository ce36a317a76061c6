"""Draw every picture in results/ that shows measured figures, from the figures in results/.

And how a careful reader looks at a plate, and how training redraws some. The notebooks and
`make benchmark` draw the others too, where they measure; this needs no measuring.

$ python tools/draw_figures.py [RESULTS]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import model_test
from benchmarks import report
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.evaluation.metrics import plots
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import DEFAULT_SEED, plate_text
from plate_ocr.reading.reader import Reading
from plate_ocr.reading.tta import VIEWS, make_views
from plate_ocr.training.fit import load_runs
from plate_ocr.training.synthetic_fonts.handwriting import render_handwriting
from plate_ocr.training.synthetic_fonts.interpolation import FontInterpolator
from plate_ocr.utils import read_json

PROJECT = Path(__file__).parents[1]
TEST = PROJECT / "data" / "test"
ON_A_LABEL = 911  # a plate of the set of another generator, without noise


def load(results: Path, name: str) -> dict:
    """One file of results."""
    return read_json(results / name)


def draw_predictions(results: Path) -> None:
    """The plates of data/test with what was read, as `model_test.py` draws them."""
    found = load(results, "test.json")
    rows = [
        model_test.Row(
            TEST / one["file_name"],
            one["label"],
            Reading(one["text"], one["confidence"], (), one["greedy_text"]),
        )
        for one in found["readings"]
    ]
    model_test.plot_predictions(results / "predictions.png", rows, found["summary"])


def pairs(counts: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    """Right readings and plates of every group."""
    return {name: (right, plates) for name, (right, plates) in counts.items()}


def draw_evaluation(evaluation: dict) -> dict[str, Figure]:
    """The figures of `evaluation.ipynb` that show no plates."""
    by_corruption = {}
    for name, counts in pairs(evaluation["conditions_by_corruption"]).items():
        corruption, _, severity = name.rpartition(" ")
        by_corruption[corruption, int(severity)] = counts
    fonts = evaluation["sets"]["held_out_fonts"]["exact_match"]
    return {
        "fonts": plots.accuracy_bars(
            pairs(evaluation["unseen_fonts_by_font"]),
            f"Unseen fonts: {fonts:.2%} read exactly; the worst",
        ),
        "corruptions": plots.severity_heatmap(by_corruption),
        "reliability": plots.reliability_diagram(
            evaluation["reliability"], evaluation["confidence"]["ece"]
        ),
    }


def draw_looks() -> Figure:
    """A plate on a label, and the five other looks of a careful reader at it."""
    plate = load_benchmark("cross_generator", PROJECT / "data" / "benchmark").images[[ON_A_LABEL]]
    return plots.plate_grid(
        np.concatenate([plate, *make_views(plate)[0]]),
        ["as it is", *VIEWS],
        columns=6,
    )


def draw_new_faces() -> Figure:
    """Plates as training redraws some of them, before they are distorted."""
    interpolator, rng = FontInterpolator(load_fonts()), np.random.default_rng(DEFAULT_SEED)
    sources = [interpolator.render] * 6 + [render_handwriting] * 6
    plates = [render(plate_text(DEFAULT_SEED, index), rng) for index, render in enumerate(sources)]
    return plots.plate_grid(plates, ["blended"] * 6 + ["written"] * 6, columns=6)


def main() -> None:
    """Draw all."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "results"
    draw_predictions(results)
    figures = draw_evaluation(load(results, "evaluation.json")) | {
        "training": plots.training_curves(load_runs(results)),
        "benchmark": report.chart(load(results, "benchmark.json")),
        "tta": draw_looks(),
        "synthetic_fonts": draw_new_faces(),
    }
    if (results / "ablations.json").exists():
        figures["ablations"] = plots.ablation_plot(load(results, "ablations.json")["runs"])
    for name, figure in figures.items():
        plots.save_figure(figure, results / f"{name}.png")
        print(results / f"{name}.png")


if __name__ == "__main__":
    sys.exit(run_command(main))
