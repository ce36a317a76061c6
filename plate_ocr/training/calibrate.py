"""Fit the confidence of trained weights to labeled plates."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from plate_ocr.network.checkpoint import load_metadata, write_metadata
from plate_ocr.plates.dataset import PlateDataset, held_out_range, render_plates
from plate_ocr.reading.calibration import PlattScaling, fit_platt_scaling
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.augmentation import PlateAugmentation
from plate_ocr.training.config import CONFIGS

DRAWN_PLATES = 300  # beside the labeled ones


def calibrate(weights: Path | str, plates: PlateDataset, backend: str = "onnx") -> PlattScaling:
    """Calibrate weights, and let their metadata keep it.

    A few plates hold few mistakes, so drawn plates in the styles of the training are read too.
    Together they weigh at most as much as the given plates, and each at most as much as one of
    those. The calibration of single views is used for test-time augmentation as well.

    Args:
        weights: the HDF5 file, its export beside it unless Keras is the backend.
        plates: labeled plates that were not trained on.
        backend: that reads them.
    """
    weights = Path(weights)
    metadata = load_metadata(weights)
    drawn = render_plates(held_out_range(DRAWN_PLATES, plates.digits), digits=plates.digits)
    config = CONFIGS["robust"]
    augment = PlateAugmentation(config.styles, config.surroundings_prob)
    images, _ = augment(drawn.images, drawn.labels, range(len(drawn)))
    predictions = PlateReader(weights, backend).predict(np.concatenate([plates.images, images]))
    correct = np.array(predictions.texts) == np.array(plates.labels + drawn.labels)
    share = min(1.0, len(plates) / len(drawn))
    weight = np.repeat([1.0, share], [len(plates), len(drawn)])
    calibration = fit_platt_scaling(predictions.text_probability, correct, weight)
    write_metadata(weights, metadata | {"calibration": asdict(calibration)})
    return calibration
