from plate_ocr.network.crnn import build_model
from plate_ocr.training.fit import save_model


def test_equal_weights_are_equal_files(tmp_path):
    model = build_model()
    for name in ("first", "second"):
        save_model(model, tmp_path / name / "weights.h5")
    first, second = (tmp_path / name / "weights.h5" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
