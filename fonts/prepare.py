"""Fetch the 22 training fonts from npm and choose their instances.

For every family in the table below: `npm pack` the exact version, copy one font file
and its licence next to this script, then draw seeded points of its design space and keep
those whose ten digits stay legible at the smallest and the largest plate size. Writes
fonts.json (read by the plate renderer), contact_sheet.png and README.md. The font files are
not modified. A second run gives the same bytes.

Needs npm, pillow, numpy, opencv and fonttools[woff]:
$ python fonts/prepare.py
"""

import hashlib
import json
import random
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
SEED = 22
INSTANCES = 24  # at most, per variable family
ROUNDS = 8  # of INSTANCES draws each, before giving up
BIG = 54  # a size that shows a digit's true counters
SIZES = (18, 25)  # smallest and largest font size on a plate, in pixels
DIGITS = "0123456789"

# Legibility limits. Ink runs from 0 (paper) to 1 (black).
MIN_DARKEST = 0.60  # the darkest tenth of a digit's ink must reach this
MIN_FAINTEST = 0.22  # nearly every inked pixel has, within one pixel, ink of at least this
MIN_MEAN = 0.10  # mean ink over the digit's box
MAX_COUNTER = 0.55  # the lightest spot inside a counter of 0, 6, 8, 9 may be at most this dark
MIN_APART = 0.045  # least difference of two digits: 0 equal, 1 nothing shared
MAX_UNEVEN = 0.20  # spread of the digits' heights, over the tallest
MAX_OFF_LINE = 0.16  # distance of a digit's foot from the base line, over its height
MAX_WIDTH = 22  # of the widest digit at size 25, in pixels
MIN_HEIGHT = 8  # of the lowest digit at size 18, in pixels

VARIABLE, STATIC = "@fontsource-variable/", "@fontsource/"


class Family(NamedTuple):
    family: str
    package: str
    version: str
    source: str  # file inside the package
    licence: str
    designer: str
    kind: str
    ranges: dict[str, tuple[float, float]]  # axes not named here stay at their default
    why: str

    @property
    def slug(self) -> str:
        return self.family.lower().replace(" ", "-")

    @property
    def file(self) -> str:
        return self.slug + Path(self.source).suffix


def variable(family, axes, designer, kind, ranges, why, source=VARIABLE) -> Family:
    """A family of fontsource; all are version 5.3.0 under the OFL."""
    slug = family.lower().replace(" ", "-")
    file = f"files/{slug}-latin-{axes}-normal.woff2"
    return Family(family, source + slug, "5.3.0", file, "OFL-1.1", designer, kind, ranges, why)


def static(family, designer, kind, why) -> Family:
    """A family with one weight and no axes."""
    return variable(family, "400", designer, kind, {}, why, source=STATIC)


