"""Fetch the 22 training fonts from npm and choose the instances that plates are drawn in.

For every family in families.json, `npm pack` the exact version and copy the font file and its
licence next to this script. Then draw seeded points of its design space and keep those whose ten
digits are legible at the smallest and the largest font size. Writes fonts.json, contact_sheet.png
and the table of README.md. A second run gives the same bytes.

Needs npm, pillow, numpy and fonttools[woff]:
$ python fonts/prepare.py
"""

import hashlib
import json
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
VERSION = "5.3.0"  # of every npm package
SEED = 22
MAX_INSTANCES = 24  # per variable family
ROUNDS = 8  # of MAX_INSTANCES candidates each
FONT_SIZES = (18, 25)  # smallest and largest font size on a plate, in pixels
DIGITS = "0123456789"

# Limits of legibility. Ink runs from 0 (background) to 1 (black).
MIN_DARKEST = 0.60  # of the darkest tenth of a digit's ink
MIN_NEAREST = 0.22  # the darkest pixel within one pixel of nearly every inked pixel
MIN_MEAN = 0.10  # mean ink in the bounding box of a digit
MIN_DIFFERENCE = 0.045  # between two digits: 0 equal, 1 nothing shared
MAX_HEIGHT_RANGE = 0.20  # of the digits' heights, relative to the tallest
MAX_OFF_BASELINE = 0.16  # distance of a digit's foot from the baseline, relative to its height
MAX_WIDTH = 22  # of the widest digit at size 25, in pixels
MIN_HEIGHT = 8  # of the lowest digit at size 18, in pixels


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


FAMILIES = [Family(**family) for family in json.loads((HERE / "families.json").read_bytes())]
Instance = dict[str, float]


