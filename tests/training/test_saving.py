import h5py
import numpy as np
from conftest import run_python

from plate_ocr.network.checkpoint import load_metadata, load_model
from plate_ocr.network.crnn import build_model
from plate_ocr.plates.dataset import render_plates
from plate_ocr.training.config import CONFIGS
from plate_ocr.training.saving import save_model, save_run
from plate_ocr.utils import read_json

PLAIN_KERAS = """
import sys
import keras, numpy
path, arrays = sys.argv[1:]
model = keras.models.load_model(path, compile=False)
numpy.save(arrays, model.predict(numpy.load(arrays), verbose=0))
assert "plate_ocr" not in sys.modules
"""


def test_saved_weights_restore_the_network_with_and_without_this_package(tmp_path):
    model, path = build_model(dropout=0.2), tmp_path / "saved.h5"
    save_model(model, path)
    with h5py.File(path) as file:
        assert "optimizer_weights" not in file
    loaded = load_model(path, load_metadata(path))
    for weight, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(weight, expected)
    save_model(model, again := tmp_path / "again" / path.name)
    assert again.read_bytes() == path.read_bytes()
    images = render_plates(range(90_000, 90_008)).images
    expected = model.predict(images, verbose=0)
    np.save(arrays := tmp_path / "arrays.npy", images)
    assert run_python("-c", PLAIN_KERAS, path, arrays, cwd=tmp_path).returncode == 0
    np.testing.assert_allclose(np.load(arrays), expected, atol=1e-4)


def test_results_come_back_as_they_were_written(tmp_path):
    save_model(build_model(), weights := tmp_path / "dr_model.h5")
    history = [{"epoch": n, "loss": 1 / n, "seconds": 90.0, "device": "CPU"} for n in (1, 2, 3)]
    state = {"run": {"precision": "float32"}, "epoch": 3, "stopped": False, "history": history}
    state |= {"best_epoch": 3, "best_loss": 1 / 3}
    saved = save_run(CONFIGS["robust"], state, weights, {"held_out_correct": 3}, tmp_path)
    assert read_json(tmp_path / "training_robust.json") == saved and saved["history"] == history
    assert saved["measured"] == {"held_out_correct": 3} and saved["minutes"] == 4.5
    assert saved["origin"]["weights"] == load_metadata(weights)["sha256"][weights.name]