# fmt: off
FAMILIES = [
    variable("Overpass", "wght", "Delve Withrington, Dave Bailey, Thomas Jockin", "highway",
             {"wght": (250, 900)}, "Highway Gothic's descendant: road signs and plates."),
    variable("Saira", "standard", "Héctor Gatti (Omnibus-Type)", "plate",
             {"wdth": (50, 125), "wght": (250, 900)},
             "Squarish, from very narrow to wide, like stamped plates."),
    variable("Roboto Flex", "full", "David Berlow (Font Bureau) and others", "grotesque",
             {"opsz": (8, 144), "wght": (200, 900), "GRAD": (-100, 100), "wdth": (40, 151),
              "slnt": (-10, 0), "XOPQ": (55, 130), "YOPQ": (45, 115), "XTRA": (380, 603),
              "YTFI": (640, 788)},
             "The plain sans of most print, in nine directions."),
    variable("Outfit", "wght", "Rodrigo Fuenzalida", "geometric", {"wght": (100, 900)},
             "Circles and straight lines, from hairline to black; 1 and 7 without flags."),
    variable("Sour Gummy", "standard", "Stefie Justprince", "rounded",
             {"wght": (150, 900), "wdth": (100, 125)},
             "Swollen strokes, from light to black with tiny counters."),
    variable("Bodoni Moda", "standard", "Owen Earl (indestructible type*)", "modern serif",
             {"wght": (400, 900), "opsz": (6, 40)},
             "Thick and thin strokes, ball ends, curled 6 and 9."),
    variable("Fraunces", "full", "Phaedra Charles, Flavia Zimbardi (Undercase Type)",
             "old-style serif",
             {"opsz": (9, 100), "wght": (200, 900), "SOFT": (0, 100), "WONK": (0, 1)},
             "Soft old-style serif with lining figures."),
    variable("Kalnia", "standard", "Frida Medrano", "display serif",
             {"wght": (100, 700), "wdth": (100, 125)},
             "Art nouveau: high contrast, a curled 7, an open 4."),
    variable("Hepta Slab", "wght", "Mike LaGattuta", "slab serif", {"wght": (250, 900)},
             "Slab serifs, curled ends, from light to black."),
    variable("Recursive", "full", "Stephen Nixon (Arrow Type)", "mono, casual",
             {"MONO": (0, 1), "CASL": (0, 1), "wght": (300, 1000), "slnt": (-15, 0)},
             "Brush-like casual forms; plain or slashed zero."),
    variable("Kode Mono", "wght", "Isa Özler", "squared mono", {"wght": (400, 700)},
             "Cut corners and a slashed zero; close to machine-reading faces."),
    variable("Orbitron", "wght", "Matt McInerney", "techno", {"wght": (400, 900)},
             "Wide, squared, flat 3, bare 7, slashed zero."),
    variable("Anybody", "standard", "Tyler Finck (Etcetera Type)", "squared",
             {"wdth": (62, 150), "wght": (250, 900)},
             "Rounded squares, from extra narrow to extra wide."),
    variable("Big Shoulders Stencil", "opsz", "Patric King (XO Type)", "stencil",
             {"wght": (250, 900), "opsz": (10, 72)}, "Narrow stencil with upright gaps."),
    variable("Stick No Bills", "wght", "Mooniak", "stencil", {"wght": (300, 800)},
             "Painted stencil with slanted gaps."),
    variable("Pixelify Sans", "wght", "Stefie Justprince", "pixel", {"wght": (400, 460)},
             "Square pixels; a 5 like an S, a 2 like a Z."),
    variable("Bitcount Single", "full", "Petr van Blokland (TYPETR)", "pixel",
             {"wght": (350, 600), "slnt": (-8, 0)},
             "Wide dot-matrix display digits, upright and slanted."),
    variable("Shantell Sans", "full", "Shantell Martin, Stephen Nixon (Arrow Type)", "hand",
             {"wght": (300, 800), "INFM": (0, 100), "BNCE": (-30, 30)},
             "Marker letters; uneven, from light to heavy."),
    variable("Caveat", "wght", "Pablo Impallari", "hand", {"wght": (400, 700)},
             "Quick handwriting: slanted, small, uneven strokes."),
    variable("Gluten", "standard", "Tyler Finck (Etcetera Type)", "hand",
             {"wght": (200, 900), "slnt": (-13, 13)},
             "Loose brush digits, slanted both ways, light to black."),
    static("The Girl Next Door", "Kimberly Geswein", "hand",
           "Thin felt pen; a 3 whose top is flat, an open 6."),
    static("Loved by the King", "Kimberly Geswein", "hand",
           "Tall, narrow pen strokes that do not quite close."),
]
# fmt: on

Instance = dict[str, float]


