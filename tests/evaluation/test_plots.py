import numpy as np
import pytest
from PIL import Image

from plate_ocr.evaluation import plots
from plate_ocr.reading.backends import ModelOutput
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import Reading, decode_output, to_readings


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plots.plt.close("all")


def test_the_heatmap_shows_the_hardest_corruption_first_and_leaves_unmeasured_cells_empty():
    groups = {("jpeg", 1): (10, 10), ("jpeg", 5): (4, 4), ("dirt", 5): (1, 4)}
    (axis,) = plots.severity_heatmap(groups).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dirt", "jpeg"]
    assert sorted(text.get_text() for text in axis.texts) == ["100.0", "100.0", "25.0"]
    assert "4 or 10 plates a cell" in axis.get_title(loc="left")


@pytest.mark.parametrize(
    ("groups", "drawn"), [({"a": (3, 5), "b": (5, 5)}, ["a"]), ({"b": (5, 5)}, [])]
)
def test_groups_without_errors_are_not_drawn(groups, drawn):
    (axis,) = plots.error_rate_bars(groups, "Fonts").axes
    assert [label.get_text() for label in axis.get_yticklabels()] == drawn
    assert axis.get_title(loc="left") == f"Fonts: {len(drawn)} of {len(groups)} with errors"


@pytest.mark.parametrize("errors", [0, 3])
def test_confusions_are_shown_without_the_diagonal(errors):
    counts = np.diag(np.full(10, 50))
    counts[5, 8] = errors
    (axis,) = plots.confusion_matrix(counts, "").axes
    assert [text.get_text() for text in axis.texts] == ([str(errors)] if errors else [])


def test_posteriors_mark_digits_over_the_steps_that_emit_them():
    path = np.repeat([0, 8, 0, 1, 0, 8, 4, 10], 2)  # twice the same class, from the left
    logits = 20 * np.eye(11)[path][None]
    output = ModelOutput(logits, np.array([[0.75, 16.0, 0.5, 16.0]], np.float32))
    (reading,) = to_readings(decode_output(output))
    image = np.full((64, 128), 255, np.uint8)
    figure = plots.ctc_posteriors(image, softmax(logits)[0], "", reading.digits, output.crop[0])
    plate, grid = figure.axes
    assert [text.get_text() for text in plate.texts] == list("70739") == list(reading.text)
    left, right, _, _ = grid.images[0].get_extent()
    for text, emitting, line in zip(plate.texts, (2, 6, 10, 12, 14), grid.lines, strict=True):
        center = left + (emitting + 1) * (right - left) / 16  # of two time steps
        assert text.get_position()[0] == pytest.approx(center)
        assert line.get_xdata() == pytest.approx([center] * 2)


def test_boxes_lie_on_plates_and_small_ones_are_marked_by_a_cross():
    images, crops = np.full((4, 64, 128, 1), 255, np.uint8), np.zeros((4, 32, 128, 1))
    targets = np.tile([0.25, 0.75, 0.25, 0.5], (4, 1))
    boxes = targets.copy()
    boxes[3, :2] = 0.5, 0.51
    figure = plots.localization_grid(images, targets, boxes, crops)
    plates = [axis for axis in figure.axes if axis.patches]
    assert len(plates) == len(images) and len(figure.axes) == 2 * 2 * 3
    for axis in plates:
        true, _ = axis.patches
        assert true.get_bbox().bounds == (31.5, 15.5, 64, 16)
    assert [len(axis.lines) for axis in plates] == [0, 0, 0, 1]
    assert plates[3].lines[0].get_xydata()[0] == pytest.approx([64.14, 23.5])


def test_wrong_predictions_show_their_label(tmp_path):
    readings = [Reading(text, 0.5, (), text) for text in ("12345", "54321", "00000")]
    images = np.full((3, 64, 128, 1), 255, np.uint8)
    figure = plots.prediction_grid(images, ["12345", "54327", None], readings)
    titles = [axis.get_title(loc="center") for axis in figure.axes]
    assert ["54327" in title for title in titles] == [False, True, False]
    plots.save_figure(figure, tmp_path / "plates.png")
    width = figure.get_size_inches()[0] * plots.DPI
    assert Image.open(tmp_path / "plates.png").width == pytest.approx(width, abs=1)