def fetch(entry: Family) -> None:
    """Put the font file and its licence here."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{entry.package}@{VERSION}"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        package = Path(folder, "package")
        licences = [path for name in ("LICENSE_FONT", "LICENSE") for path in package.glob(name)]
        shutil.copyfile(licences[0], HERE / f"{entry.slug}.LICENSE.txt")
        source = f"{entry.slug}-latin-{entry.axes}-normal.woff2"
        shutil.copyfile(package / "files" / source, entry.path)


def read_axes(entry: Family) -> dict[str, tuple[float, float, float]]:
    """Tag -> (low, default, high) in the file's axis order, within the table's ranges."""
    font = TTFont(entry.path)
    axes = {}
    for axis in font["fvar"].axes if "fvar" in font else []:
        low, high = entry.ranges.get(axis.axisTag, (axis.defaultValue, axis.defaultValue))
        axes[axis.axisTag] = (low, min(max(axis.defaultValue, low), high), high)
    return axes


def open_font(entry: Family, size: int, instance: Instance) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(str(entry.path), size, layout_engine=ImageFont.Layout.BASIC)
    if instance:
        font.set_variation_by_axes(list(instance.values()))
    return font


def draw_digits(entry: Family, size: int, instance: Instance) -> list[np.ndarray]:
    """The ink of each digit on its own canvas; the baseline is under row 2 * size."""
    font = open_font(entry, size, instance)
    canvases = []
    for digit in DIGITS:
        image = Image.new("L", (4 * size, 3 * size))
        ImageDraw.Draw(image).text((size, 2 * size), digit, 255, font, anchor="ls")
        canvases.append(np.asarray(image, np.float32) / 255)
    return canvases


def bounding_box(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the visible ink; ends are exclusive."""
    rows, columns = np.flatnonzero((ink > 0.2).any(1)), np.flatnonzero((ink > 0.2).any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How much two digits differ at their best overlap, from 0 (equal) to 1."""
    shifts = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    sums = [np.abs(first - np.roll(second, shift, (0, 1))).sum() for shift in shifts]
    return float(min(sums) / (first.sum() + second.sum()))


def centred(ink: np.ndarray, size: int) -> np.ndarray:
    """The ink of a digit in the middle of a canvas of 2 * size."""
    top, bottom, left, right = bounding_box(ink)
    canvas = np.zeros((2 * size, 2 * size), np.float32)
    y, x = (2 * size - bottom + top) // 2, (2 * size - right + left) // 2
    canvas[y : y + bottom - top, x : x + right - left] = ink[top:bottom, left:right]
    return canvas


def find_defect(entry: Family, instance: Instance) -> str:
    """Why an instance is illegible; the empty string if it is legible."""
    for size in FONT_SIZES:
        inks = draw_digits(entry, size, instance)
        if min(ink.max() for ink in inks) < MIN_DARKEST:
            return "pale"
        boxes = [bounding_box(ink) for ink in inks]
        heights = [bottom - top for top, bottom, _, _ in boxes]
        if max(right - left for _, _, left, right in boxes) > MAX_WIDTH * size / 25:
            return "wide"
        if min(heights) < MIN_HEIGHT * size / 18:
            return "low"
        if max(heights) - min(heights) > max(MAX_HEIGHT_RANGE * max(heights), 2):
            return "uneven"
        for digit, ink, (top, bottom, left, right) in zip(DIGITS, inks, boxes, strict=True):
            if abs(bottom - 2 * size) > max(MAX_OFF_BASELINE * (bottom - top), 2):
                return f"{digit} off the baseline"
            inked = ink > 0.04
            if np.quantile(ink[inked], 0.9) < MIN_DARKEST:
                return f"pale {digit}"
            if ink[top:bottom, left:right].mean() < MIN_MEAN:
                return f"thin {digit}"
            near = np.max([np.roll(ink, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], 0)
            if np.quantile(near[inked], 0.03) < MIN_NEAREST:
                return f"hairline {digit}"
        shapes = [centred(ink, size) for ink in inks]
        for first, second in combinations(range(10), 2):
            if difference(shapes[second], shapes[first]) < MIN_DIFFERENCE:
                return f"{first} like {second}"
    return ""


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


def round_value(low: float, default: float, high: float, value: float) -> float:
    """One decimal for short or fractional axes, whole numbers for the others."""
    fine = high - low <= 2 or default != int(default)
    rounded = round(value, 1) if fine else round(value)
    return int(rounded) if rounded == int(rounded) else rounded


def choose_instances(entry: Family) -> list[Instance]:
    chosen: list[Instance] = []
    defects: Counter[str] = Counter()
    for instance in candidates(entry):
        if instance in chosen or len(chosen) == MAX_INSTANCES:
            continue
        if defect := find_defect(entry, instance):
            defects[defect] += 1
        else:
            chosen.append(instance)
    print(f"{entry.family}: {len(chosen)} instances; left out {dict(defects)}", flush=True)
    return chosen


def write_json(rows: list[dict]) -> None:
    """One instance per line."""
    lines = []
    for row in rows:
        head = json.dumps({k: v for k, v in row.items() if k != "instances"}, ensure_ascii=False)
        instances = ",\n".join("  " + json.dumps(instance) for instance in row["instances"])
        lines.append(f'{head[:-1]}, "instances": [\n{instances}\n]}}')
    (HERE / "fonts.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def draw_contact_sheet(rows: list[dict]) -> None:
    """One row per family: its first instance and four more, spread over the list."""
    left, column, line = 180, 236, 38
    sheet = Image.new("L", (left + 5 * column, line * len(rows) + 8), 255)
    pen = ImageDraw.Draw(sheet)
    label = open_font(FAMILIES[0], 15, {"wght": 500})
    for y, (entry, row) in enumerate(zip(FAMILIES, rows, strict=True)):
        pen.text((8, y * line + 30), row["family"], 0, label, anchor="ls")
        instances = row["instances"]
        ink = [sum(map(np.sum, draw_digits(entry, 18, instance))) for instance in instances]
        order = sorted(range(1, len(instances)), key=lambda k: ink[k])  # light to heavy
        picks = [order[round(k * (len(order) - 1) / 3)] for k in range(4)] if order else []
        for x, pick in enumerate([0, *picks]):
            size = 30
            while (font := open_font(entry, size, instances[pick])).getlength(DIGITS) > column - 14:
                size -= 1
            pen.text((left + x * column, y * line + 30), DIGITS, 0, font, anchor="ls")
    sheet.quantize(16).save(HERE / "contact_sheet.png", optimize=True)


def write_readme(rows: list[dict]) -> None:
    """Replace the numbers and the table."""
    path, rule = HERE / "README.md", "|---|---|---|---|---|---|--:|---|\n"
    count = sum(len(row["instances"]) for row in rows)
    text = path.read_text(encoding="utf-8").partition(rule)[0] + rule
    text = re.sub(r"\d+ families", f"{len(rows)} families", text)
    text = re.sub(r"\d+ instances", f"{count} instances", text)
    for entry, row in zip(FAMILIES, rows, strict=True):
        axes = ", ".join(f"{t} {low:g} to {high:g}" for t, (low, high) in entry.ranges.items())
        licence = f"[OFL-1.1]({entry.slug}.LICENSE.txt)"
        cells = (entry.family, entry.kind, entry.designer.replace("*", "\\*"), licence,
                 f"`{entry.package}` {VERSION}", axes or "none", len(row["instances"]),
                 entry.why)  # fmt: skip
        text += "| " + " | ".join(map(str, cells)) + " |\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    rows = []
    for entry in FAMILIES:
        fetch(entry)
        digest = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        rows.append({"family": entry.family, "file": entry.path.name, "kind": entry.kind,
                     "sha256": digest, "instances": choose_instances(entry)})  # fmt: skip
    write_json(rows)
    draw_contact_sheet(rows)
    write_readme(rows)


if __name__ == "__main__":
    main()
