"""What looking again brings: each view of a careful reader, and how sure one look must be.

Many plates in the faces of the tuning set, drawn as it is, and others on labels: dark or light
boxes on another ground, as number plates are on cars. The
views and the least probability were chosen on these; no other set served that choice.
What it costs is measured on fresh plates, on the tuning set and on labels, by one thread.
Fetches the fonts from npm, as data/benchmark/draw.py does. About 10 minutes on 2 cores, quiet ones:
$ python benchmarks/tta_ablation.py
"""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from benchmarks.datasets.fonts import Face, fetch, read_table
from benchmarks.datasets.layout import HEIGHT, WIDTH, render_plate
from benchmarks.datasets.make_datasets import coarse, tuning_plate
from plate_ocr import PlateReader
from plate_ocr.cli import run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, load_metadata
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.reading.reader import TTA_THRESHOLD
from plate_ocr.reading.tta import VIEWS, make_views, merge_views
from plate_ocr.utils import write_text

RESULTS = Path(__file__).parents[1] / "results" / "tta.json"
SEED = 20_261_200
COUNTS = {"tuning": 24_000, "labels": 2_000}
TIMED, ROUNDS = 1_000, 5  # plates of a round
LEAST = (0.9, 0.95, 0.98, 0.99)  # P(text) below which a plate is looked at again


def label_plate(face: Face, text: str, random: np.random.Generator) -> np.ndarray:
    """Digits on a label that stands on another ground, sometimes turned, soft and noisy."""
    digits = render_plate(face, text, random, (12, 24)).image.astype(np.float32) / 255
    rows, columns = (np.flatnonzero((digits < 0.9).any(axis=axis)) for axis in (1, 0))
    margin = random.integers(2, 7, 4)
    label = np.zeros((HEIGHT, WIDTH), np.float32)
    top, left = max(rows[0] - margin[0], 0), max(columns[0] - margin[1], 0)
    label[top : rows[-1] + margin[2], left : columns[-1] + margin[3]] = 1
    if random.random() < 0.5:
        middle = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
        turn = cv2.getRotationMatrix2D(middle, random.uniform(-3, 3), 1)
        digits = cv2.warpAffine(digits, turn, (WIDTH, HEIGHT), borderValue=1.0)
        label = cv2.warpAffine(label, turn, (WIDTH, HEIGHT))
    dark = random.uniform(0, 0.45)
    light = dark + random.uniform(0.4, 1 - dark)
    ground = random.uniform(max(dark + 0.35, 0.6), 1)
    plate = (dark * digits + light * (1 - digits)) * label + ground * (1 - label)
    if random.random() < 0.3:
        plate = 1 - plate
    if random.random() < 0.3:
        plate = cv2.GaussianBlur(plate, (0, 0), random.uniform(0.3, 0.9))
    if random.random() < 0.5:
        plate = plate + random.normal(0, random.uniform(0, 0.06), plate.shape)
    return np.clip(plate * 255, 0, 255).astype(np.uint8)


def draw(name: str, index: int, faces: list[Face]) -> tuple[np.ndarray, str]:
    """One plate of `COUNTS`, and its number, any of the 100,000."""
    random = np.random.default_rng([SEED, list(COUNTS).index(name), index])
    text = f"{random.integers(100_000):05d}"
    if name == "labels":
        return label_plate(faces[index % len(faces)], text, random), text
    return coarse(tuning_plate(faces, index, text, random)[0].image), text


def measure(images: np.ndarray, texts: list[str], reader: PlateReader) -> dict:
    """Mistakes with one look, with all views, without each, with each alone, and by `LEAST`."""
    labels = np.array(texts)
    logits = reader.forward(images).logits
    once = decode_logits(logits, reader.digits)
    wrong = np.array(once.texts) != labels
    unsure = np.flatnonzero(once.text_probability < max(LEAST))
    views, places = make_views(images[unsure])
    places = np.insert(places, 0, (1, 0), axis=0)  # the plates as they are
    looks = np.stack([logits[unsure], *(reader.forward(view).logits for view in views)])

    def mistakes(chosen: list[int], least: float = TTA_THRESHOLD) -> int:
        """With some of the views, at the plates less probable than `least`."""
        rows = once.text_probability[unsure] < least
        of_these = [0, *(view + 1 for view in chosen)]
        said = merge_views(looks[of_these][:, rows], places[of_these][:, rows], reader.digits)
        again = wrong.copy()
        again[unsure[rows]] = np.array(said.texts) != labels[unsure[rows]]
        return int(again.sum())

    every = list(range(len(VIEWS)))
    return {
        "plates": len(texts),
        "wrong": {
            "once": int(wrong.sum()),
            "all views": mistakes(every),
            **{f"only {name}": mistakes([view]) for view, name in enumerate(VIEWS)},
            **{
                f"without {name}": mistakes([other for other in every if other != view])
                for view, name in enumerate(VIEWS)
            },
        },
        "below": {
            str(least): {
                "tta_fraction": float((once.text_probability < least).mean()),
                "wrong": mistakes(every, least),
            }
            for least in LEAST
        },
    }


def rates(labels: np.ndarray) -> dict:
    """Plates a second with one look and carefully, median of `ROUNDS` in turn.

    Args:
        labels: plates on labels, uint8 (n, 64, 128, 1).
    """
    sets = {
        "held_out": render_plates(range(90_000, 90_000 + TIMED)).images,
        "tuning": load_benchmark("tuning").sample(TIMED).images,
        "labels": labels[:TIMED],
    }
    measured: dict = {}
    for backend in ("onnx", "openvino"):
        readers = [PlateReader(backend=backend, num_threads=1, tta=one) for one in (False, True)]
        for name, images in sets.items():
            plates = list(images[..., 0])
            seconds = np.empty((ROUNDS, 2))
            for row in seconds:
                for way, reader in enumerate(readers):
                    begun = time.perf_counter()
                    reader.read(plates)
                    row[way] = time.perf_counter() - begun
            once, tta = (TIMED / np.median(seconds, axis=0)).round().astype(int).tolist()
            measured.setdefault(backend, {})[name] = {"once": once, "tta": tta}
    return measured


def main() -> None:
    """Draw, measure, print and write."""
    from plate_ocr.training.fit import device_name  # slow; the processes that draw go without

    faces = [face for face in read_table() if face.set == "tuning"]
    fetch(faces)
    reader = PlateReader()
    measured = {}
    for name, count in COUNTS.items():
        with ProcessPoolExecutor() as pool:
            drawn = pool.map(draw, repeat(name), range(count), repeat(faces), chunksize=100)
            images, texts = zip(*drawn, strict=True)
        measured[name] = measure(np.stack(images)[..., None], list(texts), reader)
        print(name, json.dumps(measured[name], indent=1), flush=True)
    result = {
        "weights": load_metadata(DEFAULT_WEIGHTS)["sha256"][DEFAULT_WEIGHTS.name],
        "device": device_name(),
        "certain": TTA_THRESHOLD,
        "sets": measured,
        "plates_per_second": rates(np.stack(images)[..., None]),
    }
    print(json.dumps(result["plates_per_second"], indent=1))
    write_text(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
