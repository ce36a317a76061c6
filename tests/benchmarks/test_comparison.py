"""The comparison with other engines, without running them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import left_in_an_empty_home

from benchmarks import baselines, compare, generators, readers, report, subprocess_worker
from benchmarks.baselines import GENERATORS, IMPORT_ONLY, READERS, Method
from benchmarks.environments import PROJECT, EnvironmentFailed, install, last_error
from benchmarks.readers import crop_to_ink, decode_digits
from plate_ocr.utils import read_json

INK = (slice(20, 40), slice(30, 90))  # rows and columns


def plate(background=255, ink=0):
    image = np.full((64, 128), background, np.uint8)
    image[INK] = ink
    return image


@pytest.mark.parametrize(("background", "ink"), [(255, 0), (0, 255), (120, 60), (90, 200)])
def test_crop_keeps_the_ink_and_a_margin(background, ink):
    cropped = crop_to_ink(plate(background, ink), margin=3)
    # The blur may extend the ink by one pixel.
    assert 26 <= cropped.shape[0] <= 28 and 66 <= cropped.shape[1] <= 68
    assert (cropped == ink).sum() == 20 * 60


def test_crop_ends_at_the_border_and_ignores_specks():
    corner, speck, empty = np.full((3, 64, 128), 255, np.uint8)
    corner[:10, :20] = 0
    rows, columns = crop_to_ink(corner, margin=4).shape
    assert rows <= 15 and columns <= 25
    speck[INK], speck[60, 120] = 0, 0
    assert np.array_equal(crop_to_ink(speck), crop_to_ink(plate()))
    assert np.array_equal(crop_to_ink(empty), empty)


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
    seconds = {
        1: [[100.0, 100.0], [0.1, 0.3], [0.1, 0.1], [0.1, 0.1]],
        8: [[100.0], [0.4], [0.2], [0.4]],
    }
    assert compare.summarize(seconds) == {
        "plates_per_second": {"1": 10.0, "8": 20.0},
        "best_batch": 8,
        "latency_ms": 100.0,
    }


def test_a_method_that_fails_is_left_out_and_the_others_continue():
    failures = {READERS[1].key: "not installed"}
    measured = []

    def measure(method):
        if method is READERS[2]:
            raise EnvironmentFailed("no such model")
        measured.append(method)

    for _ in range(2):
        subprocess_worker.for_each(READERS[:4], failures, measure)
    assert measured == [READERS[0], READERS[3]] * 2
    assert failures[READERS[2].key] == "no such model"


def test_sets_are_the_same_plates_every_time():
    sets, again = compare.load_sets(7), compare.load_sets(7)
    assert set(sets) == set(report.SETS)
    for name, (images, labels) in sets.items():
        assert images.shape == (7, 64, 128) and images.dtype == np.uint8 and len(labels) == 7
        assert np.array_equal(images, again[name][0])


def test_fraction_of_the_peak():
    measured = {
        "readers": {"plate_ocr": {"plates_per_second": {"1": 500.0, "32": 1000.0}}},
        "float32_peak": 1e11,
    }
    sizes = {"plate_ocr": {"multiply_adds": 25_000_000}}
    assert compare.fraction_of_peak(measured, sizes) == 0.5
    assert compare.fraction_of_peak(measured, {}) is None


def test_environments_are_pinned_and_loaders_exist():
    assert all("==" in pin for pins in baselines.REQUIREMENTS.values() for pin in pins)
    for method in (IMPORT_ONLY, *READERS, *GENERATORS):
        assert method.environment in baselines.REQUIREMENTS
        module, _, function = method.loader.partition(":")
        assert callable(getattr({"readers": readers, "generators": generators}[module], function))
    assert set(compare.FILES_FRACTION) == {method.key for method in GENERATORS}


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: x\nERROR: No matching distribution found for a==1\n", "ERROR: No matching"),
        ("E: Failed to fetch http://somewhere.example/a.deb  404\n", "E: Failed to fetch ... 404"),
        ('Traceback:\n  File "x"\nImportError: no b\n', "ImportError: no b"),
        (f"a.b.WeightsError: {PROJECT}/x.onnx: no\n", "a.b.WeightsError: x.onnx: no"),
        ("", "no output"),
    ],
)
def test_reasons_state_the_error_and_no_address(stderr, reason):
    actual = " ".join(last_error(stderr).split())
    assert actual.startswith(reason) and "://" not in actual


def test_an_environment_that_cannot_be_made_states_why(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(EnvironmentFailed, match="No such file"):
        install(tmp_path / "environment", ["numpy"])


@pytest.fixture
def local_python(monkeypatch, tmp_path):
    """Workers run in this environment."""
    monkeypatch.setattr(Method, "python", Path(sys.executable))
    monkeypatch.setattr(subprocess_worker, "ENVIRONMENTS", tmp_path)


def test_a_worker_answers(local_python, tmp_path):
    plates = tmp_path / "plates.npy"
    np.save(plates, np.zeros((5, 64, 128), np.uint8))
    worker = subprocess_worker.Worker(IMPORT_ONLY)
    assert worker.ask("read", plates=str(plates), count=2) == ["", ""]
    assert len(worker.ask("time_reading", plates=str(plates), batch=2)) == 2
    assert worker.ask("describe") == {"bytes": 0, "note": ""}
    assert worker.ask("peak_memory") > 10_000_000
    assert worker.ask("multiply_matrices", side=64) > 0
    worker.close()
    assert worker.process.returncode == 0


def test_our_reader_and_generator_work_as_methods(local_python, tmp_path):
    plates = tmp_path / "plates.npy"
    np.save(plates, compare.load_sets(2)["test"][0])
    reader = subprocess_worker.Worker(READERS[0])
    assert reader.ask("read", plates=str(plates)) == compare.load_sets(2)["test"][1].tolist()
    assert reader.ask("describe")["bytes"] > 1_000_000
    reader.close()
    generator = subprocess_worker.Worker(GENERATORS[0])
    assert generator.ask("draw", count=3, within=str(tmp_path)) > 0
    generator.close()
    assert len(list(tmp_path.glob("*/*.png"))) == 3


def test_a_method_leaves_nothing_in_the_home_folder(tmp_path):
    command = ("-m", "benchmarks.subprocess_worker", IMPORT_ONLY.loader, IMPORT_ONLY.variant)
    core = max(os.sched_getaffinity(0))
    assert left_in_an_empty_home(tmp_path / "home", *command, core) == []


def test_a_worker_that_ends_states_why(local_python):
    worker = subprocess_worker.Worker(Method("absent", "Absent", "plate_ocr", "absent:load"))
    with pytest.raises(EnvironmentFailed, match="No module named"):
        worker.ask("describe")
    worker.close()


@pytest.fixture
def results():
    """Those of the repository, with other figures of our reader and two methods that failed."""
    results = read_json(PROJECT / "results" / "benchmark.json")
    results["sets"] = {name: 9 if name == "layout" else 8 for name in report.SETS}
    results["readers"]["plate_ocr"] = {
        "bytes": 1_500_000,
        "peak_memory": 90_000_000,
        "correct": dict.fromkeys(report.SETS, 8),
        "plates_per_second": {"1": 1000.4, "8": 2000.6},
        "best_batch": 8,
        "latency_ms": 0.987,
        "start_seconds": 0.25,
    }
    results["readers"]["ddddocr"] = {"failed": "not installed: ERROR: no wheel"}
    results["generators"]["trdg"] = {"failed": "failed: ImportError"}
    return results


def test_the_tables_show_what_was_measured_and_what_failed(results):
    text = report.markdown(results)
    for row in (
        "| plate_ocr | 100.00 | 100.00 | 100.00 | 100.00 | 88.89 | 100.00 | 100.00 |",
        "| plate_ocr | 1,000 | 2,001 (batch size 8) | 0.99 | 0.25 | 1.5 | 90 |",
        "| ddddocr | - | - | - | - | - | - | - |",
        "| trdg | - | - |",
        "- ddddocr: not installed: ERROR: no wheel",
        "- trdg: failed: ImportError",
    ):
        assert row + "\n" in text


def test_only_all_correct_is_100_percent():
    assert report.percent(60, 60) == "100.00"
    assert report.percent(99_999, 100_000) == "99.99"
    assert report.percent(0, 7) == "0.00"


def test_the_figure_leaves_out_what_failed(results):
    errors, rates = report.chart(results).axes
    assert [text.get_text() for text in errors.get_legend().get_texts()] == [
        reader.title
        for reader in READERS
        if reader.key in report.MARKERS and reader.key != "ddddocr"
    ]
    assert len(rates.get_yticklabels()) == len(READERS) - 1


def test_the_reference_architecture_has_the_size_that_is_known_of_it():
    from benchmarks.reference_models import baseline, size_of

    size = size_of(baseline())
    assert size["parameters"] == pytest.approx(1_470_000, rel=0.01)
    assert size["multiply_adds"] == pytest.approx(530_000_000, rel=0.01)
