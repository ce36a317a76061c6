"""The weights for phones; of the ONNX export tests/test_reader.py takes care."""

import shutil

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.dataset import load_folder
from plate_ocr.evaluation import load_benchmark
from plate_ocr.export import export_litert, litert_engine
from plate_ocr.reader import readings_from_look


@pytest.mark.slow
def test_litert_reads_what_keras_reads(shipped, tmp_path):
    """Without TensorFlow's own operations: the interpreter would refuse those."""
    for name in ("dr_model.h5", "dr_model.json"):
        shutil.copy(PROJECT / name, tmp_path)
    path = export_litert(tmp_path / "dr_model.h5")
    conditions = load_benchmark("conditions")
    harsh = np.flatnonzero(conditions.tags["severity"] >= 4)[::8]
    images = np.concatenate(
        [
            load_folder(PROJECT / "data" / "test").images,
            conditions.images[harsh],
            load_benchmark("unseen_fonts").sample(250).images,
        ]
    )
    assert len(images) == 560
    before, after = (
        readings_from_look(engine(images), shipped.calibration)
        for engine in (shipped.look, litert_engine(path.read_bytes()))
    )
    assert [one.text for one in after] == [one.text for one in before]
    differences = [
        one.confidence - other.confidence for one, other in zip(after, before, strict=True)
    ]
    assert np.abs(differences).max() < 1e-4
    told = f"`dr_model.tflite`, {path.stat().st_size / 1e6:.1f} MB"
    assert told in (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
