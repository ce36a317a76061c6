import shutil

import numpy as np

from plate_ocr.evaluation.benchmark import evaluate
from plate_ocr.plates.dataset import PlateDataset, render_plates
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training import calibrate
from plate_ocr.training.calibrate import calibrate as calibrate_weights


def test_weights_are_calibrated_and_keep_it(random_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "DRAWN_PLATES", 10)
    for path in random_weights.parent.iterdir():
        shutil.copy(path, tmp_path)
    weights = tmp_path / random_weights.name
    drawn = render_plates(range(93_000, 93_040))
    texts = evaluate(PlateReader(weights), drawn).texts.tolist()
    plates = PlateDataset(drawn.images, texts[:30] + drawn.labels[30:], [])
    before = evaluate(PlateReader(weights), plates)
    assert before.correct.mean() == 0.75 and before.confidence.max() < 0.1
    calibration = calibrate_weights(weights, plates)
    assert PlateReader(weights).calibration == calibration
    after = evaluate(PlateReader(weights), plates)
    assert np.all(after.confidence > before.confidence)
    assert calibrate_weights(weights, plates) == calibration  # again, it starts from P(text)
