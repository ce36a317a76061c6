import json

import numpy as np
import openvino
import pytest
from conftest import PROJECT

from plate_ocr import engines, processor
from plate_ocr.engines import OpenvinoEngine
from plate_ocr.evaluation import load_benchmark
from plate_ocr.integers import integers_are_fast, round_to_integers
from plate_ocr.reader import SURE, decode_look

EXPORTED = (PROJECT / "dr_model.onnx").read_bytes()
LARGEST = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))["largest_features"]


def test_the_last_convolutions_are_rounded_and_no_other():
    network = openvino.Core().read_model(EXPORTED)
    round_to_integers(network, LARGEST)
    steps = [step for step in network.get_ordered_ops() if step.get_type_name() == "Convolution"]
    sources = [[one.get_node() for one in step.input_values()] for step in steps]
    rounded = [[one.get_type_name() == "FakeQuantize" for one in both] for both in sources]
    assert rounded == [[False, False]] * (len(steps) - 5) + [[True, True]] * 5
    for (features, filters), most in zip(sources[-5:], LARGEST, strict=True):
        bounds = [one.get_node().get_data() for one in features.input_values()[1:]]
        np.testing.assert_allclose(np.ravel(bounds), [0, most, 0, most])
        weights, least, most, *_ = (one.get_node().get_data() for one in filters.input_values())
        assert least.shape == (len(weights), 1, 1, 1)  # every filter has levels of its own
        assert (least <= weights).all() and (weights <= most).all()
        assert (np.isclose(weights, least) | np.isclose(weights, most)).any(axis=(1, 2, 3)).all()


@pytest.mark.skipif(not integers_are_fast(), reason="the processor has no VNNI")
def test_what_integers_are_sure_of_float32_reads_alike():
    plates = load_benchmark("tuning").sample(1000)
    exact = OpenvinoEngine(EXPORTED, threads=2, exact=True)
    rounded = OpenvinoEngine(EXPORTED, threads=2, largest=LARGEST)
    rounded.precision = "i8"  # also where bfloat16 is faster
    ours, theirs = (engine(plates.images) for engine in (rounded, exact))
    assert np.array_equal(ours.frames, theirs.frames)
    difference = np.abs(ours.logits - theirs.logits)
    assert difference.max() > 0.1 and difference.mean() < 0.2
    read, expected = decode_look(ours), decode_look(theirs)
    sure = np.flatnonzero(read.text_probability >= SURE["i8"])
    assert len(sure) > 900
    assert [read.texts[row] for row in sure] == [expected.texts[row] for row in sure]
    assert np.abs(read.text_probability - expected.text_probability)[sure].max() < 0.05


def test_openvino_takes_the_fastest_precision(monkeypatch):
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    first = ["bf16"] if "BF16" in able else []
    for fast in (True, False):
        monkeypatch.setattr(engines, "integers_are_fast", lambda fast=fast: fast)
        choices = [*first, *(["i8"] if fast else []), "f32"]
        assert OpenvinoEngine(EXPORTED, 1, LARGEST).precision == choices[0]
        assert OpenvinoEngine(EXPORTED, 1).precision == [*first, "f32"][0]
        assert OpenvinoEngine(EXPORTED, 1, LARGEST, exact=True).precision == "f32"


@pytest.mark.parametrize(
    ("flags", "fast"), [("fma avx512_vnni", True), ("avx_vnni", True), ("fma avx2", False)]
)
def test_integers_are_fast_where_the_processor_adds_them_up(monkeypatch, flags, fast):
    monkeypatch.setattr(processor, "of_processor", lambda field: flags)
    assert integers_are_fast() == fast
