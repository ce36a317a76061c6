"""Images of one's own, from labels to readings."""

import json
import re
import shlex
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import interrupt, write_plates

from plate_ocr import cli
from plate_ocr.cli import main
from plate_ocr.evaluation import fine_tuning
from plate_ocr.evaluation.fine_tuning import (
    FineTuningReport,
    doubtful_images,
    markdown,
    threshold_text,
)
from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network.checkpoint import load_metadata
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import PlateDataset, load_folder, render_plates
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training import calibrate
from plate_ocr.training import fine_tuning as training
from plate_ocr.training.config import FINE_TUNE, TrainingError
from plate_ocr.training.fine_tuning import (
    FineTuned,
    OwnAndDrawnBatches,
    average_weights,
    fine_tune,
    predict_boxes,
    split_images,
)

TINY = replace(FINE_TUNE, batch_size=8, epochs=2, own_images=16, drawn_plates=8, measured_plates=2)
WRITTEN = {"dr_model.h5", "dr_model.json", "dr_model.onnx", "report.md", "report.png"}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(cli, "FINE_TUNE", TINY)
    monkeypatch.setattr(calibrate, "DRAWN_PLATES", 4)


@pytest.fixture
def own(tmp_path):
    return write_plates(tmp_path / "own", range(70_000, 70_012), size=(256, 128), suffix=".jpg")


def write_table(folder, labels):
    """Label images by a table, in the order of their names."""
    names = sorted(path.name for path in folder.iterdir())
    rows = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *rows]))


@pytest.fixture
def command(own, tmp_path, random_weights):
    options = ["--output", tmp_path / "mine", "--initial-weights", random_weights]
    return [*map(str, ["fine-tune", own, *options])]


def raise_interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_to_its_end(tiny, command, tmp_path, monkeypatch, capsys):
    mine, saved = tmp_path / "mine", []
    save = keras.Model.save_weights

    def save_once(model, path):
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        save(model, path)

    command = [*command, "--minutes", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "seconds_per_epoch", lambda *_: 30.0)
        patch.setattr(keras.Model, "save_weights", save_once)
        assert main(command) == 130
    assert {path.name for path in mine.iterdir()} == {"checkpoints"}
    monkeypatch.setattr(training, "seconds_per_epoch", lambda *_: pytest.fail("measured again"))
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "save_figure", raise_interrupt)
        assert main(command) == 130
    assert json.loads((mine / "checkpoints" / "state.json").read_text())["epoch"] == 2
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert main(command) == 0
    assert {path.name for path in mine.glob("[!.]*")} == WRITTEN
    assert str(mine / "dr_model.h5") in capsys.readouterr().out
    assert main(command) == 2 and str(mine) in capsys.readouterr().err  # is finished


INTERRUPTIBLE = """
import runpy, sys
from dataclasses import replace
from plate_ocr.training import config
config.FINE_TUNE = replace(config.FINE_TUNE, epochs=99, own_images=640, drawn_plates=64)
runpy.run_module("plate_ocr", run_name="__main__")
"""


@pytest.mark.slow
def test_ctrl_c_while_it_trains(command, tmp_path):
    state = tmp_path / "mine" / "checkpoints" / "state.json"
    interrupt(
        lambda: state.exists() and json.loads(state.read_text())["epoch"],
        *("-c", INTERRUPTIBLE, *command),
    )


@pytest.mark.parametrize(
    "fault",
    ["few images", "one label", "two faults", "shared", "file", "thesis.txt", "checkpoints/x.h5"],
)
def test_every_fault_costs_a_line_before_the_first_epoch(
    tiny, command, own, tmp_path, monkeypatch, capsys, fault
):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("an epoch started"))
    paths, named = sorted(own.iterdir()), own
    if fault == "few images":
        for path in paths[:3]:
            path.unlink()
    elif fault == "one label":
        write_table(own, 12 * ["12345"])
    elif fault == "two faults":
        paths[0].rename(own / "1234.jpg")
        paths[1].write_bytes(b"")
    elif fault == "shared":
        named = shutil.copytree(own, tmp_path / "test")
        command += ["--validation", str(named)]
    elif fault == "file":
        named = tmp_path / "mine"
        named.touch()
    else:  # the output holds something else
        named = tmp_path / "mine"
        (named / fault).parent.mkdir(parents=True)
        (named / fault).touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (2 if fault == "two faults" else 1), lines
    assert all(line.startswith(str(named)) for line in lines)
    assert sorted(tmp_path.rglob("*")) == before


def test_images_may_show_another_number_of_digits_than_the_weights(tiny, command, own, tmp_path):
    shutil.rmtree(own)
    write_plates(own, range(5_000, 5_012), digits=4)
    assert main([*command, "--digits", "4"]) == 0
    weights = tmp_path / "mine" / "dr_model.h5"
    assert load_metadata(weights)["digits"] == PlateReader(weights).digits == 4
    with pytest.raises(TrainingError, match="3 digits"):
        fine_tune(own, tmp_path / "other", digits=3)


