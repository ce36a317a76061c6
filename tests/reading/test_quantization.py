import json

import numpy as np
import openvino
import pytest
from conftest import PROJECT

from plate_ocr import utils
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.network.crnn import CONVOLUTIONS
from plate_ocr.network.spatial_transformer import FILTERS
from plate_ocr.reading import backends
from plate_ocr.reading.backends import OpenvinoBackend
from plate_ocr.reading.quantization import integers_are_fast, round_to_integers
from plate_ocr.reading.reader import SURE, decode_output
from plate_ocr.utils import cpu_supports

EXPORTED = (PROJECT / "dr_model.onnx").read_bytes()
LARGEST = json.loads((PROJECT / "dr_model.json").read_text(encoding="utf-8"))["largest_features"]


def test_what_reads_is_rounded_and_of_what_finds_the_first_alone():
    network = openvino.Core().read_model(EXPORTED)
    round_to_integers(network, LARGEST)
    steps = [step for step in network.get_ordered_ops() if step.get_type_name() == "Convolution"]
    first, *finding = steps[: -len(CONVOLUTIONS)]
    rounded = [
        [one.get_node().get_type_name() == "FakeQuantize" for one in step.input_values()]
        for step in steps
    ]
    assert len(steps) == len(CONVOLUTIONS) + len(FILTERS) + 4
    kept, changed = [False, False], [True, True]
    assert rounded == [changed, *[kept] * len(finding), *[changed] * len(CONVOLUTIONS)]
    levels = [most for most in LARGEST if most is not None]
    for step, most in zip([first, *steps[-len(CONVOLUTIONS) :]], levels, strict=True):
        features, filters = (one.get_node() for one in step.input_values())
        bounds = [one.get_node().get_data() for one in features.input_values()[1:]]
        np.testing.assert_allclose(np.ravel(bounds), [0, most, 0, most])
        weights, least, most, *_ = (one.get_node().get_data() for one in filters.input_values())
        assert least.shape == (len(weights), 1, 1, 1)  # every filter has levels of its own
        assert (least <= weights).all() and (weights <= most).all()
        assert (np.isclose(weights, least) | np.isclose(weights, most)).any(axis=(1, 2, 3)).all()


def test_levels_of_another_version_are_named():
    with pytest.raises(WeightsError, match="exported by another version"):
        round_to_integers(openvino.Core().read_model(EXPORTED), LARGEST[1:])


@pytest.mark.skipif(not cpu_supports("avx512_vnni", "avx_vnni"), reason="the processor has no VNNI")
def test_what_integers_are_sure_of_float32_reads_alike():
    plates = load_benchmark("tuning").sample(1000)
    exact = OpenvinoBackend(EXPORTED, num_threads=2, exact=True)
    rounded = OpenvinoBackend(EXPORTED, num_threads=2)
    rounded.largest = LARGEST  # also where bfloat16 alone is faster
    ours, theirs = (backend(plates.images) for backend in (rounded, exact))
    # Where a share is rounded to another level, the frame lies elsewhere.
    assert np.abs(ours.crop - theirs.crop).mean() < 0.05
    difference = np.abs(ours.logits - theirs.logits)
    assert difference.max() > 0.1 and difference.mean() < 0.2
    read, expected = decode_output(ours), decode_output(theirs)
    moved = np.abs(read.text_probability - expected.text_probability)
    sure = np.flatnonzero(read.text_probability >= SURE)
    assert moved.max() > 0.01 and moved[sure].mean() < 0.002
    assert len(sure) > 900
    assert [read.texts[row] for row in sure] == [expected.texts[row] for row in sure]
    assert moved[sure].max() < 0.3


def test_openvino_rounds_to_what_is_fastest(monkeypatch):
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = "bf16" if "BF16" in able else "f32"
    for fast in (True, False):
        monkeypatch.setattr(backends, "integers_are_fast", lambda fast=fast: fast)
        for largest in (LARGEST, ()):
            backend = OpenvinoBackend(EXPORTED, 1, largest)
            assert backend.precision == precision
            assert bool(backend.largest) == (fast and largest != ())
            assert backend.rounds == (precision == "bf16" or bool(backend.largest))
        exact = OpenvinoBackend(EXPORTED, 1, LARGEST, exact=True)
        assert not exact.rounds and exact.precision == "f32"


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fma avx512_vnni", True),
        ("avx_vnni", True),
        ("fma avx2", False),
        ("avx512_vnni amx_bf16", False),
    ],
)
def test_integers_are_fast_with_vnni_and_without_amx(monkeypatch, flags, fast):
    monkeypatch.setattr(utils, "cpuinfo", lambda field: flags)
    assert integers_are_fast() == fast
