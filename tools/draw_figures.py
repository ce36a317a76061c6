"""Draw every picture in results/ that shows measured figures, from the figures in results/.

And how a careful reader looks at a plate, and how training redraws some. The notebooks and
`make benchmark` draw the others too, where they measure; this needs no measuring.

$ python tools/draw_figures.py [RESULTS]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the package, where it is not installed

import model_test
from benchmarks import report
from plate_ocr import plotting
from plate_ocr.blending import FaceBlender
from plate_ocr.console import run_command
from plate_ocr.evaluation import load_benchmark
from plate_ocr.files import read_json
from plate_ocr.fonts import load_fonts
from plate_ocr.reader import Reading
from plate_ocr.rendering import DEFAULT_SEED, plate_text
from plate_ocr.training import read_results
from plate_ocr.views import VIEWS, views_of

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
            Reading(one["text"], one["confidence"], (), one["greedy"]),
        )
        for one in found["readings"]
    ]
    model_test.draw(results / "predictions.png", rows, found["summary"])


def pairs(counts: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    """Right readings and plates of every group."""
    return {name: (right, plates) for name, (right, plates) in counts.items()}


def draw_evaluation(evaluation: dict) -> dict[str, Figure]:
    """The figures of `evaluation.ipynb` that show no plates."""
    by_corruption = {}
    for name, counts in pairs(evaluation["conditions_by_corruption"]).items():
        corruption, _, severity = name.rpartition(" ")
        by_corruption[corruption, int(severity)] = counts
    fonts = evaluation["sets"]["unseen_fonts"]["exact_match"]
    return {
        "fonts": plotting.accuracy_bars(
            pairs(evaluation["unseen_fonts_by_font"]),
            f"Unseen fonts: {fonts:.2%} read exactly; the worst",
        ),
        "conditions": plotting.severity_heatmap(by_corruption),
        "reliability": plotting.reliability_diagram(
            evaluation["reliability"], evaluation["certainty"]["calibration_error"]
        ),
    }


def draw_looks() -> Figure:
    """A plate on a label, and the five other looks of a careful reader at it."""
    plate = load_benchmark("another_generator", PROJECT / "data" / "benchmark").images[[ON_A_LABEL]]
    return plotting.plate_grid(
        np.concatenate([plate, *views_of(plate)[0]]),
        ["as it is", *VIEWS],
        columns=6,
    )


def draw_new_faces() -> Figure:
    """Plates as training redraws some of them, before they are distorted."""
    blender, random = FaceBlender(load_fonts()), np.random.default_rng(DEFAULT_SEED)
    plates = [
        blender.draw(plate_text(DEFAULT_SEED, index), random, written=index >= 6)
        for index in range(12)
    ]
    return plotting.plate_grid(plates, ["blended"] * 6 + ["written"] * 6, columns=6)


def main() -> None:
    """Draw all."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "results"
    draw_predictions(results)
    figures = draw_evaluation(load(results, "evaluation.json")) | {
        "training": plotting.loss_curves(read_results(results)),
        "benchmark": report.chart(load(results, "benchmark.json")),
        "looks": draw_looks(),
        "new_faces": draw_new_faces(),
    }
    if (results / "ablations.json").exists():
        figures["ablations"] = plotting.ablation_dots(load(results, "ablations.json")["runs"])
    for name, figure in figures.items():
        plotting.save_figure(figure, results / f"{name}.png")
        print(results / f"{name}.png")


if __name__ == "__main__":
    sys.exit(run_command(main))