def fetch(entry: Family) -> None:
    """Put the font file and its licence here."""
    font, licence = HERE / entry.file, HERE / f"{entry.slug}.LICENSE.txt"
    with tempfile.TemporaryDirectory() as tmp:
        command = ["npm", "pack", "--silent", f"{entry.package}@{entry.version}"]
        subprocess.run(command, cwd=tmp, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(tmp).glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(tmp, filter="data")
        package = Path(tmp) / "package"
        text = package / "LICENSE_FONT"
        shutil.copyfile(text if text.exists() else package / "LICENSE", licence)
        shutil.copyfile(package / entry.source, font)


def require(holds: bool, *what: object) -> None:
    """Stop where a font is not as expected; unlike an assertion under python -O, too."""
    if not holds:
        raise ValueError(*what)


def read_axes(entry: Family) -> dict[str, tuple[float, float, float]]:
    """Tag -> (low, default, high) in the file's axis order, within the table's ranges."""
    font = TTFont(HERE / entry.file)
    require(all(ord(digit) in font.getBestCmap() for digit in DIGITS), entry.family)
    axes = {}
    for axis in font["fvar"].axes if "fvar" in font else []:
        low, high = entry.ranges.get(axis.axisTag, (axis.defaultValue, axis.defaultValue))
        require(axis.minValue <= low <= high <= axis.maxValue, entry.family, axis.axisTag)
        axes[axis.axisTag] = (low, min(max(axis.defaultValue, low), high), high)
    require(set(entry.ranges) <= set(axes), entry.family)
    return axes


def load(entry: Family, size: int, instance: Instance) -> ImageFont.FreeTypeFont:
    path = str(HERE / entry.file)
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    if instance:
        font.set_variation_by_axes(list(instance.values()))
    return font


def draw_digits(font: ImageFont.FreeTypeFont, size: int) -> list[np.ndarray]:
    """The ink of each digit on its own canvas; the base line is under row 2 * size."""
    canvases = []
    for digit in DIGITS:
        image = Image.new("L", (4 * size, 3 * size))
        ImageDraw.Draw(image).text((size, 2 * size), digit, 255, font, anchor="ls")
        canvases.append(np.asarray(image, np.float32) / 255)
    return canvases


def bounds(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is visible; ends are exclusive."""
    rows, columns = np.flatnonzero((ink > 0.2).any(1)), np.flatnonzero((ink > 0.2).any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def enclosed(ink: np.ndarray, level: float) -> list[np.ndarray]:
    """Row and column indices of the counters: lighter than `level`, not joined to the outside."""
    count, labels = cv2.connectedComponents((ink < level).astype(np.uint8), connectivity=4)
    areas = [np.argwhere(labels == k) for k in range(1, count)]
    return [area for area in areas if labels[tuple(area[0])] != labels[0, 0]]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """How much two digits differ at their best overlap, from 0 (equal) to 1."""
    shifts = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    moved = [np.abs(a - np.roll(b, shift, (0, 1))).sum() for shift in shifts]
    return float(min(moved) / (a.sum() + b.sum()))


def centred(ink: np.ndarray, size: int) -> np.ndarray:
    top, bottom, left, right = bounds(ink)
    canvas = np.zeros((2 * size, 2 * size), np.float32)
    y, x = (2 * size - bottom + top) // 2, (2 * size - right + left) // 2
    canvas[y : y + bottom - top, x : x + right - left] = ink[top:bottom, left:right]
    return canvas


def fault(entry: Family, instance: Instance) -> str:
    """Why this instance is not legible; the empty string when it is."""
    for size in SIZES:
        inks = draw_digits(load(entry, size, instance), size)
        if min(ink.max() for ink in inks) < MIN_DARKEST:
            return "pale"
        boxes = [bounds(ink) for ink in inks]
        heights = [bottom - top for top, bottom, _, _ in boxes]
        if max(right - left for _, _, left, right in boxes) > MAX_WIDTH * size / 25:
            return "wide"
        if min(heights) < MIN_HEIGHT * size / 18:
            return "low"
        if max(heights) - min(heights) > max(MAX_UNEVEN * max(heights), 2):
            return "uneven"
        for (_, bottom, _, _), height in zip(boxes, heights, strict=True):
            if abs(bottom - 2 * size) > max(MAX_OFF_LINE * height, 2):
                return "off the line"
        for digit, ink, (top, bottom, left, right) in zip(DIGITS, inks, boxes, strict=True):
            inked = ink > 0.04
            if np.quantile(ink[inked], 0.9) < MIN_DARKEST:
                return f"pale {digit}"
            if ink[top:bottom, left:right].mean() < MIN_MEAN:
                return f"thin {digit}"
            near = np.max([np.roll(ink, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], 0)
            if np.quantile(near[inked], 0.03) < MIN_FAINTEST:
                return f"hairline {digit}"
        big = draw_digits(load(entry, BIG, instance), BIG)
        for digit in (0, 6, 8, 9):
            for area in enclosed(big[digit], 0.5):
                box = bounds(big[digit])
                if len(area) < 0.012 * (box[1] - box[0]) * (box[3] - box[2]):
                    continue  # a speck, such as the space between two dots
                rows, columns = area.T * size // BIG
                if inks[digit][rows, columns].min() > MAX_COUNTER:
                    return f"closed {digit}"
        shapes = [centred(ink, size) for ink in inks]
        for i in range(10):
            for j in range(i):
                if apart(shapes[i], shapes[j]) < MIN_APART:
                    return f"{j} like {i}"
    return ""


def choose(entry: Family, axes: dict[str, tuple[float, float, float]]) -> list[Instance]:
    """The default, then seeded draws, each round spread evenly along every axis."""
    default = {tag: tidy(*axis, axis[1]) for tag, axis in axes.items()}
    if not axes:
        require(not fault(entry, {}), entry.family, fault(entry, {}))
        return [{}]
    rng = random.Random(f"{SEED} {entry.family}")
    chosen, faults = [], {}
    reason = fault(entry, default)
    if reason:
        faults["default: " + reason] = 1
    else:
        chosen.append(default)
    for _ in range(ROUNDS):
        columns = {}
        for tag, (low, middle, high) in axes.items():
            strata = rng.sample(range(INSTANCES), INSTANCES)
            values = [low + (high - low) * (k + rng.random()) / INSTANCES for k in strata]
            columns[tag] = [tidy(low, middle, high, value) for value in values]
        for values in zip(*columns.values(), strict=True):
            instance = dict(zip(columns, values, strict=True))
            if len(chosen) == INSTANCES or instance in chosen:
                continue
            reason = fault(entry, instance)
            if reason:
                faults[reason] = faults.get(reason, 0) + 1
            else:
                chosen.append(instance)
        if len(chosen) == INSTANCES:
            break
    print(f"{entry.family}: {len(chosen)} instances; left out {faults or 'none'}", flush=True)
    require(bool(chosen), entry.family)
    return chosen


def tidy(low: float, middle: float, high: float, value: float) -> float:
    """One decimal for short or fractional axes, whole numbers for the others."""
    fine = high - low <= 2 or middle != int(middle)
    rounded = round(value, 1) if fine else round(value)
    return int(rounded) if rounded == int(rounded) else rounded


def write_json(rows: list[dict]) -> None:
    """One instance per line."""
    lines = []
    for row in rows:
        head = json.dumps({k: v for k, v in row.items() if k != "instances"}, ensure_ascii=False)
        instances = ",\n".join("  " + json.dumps(instance) for instance in row["instances"])
        lines.append(f'{head[:-1]}, "instances": [\n{instances}\n]}}')
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    require(json.loads(text) == rows, "fonts.json")
    (HERE / "fonts.json").write_text(text, encoding="utf-8")


def draw_contact_sheet(rows: list[dict]) -> None:
    """One row per family: its first instance and four more, spread over the list."""
    left, column, line = 180, 236, 38
    sheet = Image.new("L", (left + 5 * column, line * len(rows) + 8), 255)
    pen = ImageDraw.Draw(sheet)
    label = load(FAMILIES[0], 15, {"wght": 500})
    for y, (entry, row) in enumerate(zip(FAMILIES, rows, strict=True)):
        pen.text((8, y * line + 30), row["family"], 0, label, anchor="ls")
        every = row["instances"]
        ink = [sum(map(np.sum, draw_digits(load(entry, 18, one), 18))) for one in every]
        order = sorted(range(1, len(every)), key=lambda k: ink[k])  # light to heavy
        picks = [order[round(k * (len(order) - 1) / 3)] for k in range(4)] if order else []
        for x, pick in enumerate([0, *picks]):
            size = 30
            while (font := load(entry, size, every[pick])).getlength(DIGITS) > column - 14:
                size -= 1
            pen.text((left + x * column, y * line + 30), DIGITS, 0, font, anchor="ls")
    palette = sheet.quantize(16)
    palette.save(HERE / "contact_sheet.png", optimize=True)


def write_readme(rows: list[dict]) -> None:
    count = sum(len(row["instances"]) for row in rows)
    text = f"""# Fonts

{len(rows)} families with open licences, {count} instances. The families were chosen for variety, because
a reader learns the shapes of digits from them: plates, print, code, stencils, dot matrices and
hand lettering. All have lining figures. Font files are unmodified from their npm packages, with
their licences beside them. Every instance was checked at 18 and 25 pixels for enough contrast,
open counters, distinct digits, equal height and a common baseline. `fonts.json` lists the
instances. `prepare.py` makes everything here.

![The ten digits in every family](contact_sheet.png)

| family | kind | designer | licence | npm package | axes | instances | why it is included |
|---|---|---|---|---|---|--:|---|
"""
    for entry, row in zip(FAMILIES, rows, strict=True):
        axes = ", ".join(f"{t} {low:g} to {high:g}" for t, (low, high) in entry.ranges.items())
        licence = f"[{entry.licence}]({entry.slug}.LICENSE.txt)"
        cells = (entry.family, entry.kind, entry.designer.replace("*", "\\*"), licence,
                 f"`{entry.package}` {entry.version}", axes or "none", len(row["instances"]),
                 entry.why)  # fmt: skip
        text += "| " + " | ".join(map(str, cells)) + " |\n"
    (HERE / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    rows = []
    for entry in FAMILIES:
        fetch(entry)
        digest = hashlib.sha256((HERE / entry.file).read_bytes()).hexdigest()
        rows.append({"family": entry.family, "file": entry.file, "kind": entry.kind,
                     "sha256": digest, "instances": choose(entry, read_axes(entry))})  # fmt: skip
    write_json(rows)
    draw_contact_sheet(rows)
    write_readme(rows)


if __name__ == "__main__":
    main()
