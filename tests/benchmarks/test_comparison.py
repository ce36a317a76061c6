"""The parts of benchmarks/ that need neither network nor peers."""

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import left_in_an_empty_home

from benchmarks import baselines, compare, report, subprocess_worker
from benchmarks.baselines import BARE_IMPORTS, GENERATORS, READERS, Peer, PeerFailed
from benchmarks.preprocess import crop_to_ink, decode_digits

INK = (slice(20, 40), slice(30, 90))  # rows and columns


def plate(paper=255, ink=0):
    image = np.full((64, 128), paper, np.uint8)
    image[INK] = ink
    return image


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (120, 60), (90, 200)])
def test_crop_keeps_the_ink_and_a_margin(paper, ink):
    cropped = crop_to_ink(plate(paper, ink), margin=3)
    # The blur may carry the ink one pixel further.
    assert np.array_equal(np.unique(cropped), np.unique([paper, ink]))
    assert 26 <= cropped.shape[0] <= 28 and 66 <= cropped.shape[1] <= 68
    assert (cropped == ink).sum() == 20 * 60


def test_crop_ends_at_the_frame():
    image = np.full((64, 128), 255, np.uint8)
    image[:10, :20] = 0
    rows, columns = crop_to_ink(image, margin=4).shape
    assert rows <= 15 and columns <= 25


def test_crop_passes_over_a_speck():
    image = plate()
    image[60, 120] = 0
    assert np.array_equal(crop_to_ink(image), crop_to_ink(plate()))


def test_crop_leaves_an_empty_plate_alone():
    empty = np.full((64, 128), 200, np.uint8)
    assert np.array_equal(crop_to_ink(empty), empty)


def test_decoding_is_held_to_digits():
    # A peer of 20 classes: blank 0, digits 5 to 14; a letter has the highest score everywhere.
    classes = np.array([0, *range(5, 15)])
    scores = np.zeros((8, 20))
    scores[:, 19] = 9
    for step, symbol in enumerate([0, 5 + 7, 5 + 7, 0, 5 + 7, 5 + 0, 5 + 3, 0]):
        scores[step, symbol] = 1
    assert decode_digits(scores, classes) == "7703"


def test_decoding_only_blanks():
    assert decode_digits(np.eye(11)[[0, 0, 0]], np.arange(11)) == ""


def test_rate_is_that_of_the_median_round():
    rounds = [[0.5, 0.5], [1.0, 1.0], [9.0, 9.0]]
    assert compare.plates_per_second(rounds, batch=8) == 8


def test_summary_leaves_the_first_round_out():
    seconds = {
        1: [[100.0, 100.0], [0.1, 0.3], [0.1, 0.1], [0.1, 0.1]],
        8: [[100.0], [0.4], [0.2], [0.4]],
    }
    assert compare.summary_of(seconds) == {
        "plates_per_second": {"1": 10.0, "8": 20.0},
        "best_batch": 8,
        "latency_ms": 100.0,
    }


def test_a_failing_peer_is_out_and_the_others_go_on(capsys):
    failures = {READERS[1].key: "not installed"}
    measured = []

    def measure(peer):
        if peer is READERS[2]:
            raise PeerFailed("no such model")
        measured.append(peer)

    for _ in range(2):
        subprocess_worker.in_turn(READERS[:4], failures, measure)
    assert measured == [READERS[0], READERS[3]] * 2
    assert failures[READERS[2].key] == "no such model"


def test_sets_are_the_same_plates_every_time():
    sets, again = compare.load_sets(7), compare.load_sets(7)
    assert list(sets) == ["test", "corruptions_1_to_3", "corruptions_4_to_5", *compare.CLEAN]
    assert set(sets) == set(report.SETS)
    for name, (images, texts) in sets.items():
        assert images.shape == (7, 64, 128) and images.dtype == np.uint8 and len(texts) == 7
        assert np.array_equal(images, again[name][0])


def test_share_of_peak():
    measured = {
        "readers": {"plate_ocr": {"plates_per_second": {"1": 500.0, "32": 1000.0}}},
        "float32_peak": 1e11,
    }
    sizes = {"plate_ocr": {"multiply_adds": 25_000_000}}
    assert compare.share_of_peak(measured, sizes) == 0.5
    assert compare.share_of_peak(measured, {}) is None


def test_environments_are_pinned_and_peers_exist():
    assert all("==" in pin for pins in baselines.REQUIREMENTS.values() for pin in pins)
    for peer in (BARE_IMPORTS, *READERS, *GENERATORS):
        assert peer.environment in baselines.REQUIREMENTS
        assert find_spec(f"benchmarks.{peer.module}")
    assert set(compare.DRAWN_SHARE) == {peer.key for peer in GENERATORS}


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: x\nERROR: No matching distribution found for a==1\n", "ERROR: No matching"),
        ("E: Failed to fetch http://somewhere.example/a.deb  404\n", "E: Failed to fetch ... 404"),
        ('Traceback:\n  File "x"\nImportError: no b\n', "ImportError: no b"),
        (f"a.b.WeightsError: {baselines.PROJECT}/x.onnx: no\n", "a.b.WeightsError: x.onnx: no"),
        ("", "it ended without a word"),
    ],
)
def test_reasons_name_the_error_and_no_address(stderr, reason):
    told = " ".join(baselines.reason_in(stderr).split())
    assert told.startswith(reason) and "://" not in told


