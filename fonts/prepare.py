"""Fetch the 22 training fonts from npm and choose the instances that plates are drawn in.

For every family in families.json, `npm pack` the exact version and copy the font file and its
license next to this script. Then draw seeded points of its design space and keep those whose ten
digits are legible at the smallest and the largest font size. Writes fonts.json and the table of
README.md. A second run gives the same bytes. Needs npm and fonttools[woff].

$ python -m fonts.prepare
"""

import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fontTools.ttLib import TTFont

from benchmarks.environments import EnvironmentFailed, npm_files
from plate_ocr.cli import run_command
from plate_ocr.plates.rendering import FONT_SIZES, Glyph, render_glyphs
from plate_ocr.utils import read_json, write_text

HERE = Path(__file__).parent
VERSION = "5.3.0"  # of every npm package
SEED = 22
MAX_INSTANCES = 24  # per variable family
ROUNDS = 8  # of MAX_INSTANCES candidates each

# Limits of legibility. Ink runs from 0 (background) to 1 (black).
MIN_DARKEST = 0.60  # of the darkest tenth of a digit's ink
MIN_NEAREST = 0.22  # the darkest pixel within one pixel of nearly every inked pixel
MIN_MEAN = 0.10  # mean ink in the bounding box of a digit
MIN_DIFFERENCE = 0.045  # between two digits: 0 equal, 1 nothing shared
MAX_HEIGHT_RANGE = 0.20  # of the digits' heights, relative to the tallest
MAX_OFF_BASELINE = 0.16  # distance of a digit's foot from the baseline, relative to its height
MAX_WIDTH = 22 / 25  # of the widest digit, relative to the font size
MIN_HEIGHT = 8 / 18  # of the lowest digit, relative to the font size


class Family(NamedTuple):
    family: str
    axes: str  # as fontsource names the file; "400" is a static font
    designer: str
    kind: str
    ranges: dict[str, list[float]]  # axis -> lowest and highest value; others stay at the default
    why: str

    @property
    def slug(self) -> str:
        return self.family.lower().replace(" ", "-")

    @property
    def package(self) -> str:
        return f"@fontsource{'-variable' if self.ranges else ''}/{self.slug}"

    @property
    def path(self) -> Path:
        return HERE / f"{self.slug}.woff2"


Instance = dict[str, float]  # tag of an axis -> value, in the order of the file


def fetch(entry: Family) -> None:
    """Put the font file and its license here."""
    files = npm_files(f"{entry.package}@{VERSION}")
    license = files.get("LICENSE_FONT") or files["LICENSE"]
    (HERE / f"{entry.slug}.LICENSE.txt").write_bytes(license)
    entry.path.write_bytes(files[f"files/{entry.slug}-latin-{entry.axes}-normal.woff2"])


def choose_instances(entry: Family) -> list[Instance]:
    """The first candidates that are legible, each once."""
    distinct = {tuple(instance.items()): instance for instance in candidates(entry)}.values()
    legible = (instance for instance in distinct if is_legible(entry, instance))
    chosen = list(islice(legible, MAX_INSTANCES))
    print(f"{entry.family}: {len(chosen)} instances", flush=True)
    return chosen


def candidates(entry: Family) -> Iterator[Instance]:
    """The default, then seeded points; each round is spread evenly along every axis."""
    axes = read_axes(entry)
    yield {tag: round_value(*axis, axis[1]) for tag, axis in axes.items()}
    rng = random.Random(f"{SEED} {entry.family}")
    for _ in range(ROUNDS):
        columns = []
        for low, default, high in axes.values():
            strata = rng.sample(range(MAX_INSTANCES), MAX_INSTANCES)
            values = [low + (high - low) * (k + rng.random()) / MAX_INSTANCES for k in strata]
            columns.append([round_value(low, default, high, value) for value in values])
        for values in zip(*columns, strict=True):
            yield dict(zip(axes, values, strict=True))


def read_axes(entry: Family) -> dict[str, tuple[float, float, float]]:
    """Tag -> (low, default, high) in the file's axis order, within the table's ranges."""
    font = TTFont(entry.path)
    axes = {}
    for axis in font["fvar"].axes if "fvar" in font else []:
        low, high = entry.ranges.get(axis.axisTag, (axis.defaultValue, axis.defaultValue))
        axes[axis.axisTag] = (low, min(max(axis.defaultValue, low), high), high)
    return axes


def round_value(low: float, default: float, high: float, value: float) -> float:
    """One decimal for short or fractional axes, whole numbers for the others."""
    fine = high - low <= 2 or default != int(default)
    rounded = round(value, 1) if fine else round(value)
    return int(rounded) if rounded == int(rounded) else rounded