def test_a_seeded_fifth_is_for_validation(own):
    trained, validation = split_images(own, None, digits=5, seed=1)
    assert (len(trained), len(validation)) == (10, 2)
    assert sorted(trained.labels + validation.labels) == load_folder(own).labels
    assert split_images(own, None, digits=5, seed=1)[1].labels == validation.labels


def test_a_fifth_of_the_images_is_for_validation_however_many_share_a_label(own):
    write_table(own, [f"0000{min(number, 4)}" for number in range(12)])
    for seed in range(5):
        trained, validation = split_images(own, None, digits=5, seed=seed)
        assert len(validation) == 2 and not set(trained.labels) & set(validation.labels)


def test_images_to_train_on_are_left_however_many_share_a_label(own):
    write_table(own, [*11 * ["11111"], "22222"])
    assert split_images(own, None, digits=5, seed=1)[1].labels == ["22222"]


def test_the_new_weights_are_near_the_fine_tuned_ones():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.set_weights([np.ones((2, 1)), np.ones(1)])
    average_weights(model, [np.zeros((2, 1)), np.full(1, 5.0)])
    kernel, bias = model.get_weights()
    assert kernel.tolist() == [[0.75], [0.75]] and bias.tolist() == [2]


@pytest.mark.parametrize(
    ("edges", "box"),
    [((0.25, 0.75, 0.25, 0.5), [32, 16, 96, 32]), ((0.5, 0.5, 0, 1), [0, 0, 128, 64])],
)
def test_where_the_network_finds_no_box_the_plate_stands_in(edges, box):
    class Finds:
        def predict(self, images, verbose):
            return {"box": np.tile(edges, (len(images), 1))}

    assert predict_boxes(Finds(), np.zeros((2, 64, 128, 1))).tolist() == [box, box]


def test_half_of_a_batch_is_own_and_it_depends_on_its_number_alone():
    own = render_plates(range(80_000, 80_010))
    boxes = np.tile([20, 10, 100, 50], (10, 1))
    batches, again = OwnAndDrawnBatches(own, boxes, TINY), OwnAndDrawnBatches(own, boxes, TINY)
    batches[0]
    batches.shuffle(epoch=3)
    again.shuffle(epoch=3)
    seen = []
    for number in range(len(batches)):
        images, targets = batches[number]
        assert np.array_equal(images, again[number][0])
        assert images.shape == (8, 64, 128, 1) and targets["box"].shape == (8, 4)
        seen += targets["logits"][:4].tolist()
    assert sorted(seen) == sorted(2 * encode(own.labels).tolist())


def readings(plates, texts, confidence):
    columns = plates.labels, texts, texts, confidence, plates.records
    return EvaluationResult(*map(np.array, columns))


@pytest.fixture
def report(tmp_path):
    """Of four validation images, two are misread; of two others, both; one of each surely."""
    plates = render_plates(range(6))
    for row, record in enumerate(plates.records):
        record["file_name"] = f"photograph-$|{row}.jpg"
    validation, own = plates.take(np.arange(4)), plates.take(np.arange(4, 6))
    tuned = FineTuned(
        tmp_path / "my plates" / "dr_model.h5", own, validation, [{"seconds": 60.0}], best_epoch=1
    )
    texts = [validation.labels[0], "00000", validation.labels[2], "00000"]
    before = {"validation images": readings(validation, 4 * ["00000"], [0.1] * 4)}
    after = {"validation images": readings(validation, texts, [0.9, 0.2, 0.99, 0.97])}
    trained = readings(own, 2 * ["00000"], [0.5, 0.95])
    return FineTuningReport(tuned, before, after, trained)


def test_doubtful_readings_and_contradicted_labels_are_reported(report):
    assert report.doubtful().tolist() == [1, 0, 3, 2]
    assert report.contradicted().tolist() == [3, 5]
    page = markdown(report)
    assert "| 4 | 0.0 | 50.0 |" in page
    assert shlex.quote(str(report.tuned.weights)) in page  # the shell takes it as it stands
    for row in range(6):
        assert page.count(f"photograph-$\\|{row}.jpg") == [1, 1, 1, 2, 0, 1][row]
    figure = doubtful_images(report)
    assert len(figure.axes) == 5  # each image once
    assert figure.get_suptitle().endswith("; last: label to check")


@pytest.mark.parametrize(("mistakes", "found"), [(1, True), (1_200, False)])
def test_a_threshold_takes_thousands_of_readings_without_a_mistake(report, mistakes, found):
    assert report.accepted() == (1, 0.99)
    plates = render_plates([0])
    many = PlateDataset(plates.images, plates.labels * 4_000, [])
    confidence = np.linspace(1, 0.9999, 4_000)
    texts = [*plates.labels * (4_000 - mistakes), *["wrong"] * mistakes]
    sure = replace(report, after={"validation images": readings(many, texts, confidence)})
    threshold = re.findall(r"0\.\d+", threshold_text(sure))
    assert [0.9999 <= float(number) < 1 for number in threshold] == [True] * found
