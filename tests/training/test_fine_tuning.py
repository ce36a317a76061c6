"""Plates of one's own, from training to reading."""

from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.cli import main
from plate_ocr.plates.dataset import (
    held_out_range,
    load_folder,
    mix_with_replay,
    render_plates,
)
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.config import CONFIGS
from plate_ocr.training.fit import save_model, train


def exact_match(reader, plates):
    texts = [reading.text for reading in reader.read(list(plates.images))]
    return np.mean(np.array(texts) == plates.labels)


def outline(plate):
    ink = 255 - plate
    return 255 - (cv2.dilate(ink, np.ones((3, 3), np.uint8)) - ink)


def write_plates(folder, positions, change=lambda plate: plate):
    """Somebody's own JPEG files."""
    folder.mkdir()
    plates = render_plates(positions)
    for image, label in zip(plates.images[..., 0], plates.labels, strict=True):
        Image.fromarray(change(image)).resize((256, 128)).save(folder / f"{label}.jpg", quality=95)
    return folder


@pytest.mark.slow
def test_a_new_style_is_learned_and_the_others_are_not_forgotten(tmp_path, shipped):
    own = load_folder(write_plates(tmp_path / "own", range(70_000, 70_200), outline))
    test = load_folder(write_plates(tmp_path / "test", range(80_000, 80_400), outline))
    config = CONFIGS["fine_tune"]
    plates = mix_with_replay(own, render_plates(range(config.replay_plates)))
    validation = render_plates(held_out_range(config.val_plates), exclude_labels=own.labels)
    initial_weights = PROJECT / "dr_model.h5"
    model, _ = train(
        plates, validation, config, tmp_path / "checkpoints", initial_weights=initial_weights
    )
    save_model(model, tmp_path / "own.h5")
    tuned = PlateReader(tmp_path / "own.h5", backend="keras")
    before, after = exact_match(shipped, test), exact_match(tuned, test)
    assert after > 0.8 and after > before + 0.05, (before, after)
    held_out_plates = render_plates(range(92_000, 93_000), exclude_labels=own.labels)
    assert exact_match(tuned, held_out_plates) > 0.97


def test_the_command_fine_tunes_on_one_folder_after_another(tmp_path, random_weights, monkeypatch):
    tiny = {"batch_size": 8, "epochs": 1, "replay_plates": 8, "val_plates": 10}
    monkeypatch.setitem(CONFIGS, "fine_tune", replace(CONFIGS["fine_tune"], **tiny))
    for start in (90_000, 90_004):  # of the numbers to validate with
        folder = write_plates(tmp_path / str(start), range(start, start + 8))
        command = ["fine-tune", str(folder), str(tmp_path / "mine.h5")]
        assert main([*command, "--initial-weights", str(random_weights)]) == 0
        (_, reading), *_ = PlateReader(tmp_path / "mine.h5").read_folder(folder)
        assert len(reading.text) == 5
        assert {path.suffix for path in tmp_path.glob("mine.*")} == {".h5", ".json", ".onnx"}


@pytest.mark.parametrize("fault", ["no validation plates", "no plates", "weights", "checkpoints"])
def test_what_cannot_be_trained_costs_one_line_before_the_first_epoch(
    tmp_path, monkeypatch, capsys, fault
):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("an epoch started"))
    monkeypatch.setitem(CONFIGS, "tiny", replace(CONFIGS["quick"], val_plates=3))
    paths = {"own": tmp_path / "own", "weights": tmp_path / "mine.h5"}
    paths["checkpoints"] = tmp_path / "checkpoints"
    positions = {"no validation plates": range(90_000, 90_003), "no plates": range(0)}
    write_plates(paths["own"], positions.get(fault, range(3)))
    if fault == "weights":
        paths["weights"].mkdir()
    if fault == "checkpoints":
        paths["checkpoints"].touch()
    command = ["train", str(paths["own"]), str(paths["weights"]), "--config", "tiny"]
    assert main([*command, "--checkpoints", str(paths["checkpoints"])]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"{paths.get(fault, paths['own'])}: "), error
    assert not paths["checkpoints"].is_dir() and not paths["weights"].is_file()