def test_install_gives_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(baselines, "PEERS", tmp_path)
    monkeypatch.setattr(baselines.sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(PeerFailed, match="No such file"):
        baselines.install("plate_ocr")


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Workers run in this environment."""
    monkeypatch.setattr(subprocess_worker, "python_of", lambda environment: sys.executable)
    monkeypatch.setattr(subprocess_worker, "PEERS", tmp_path)


def test_worker_answers(here, tmp_path):
    plates = tmp_path / "plates.npy"
    np.save(plates, np.zeros((5, 64, 128), np.uint8))
    worker = subprocess_worker.Worker(BARE_IMPORTS)
    assert worker.ask("read", plates=str(plates), count=2) == ["", ""]
    assert len(worker.ask("time_reading", plates=str(plates), batch=2)) == 2
    assert worker.ask("describe") == {"bytes": 0, "note": ""}
    assert worker.ask("peak_memory") > 10_000_000
    assert worker.ask("multiply_matrices", side=64) > 0
    worker.close()
    assert worker.process.returncode == 0


def test_a_peer_leaves_an_empty_home_empty(tmp_path):
    command = ("-m", "benchmarks.worker", BARE_IMPORTS.module, BARE_IMPORTS.variant)
    core = max(os.sched_getaffinity(0))
    assert left_in_an_empty_home(tmp_path / "home", *command, core) == []


def test_worker_that_ends_tells_why(here):
    worker = subprocess_worker.Worker(Peer("absent", "Absent", "plate_ocr", "readers.absent"))
    with pytest.raises(PeerFailed, match="No module named"):
        worker.ask("describe")
    worker.close()


@pytest.fixture
def results():
    figures = {
        "bytes": 1_500_000,
        "note": "computes in f32",
        "peak_memory": 90_000_000,
        "correct": {name: 8 for name in report.SETS},
        "plates_per_second": {"1": 1000.4, "8": 2000.6},
        "best_batch": 8,
        "latency_ms": 0.987,
        "start_seconds": 0.25,
    }
    readers = {peer.key: dict(figures) for peer in READERS}
    readers["ddddocr"] = {"failed": "not installed: ERROR: no wheel"}
    generators = {peer.key: {"files": 10, "files_per_second": 1234.5} for peer in GENERATORS}
    generators["trdg"] = {"failed": "failed: ImportError"}
    return {
        "machine": {"processor": "a processor", "cores": 2, "flags": ["avx2"], "system": "Linux",
                    "python": "3.11", "load_before": 0.1},
        "rounds": 5,
        "timed_plates": 256,
        "sets": {name: 9 if name == "layout" else 8 for name in report.SETS},
        "readers": readers,
        "import_only_seconds": 0.2,
        "float32_peak": 1.5e11,
        "share_of_peak": 0.42,
        "generators": generators,
        "versions": {name: list(pins) for name, pins in baselines.REQUIREMENTS.items()},
    }  # fmt: skip


def test_markdown(results):
    told = report.markdown(results)
    for line in (
        "| plate_ocr | 100.00 | 100.00 | 100.00 | 100.00 | 88.89 | 100.00 | 100.00 |",
        "| plate_ocr | 1,000 | 2,001 (batch 8) | 0.99 | 0.25 | 1.5 | 90 |",
        "| ddddocr | - | - | - | - | - | - | - |",
        "| trdg | - | - |",
        "- ddddocr: not installed: ERROR: no wheel",
        "- trdg: failed: ImportError",
    ):
        assert line + "\n" in told
    assert "150 GFLOP/s" in told and "reaches 42% of it" in told and "onnxruntime 1.31.1" in told


def test_percent_is_100_only_for_all():
    assert report.percent(60, 60) == "100.00"
    assert report.percent(99_999, 100_000) == "99.99"
    assert report.percent(0, 7) == "0.00"


def test_chart_leaves_out_what_failed(results):
    errors, rates = report.chart(results).axes
    assert [text.get_text() for text in errors.get_legend().get_texts()] == [
        peer.title for peer in READERS if peer.key in report.LOOKS and peer.key != "ddddocr"
    ]
    assert len(rates.get_yticklabels()) == len(READERS) - 1


def test_the_described_network_has_the_size_described():
    from benchmarks.reference_models import described, size_of

    size = size_of(described())
    assert size["parameters"] == pytest.approx(1_470_000, rel=0.01)
    assert size["multiply_adds"] == pytest.approx(530_000_000, rel=0.01)
