"""Ablation of test-time augmentation: what each view brings, and at what cost.

Errors are counted on many plates drawn as the tuning set is, and on others with digits on a panel.
The views and the threshold were chosen on these. Needs npm. Takes 6 minutes on 2 cores.

$ python -m benchmarks.tta_ablation
"""

import json
import sys
from statistics import median
from timeit import repeat

import cv2
import numpy as np

from benchmarks.datasets.fonts import Face, load_faces
from benchmarks.datasets.layout import HEIGHT, WIDTH, render_plate
from benchmarks.datasets.make_datasets import reduce_levels, tuning_plate
from benchmarks.environments import EnvironmentFailed
from benchmarks.results import check_result, write_result
from plate_ocr import PlateReader
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.plates.alphabet import NUM_DIGITS
from plate_ocr.plates.dataset import held_out_range, render_plates
from plate_ocr.reading.ctc import decode_logits
from plate_ocr.reading.reader import TTA_THRESHOLD
from plate_ocr.reading.tta import VIEWS, make_views, merge_views

SEED = 20_261_200
COUNTS = {"tuning": 24_000, "panels": 2_000}  # plates; "panels" have digits on a panel
NUM_TIMED, ROUNDS = 1_000, 5  # plates per round


def panel_plate(face: Face, text: str, rng: np.random.Generator) -> np.ndarray:
    """Digits on a panel in front of another gray, some rotated, blurred or noisy."""
    digits = render_plate(face, text, rng, (12, 24))[0].astype(np.float32) / 255
    rows, columns = (np.flatnonzero((digits < 0.9).any(axis=axis)) for axis in (1, 0))
    margin = rng.integers(2, 7, 4)
    panel = np.zeros((HEIGHT, WIDTH), np.float32)
    top, left = max(rows[0] - margin[0], 0), max(columns[0] - margin[1], 0)
    panel[top : rows[-1] + margin[2], left : columns[-1] + margin[3]] = 1
    if rng.random() < 0.5:
        center = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
        rotation = cv2.getRotationMatrix2D(center, rng.uniform(-3, 3), 1)
        digits = cv2.warpAffine(digits, rotation, (WIDTH, HEIGHT), borderValue=1.0)
        panel = cv2.warpAffine(panel, rotation, (WIDTH, HEIGHT))
    dark = rng.uniform(0, 0.45)
    light = dark + rng.uniform(0.4, 1 - dark)
    background = rng.uniform(max(dark + 0.35, 0.6), 1)
    plate = (dark * digits + light * (1 - digits)) * panel + background * (1 - panel)
    if rng.random() < 0.3:
        plate = 1 - plate
    if rng.random() < 0.3:
        plate = cv2.GaussianBlur(plate, (0, 0), rng.uniform(0.3, 0.9))
    if rng.random() < 0.5:
        plate = plate + rng.normal(0, rng.uniform(0, 0.06), plate.shape)
    return np.clip(plate * 255, 0, 255).astype(np.uint8)


def draw_plates(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The plates of one of `COUNTS`, uint8 (n, 64, 128, 1), and their texts, any of the 100,000."""
    faces, images, texts = load_faces("tuning"), [], []
    for index in range(COUNTS[name]):
        rng = np.random.default_rng([SEED, list(COUNTS).index(name), index])
        texts.append(f"{rng.integers(100_000):05d}")
        if name == "panels":
            images.append(panel_plate(faces[index % len(faces)], texts[-1], rng))
        else:
            images.append(reduce_levels(tuning_plate(faces, index, texts[-1], rng).image))
    return np.stack(images)[..., None], np.array(texts)


def count_errors(images: np.ndarray, labels: np.ndarray, reader: PlateReader) -> dict:
    """Errors without other views, with each of them, and with all."""
    logits = reader.forward(images).logits
    single = decode_logits(logits)
    wrong = np.array(single.texts) != labels
    rows = np.flatnonzero(single.text_probability < TTA_THRESHOLD)
    views, _ = make_views(images[rows])
    view_logits = np.stack([logits[rows], *(reader.forward(view).logits for view in views)])
    affine = np.tile([1.0, 0.0], (*view_logits.shape[:2], 1))  # positions are not used here

    def errors(*used: int) -> int:
        """With the original plate, which is the first view, and these of the others."""
        chosen = [0, *used]
        merged = merge_views(view_logits[chosen], affine[chosen], NUM_DIGITS)
        still_wrong = wrong.copy()
        still_wrong[rows] = np.array(merged.texts) != labels[rows]
        return int(still_wrong.sum())

    others = dict(enumerate(VIEWS, start=1))
    return {
        "plates": len(labels),
        "wrong": {
            "single view": int(wrong.sum()),
            **{f"only {name}": errors(view) for view, name in others.items()},
            "both views": errors(*others),
        },
    }


def throughput(panels: np.ndarray) -> dict:
    """Plates per second with one thread, without and with test-time augmentation."""
    sets = {
        "held_out": render_plates(held_out_range(NUM_TIMED)).images,
        "tuning": load_benchmark("tuning").sample(NUM_TIMED).images,
        "panels": panels[:NUM_TIMED],
    }

    def rate(name: str, backend: str, tta: bool) -> int:
        reader, images = PlateReader(backend=backend, num_threads=1, tta=tta), sets[name][..., 0]
        seconds = repeat(lambda: reader.read(list(images)), number=1, repeat=ROUNDS)
        return round(NUM_TIMED / median(seconds))

    return {
        backend: {
            name: {"single view": rate(name, backend, False), "TTA": rate(name, backend, True)}
            for name in sets
        }
        for backend in ("onnx", "openvino")
    }


def main() -> None:
    """Draw, measure and write."""
    check_result("tta")
    reader, plates = PlateReader(), {name: draw_plates(name) for name in COUNTS}
    sets = {name: count_errors(*drawn, reader) for name, drawn in plates.items()}
    print(json.dumps(sets, indent=1), flush=True)
    rates = throughput(plates["panels"][0])
    write_result("tta", {"threshold": TTA_THRESHOLD, "sets": sets, "plates_per_second": rates})


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS, EnvironmentFailed))