def is_legible(entry: Family, instance: Instance) -> bool:
    """Whether the ten digits are, and differ, at the smallest and the largest font size."""
    for size in (FONT_SIZES[0], FONT_SIZES[-1]):
        glyphs = render_glyphs(entry.path, tuple(instance.items()), size)
        if not (all(map(is_dark, glyphs)) and are_even(glyphs, size)):
            return False
        shapes = [centered(visible_ink(glyph), 2 * size) for glyph in glyphs]
        if min(difference(*pair) for pair in combinations(shapes, 2)) < MIN_DIFFERENCE:
            return False
    return True


def is_dark(glyph: Glyph) -> bool:
    """Whether a digit has enough ink and no hairlines."""
    ink = glyph.ink.astype(np.float32) / 255
    inked = ink > 0.04
    nearest = cv2.dilate(ink, np.ones((3, 3)))
    return (
        np.quantile(ink[inked], 0.9) >= MIN_DARKEST
        and visible_ink(glyph).mean() >= MIN_MEAN
        and np.quantile(nearest[inked], 0.03) >= MIN_NEAREST
    )


def are_even(glyphs: Sequence[Glyph], size: int) -> bool:
    """Whether digits are of one height, on the baseline, not too wide and not too low."""
    _, tops, widths, heights = np.transpose([bounding_box(glyph) for glyph in glyphs])
    off_baseline = np.abs(tops + heights - [glyph.bearing_y for glyph in glyphs])
    return bool(
        widths.max() <= MAX_WIDTH * size
        and heights.min() >= MIN_HEIGHT * size
        and np.ptp(heights) <= max(MAX_HEIGHT_RANGE * heights.max(), 2)
        and np.all(off_baseline <= np.maximum(MAX_OFF_BASELINE * heights, 2))
    )


def bounding_box(glyph: Glyph) -> tuple[int, int, int, int]:
    """Left, top, width and height of the visible ink."""
    return cv2.boundingRect((glyph.ink > 0.2 * 255).astype(np.uint8))


def visible_ink(glyph: Glyph) -> np.ndarray:
    """The ink in the bounding box, 0 to 1."""
    left, top, width, height = bounding_box(glyph)
    return glyph.ink[top : top + height, left : left + width].astype(np.float32) / 255


def centered(ink: np.ndarray, side: int) -> np.ndarray:
    """The ink of a digit in the middle of a square canvas."""
    (rows, columns), canvas = ink.shape, np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    canvas[top : top + rows, left : left + columns] = ink
    return canvas


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How much two digits differ at their best overlap, from 0 (equal) to 1."""
    shifts = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    sums = [np.abs(first - np.roll(second, shift, (0, 1))).sum() for shift in shifts]
    return float(min(sums) / (first.sum() + second.sum()))


def write_json(rows: list[dict]) -> None:
    """One instance per line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for old, new in (("[{", "[\n  {"), ("}, {", "},\n  {"), ("}]", "}\n]")):
        lines = lines.replace(old, new)
    write_text(HERE / "fonts.json", f"[\n{lines}\n]\n")


def write_readme(families: list[Family], rows: list[dict]) -> None:
    """Replace the numbers and the table."""
    path, rule = HERE / "README.md", "|---|---|---|---|---|---|--:|---|\n"
    count = sum(len(row["instances"]) for row in rows)
    text = path.read_text(encoding="utf-8").partition(rule)[0] + rule
    text = re.sub(r"\d+ families", f"{len(rows)} families", text)
    text = re.sub(r"\d+ instances", f"{count} instances", text)
    for entry, row in zip(families, rows, strict=True):
        axes = ", ".join(f"{t} {low:g} to {high:g}" for t, (low, high) in entry.ranges.items())
        license = f"[OFL-1.1]({entry.slug}.LICENSE.txt)"
        cells = (entry.family, entry.kind, entry.designer.replace("*", "\\*"), license,
                 f"`{entry.package}` {VERSION}", axes or "none", len(row["instances"]),
                 entry.why)  # fmt: skip
        text += "| " + " | ".join(map(str, cells)) + " |\n"
    write_text(path, text)


def main() -> None:
    families = [Family(**family) for family in read_json(HERE / "families.json")]
    rows = []
    for entry in families:
        fetch(entry)
        digest = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        rows.append({"family": entry.family, "file": entry.path.name, "kind": entry.kind,
                     "sha256": digest, "instances": choose_instances(entry)})  # fmt: skip
    write_json(rows)
    write_readme(families, rows)


if __name__ == "__main__":
    sys.exit(run_command(main, EnvironmentFailed))
