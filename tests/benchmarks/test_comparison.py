"""The comparison with other readers, without installing them."""

import sys

import numpy as np
import pytest
from conftest import write_plates

from benchmarks import baselines, compare, report
from benchmarks.baselines import READERS
from benchmarks.environments import PROJECT, last_error
from benchmarks.readers import crop_to_ink, decode_digits


@pytest.mark.parametrize(("background", "ink"), [(255, 0), (0, 255), (120, 60), (90, 200)])
def test_crop_keeps_the_ink_and_a_margin_but_no_specks(background, ink):
    plate = np.full((64, 128), background, np.uint8)
    plate[20:40, 30:90] = ink
    plate[60, 120] = ink
    rows, columns = crop_to_ink(plate).shape
    # The margin is 4 pixels; the blur may extend the ink by one pixel.
    assert 28 <= rows <= 30 and 68 <= columns <= 70


def test_crop_ends_at_the_border_and_empty_plates_and_photographs_stay():
    corner, empty = np.full((2, 64, 128), 255, np.uint8)
    corner[:10, :20] = 0
    rows, columns = crop_to_ink(corner).shape
    assert rows <= 15 and columns <= 25
    photograph = np.full((64, 200), 255, np.uint8)  # by its size
    photograph[20:40, 30:90] = 0
    for image in (empty, photograph):
        assert np.array_equal(crop_to_ink(image), image)


def test_decoding_is_restricted_to_digits():
    # A model of 20 classes: blank 0, digits 5 to 14; a letter has the highest score everywhere.
    classes = np.array([0, *range(5, 15)])
    scores = np.zeros((8, 20))
    scores[:, 19] = 9
    for step, symbol in enumerate([0, 5 + 7, 5 + 7, 0, 5 + 7, 5 + 0, 5 + 3, 0]):
        scores[step, symbol] = 1
    assert decode_digits(scores, classes) == "7703"
    assert decode_digits(np.eye(11)[[0, 0, 0]], np.arange(11)) == ""


def test_the_warm_up_does_not_count_and_the_median_round_does():
    single = [[100.0, 100.0], [0.1, 0.3], [0.1, 0.1], [0.1, 0.1]]
    rounds = [
        {"seconds": {"1": calls, "8": [batch]}, "start_seconds": start, "figures": {"bytes": 5}}
        for calls, batch, start in zip(single, [100, 0.4, 0.2, 0.4], [9, 1, 3, 2], strict=True)
    ]
    assert compare.summarize(rounds) == {
        "plates_per_second": {"1": 10.0, "8": 20.0},
        "best_batch": 8,
        "latency_ms": 100.0,
        "start_seconds": 2,
        "bytes": 5,
    }


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("E: Failed to fetch http://somewhere.example/a.deb  404\n", "E: Failed to fetch ... 404"),
        (f"a.b.WeightsError: {PROJECT}/x.onnx: no\n", "a.b.WeightsError: x.onnx: no"),
        ("", "no output"),
    ],
)
def test_reasons_state_the_error_and_no_address(stderr, reason):
    assert " ".join(last_error(stderr).split()).startswith(reason)


def test_the_reason_of_a_reader_that_fails_is_stated_and_the_others_are_measured(
    monkeypatch, tmp_path
):
    # Ours and one that is not installed here, on two plates of each set and of a folder.
    compared = (READERS[0], next(reader for reader in READERS if reader.key == "ddddocr"))
    monkeypatch.setattr(baselines, "READERS", compared)
    monkeypatch.setattr(compare, "install", lambda *arguments: sys.executable)
    folder = write_plates(tmp_path / "meters" / "test", range(95_000, 95_002), size=(300, 150))
    sets = {name: part.sample(2) for name, part in compare.load_sets([folder]).items()}
    results = compare.compare(sets, timed=8, rounds=1)
    ours, failed = results["readers"]["plate_ocr"], results["readers"]["ddddocr"]
    assert list(failed) == ["failed"] and "No module named" in failed["failed"]
    assert ours["correct"]["test"] == 2 and set(ours["correct"]) == set(results["sets"])
    assert set(ours["plates_per_second"]) == {"1", "8"}
    assert results["sets"]["meters/test"] == ours["correct"]["meters/test"] == 2
    assert ours["latency_ms_by_set"]["meters/test"] > 0
    assert ours["bytes"] > 1_000_000 and ours["peak_memory"] > 10_000_000
    text = report.markdown(results)
    assert "\n| data/test | 2 | 100.00 |\n" in text and failed["failed"] in text
    assert text.count("\n| real: water meters |") == 2
    errors, rates = report.chart(results).axes
    assert len(errors.get_legend().get_texts()) == len(rates.get_yticklabels()) == 1
    del results["sets"]["meters/test"]
    assert "meters" not in report.markdown(results)


def test_sets_on_which_another_engine_is_better_come_first():
    def compared(small):
        correct = {"plate_ocr": [90, 45], "openvino": [100, 100], "ppocr_small": small}
        readers = {key: {"correct": {"layout": n, "a/b": m}} for key, (n, m) in correct.items()}
        return {"sets": {"layout": 100, "a/b": 50}, "readers": readers}

    better = report.better_engines(compared(small=(95, 45)))
    assert "layout (+5.00)" in better and "a/b" not in better and better.count("\n- ") == 1
    assert report.better_sets(compared(small=(95, 45))).endswith(" on layout.")
    assert report.better_sets(compared(small=(95, 50))).endswith(" on layout and a/b.")
    none = compared(small=(90, 45))
    assert "\n- " not in report.better_engines(none)
    assert report.better_sets(none).startswith("No other engine")


def test_the_best_is_bold_where_several_engines_are_measured():
    ours = {"layout": 90, "held_out": 99}
    tta = {"layout": 95, "held_out": 100}
    correct = {"plate_ocr": ours, "plate_ocr, TTA": tta, "Tesseract": {"layout": 80}}
    table = report.accuracy_table({"held_out": 100, "layout": 100}, correct)
    assert "| 99.00 | 100.00 | - |" in table and "| 90.00 | **95.00** | 80.00 |" in table


def test_only_all_correct_is_100_percent():
    assert report.percent(60, 60) == "100.00"
    assert report.percent(99_999, 100_000) == "99.99"
