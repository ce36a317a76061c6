"""Draw every benchmark set anew: one compressed .npz each, and the two contact sheets.

Nothing here is shared with the renderer of the training plates or with the training-time
augmentation; only the held-out numbers come from the package. Needs npm for the fonts and pip
for the two packages of other people; both land in the ignored folder .cache.
$ python -m benchmarks.datasets.make_datasets
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.datasets import negatives
from benchmarks.datasets.corruptions import CORRUPTIONS, FAMILIES, SEVERITIES, corrupt
from benchmarks.datasets.fonts import (
    CACHE,
    DIGITS,
    ORDINARY,
    Face,
    fetch,
    open_font,
    read_table,
    rise,
)
from benchmarks.datasets.layout import LAYOUTS, Plate, render_plate
from plate_ocr.cli import run_command
from plate_ocr.plates.rendering import DEFAULT_SEED, plate_text

DIRECTORY = Path(__file__).parents[2] / "data" / "benchmark"
# One seed a set; with a plate's position in the set it seeds that plate.
SEEDS = {
    name: 20_261_100 + index
    for index, name in enumerate(
        ("held_out_fonts", "corruptions", "layout", "cross_generator", "captcha", "no_plate",
         "tuning")
    )
}  # fmt: skip
HELD_OUT = range(92_000, 99_940)  # positions in the permutation of all numbers
HELD_OUT_TUNING = range(90_000, 92_000)
GENERATORS = CACHE / "generators"
GENERATOR_PACKAGES = (
    "trdg==1.8.0", "pillow==9.5.0", "numpy==2.2.6", "opencv-python==5.0.0.93", "captcha==0.7.1",
)  # fmt: skip


def held_out_texts(name: str, count: int) -> list[str]:
    """Numbers for a set, each once as long as there are enough."""
    positions = HELD_OUT_TUNING if name == "tuning" else HELD_OUT
    order = np.random.default_rng(SEEDS[name]).permutation(len(positions))
    return [
        plate_text(DEFAULT_SEED, positions[order[index % len(positions)]]) for index in range(count)
    ]


def generator_of(name: str, index: int) -> np.random.Generator:
    """The generator of one plate of a set."""
    return np.random.default_rng([SEEDS[name], index])


def coarse(images: np.ndarray) -> np.ndarray:
    """Grey levels in 64 steps, black and white kept, so that noise takes less room."""
    return images & 0xFC | images >> 6


def write(name: str, images: list, texts: list[str], **tags: list) -> None:
    """One .npz; the same plates give the same bytes."""
    np.savez_compressed(
        DIRECTORY / f"{name}.npz",
        images=coarse(np.stack(images)),
        texts=np.array(texts, "<U7"),
        **{tag: np.array(values) for tag, values in tags.items()},
    )
    size = (DIRECTORY / f"{name}.npz").stat().st_size
    print(f"{name}: {len(images)} images, {size / 1e6:.2f} MB", flush=True)


def draw_held_out_fonts(faces: list[Face], count: int = 5000) -> None:
    """Clean plates in every face in turn."""
    name = "held_out_fonts"
    texts = held_out_texts(name, count)
    chosen = [faces[index % len(faces)] for index in range(count)]
    plates = [render_plate(chosen[i], texts[i], generator_of(name, i)) for i in range(count)]
    write(
        name,
        [plate.image for plate in plates],
        texts,
        font=[face.family for face in chosen],
        kind=[face.kind for face in chosen],
        height=[plate.height for plate in plates],
    )


def draw_conditions(faces: list[Face], count: int = 5000) -> None:
    """Corrupted plates in ordinary faces, one file for each family of corruptions."""
    name = "corruptions"
    texts = held_out_texts(name, count)
    cells = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
    for family, members in FAMILIES.items():
        names = {member.__name__ for member in members}
        kept = [index for index in range(count) if cells[index % len(cells)][0] in names]
        images, heights, fonts, corruptions, severities = [], [], [], [], []
        for index in kept:
            random = generator_of(name, index)
            turn, cell = divmod(index, len(cells))
            corruption, severity = cells[cell]
            face = faces[(turn + cell) % len(faces)]
            plate = render_plate(face, texts[index], random, (13, 20))
            images.append(corrupt(plate.image, corruption, severity, random))
            heights.append(plate.height)
            fonts.append(face.family)
            corruptions.append(corruption)
            severities.append(severity)
        write(
            f"{name}_{family}",
            images,
            [texts[index] for index in kept],
            font=fonts,
            corruption=corruptions,
            severity=severities,
            height=heights,
        )


def draw_layout(faces: list[Face], count: int = 3000) -> None:
    """Clean plates in ordinary faces, set in five unusual ways."""
    name = "layout"
    texts = held_out_texts(name, count)
    layouts = [LAYOUTS[index % len(LAYOUTS)] for index in range(count)]
    chosen = [faces[index // len(LAYOUTS) % len(faces)] for index in range(count)]
    plates = [
        render_plate(chosen[i], texts[i], generator_of(name, i), layout=layouts[i])
        for i in range(count)
    ]
    write(
        name,
        [plate.image for plate in plates],
        texts,
        font=[face.family for face in chosen],
        layout=layouts,
        height=[plate.height for plate in plates],
    )


def draw_strangers(name: str, generator: str, count: int) -> None:
    """Plates drawn by a package of other people, in an environment of its own."""
    python = GENERATORS / "bin" / "python"
    if not (GENERATORS / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", GENERATORS], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--prefer-binary", *GENERATOR_PACKAGES],
            check=True,
        )
        (GENERATORS / "ready").touch()
    texts = held_out_texts(name, count)
    numbers, images = GENERATORS / f"{name}.txt", GENERATORS / f"{name}.npz"
    numbers.write_text("\n".join(texts), encoding="ascii")
    script = Path(__file__).with_name("third_party.py")
    command = [python, script, generator, str(SEEDS[name]), numbers, images]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    drawn = np.load(images)
    write(name, list(drawn["images"]), texts, font=list(drawn["fonts"]))


def draw_no_plate(faces: list[Face], count: int = 3000) -> None:
    """Images that must be refused."""
    name = "no_plate"
    kinds = [negatives.KINDS[index % len(negatives.KINDS)] for index in range(count)]
    images, texts, fonts = [], [], []
    for index, kind in enumerate(kinds):
        face = faces[index // len(negatives.KINDS) % len(faces)]
        image, text = negatives.draw(kind, face, generator_of(name, index))
        images.append(image)
        texts.append(text)
        fonts.append(face.family if text else "")
    write(name, images, texts, kind=kinds, font=fonts)


def tuning_plate(
    faces: list[Face], index: int, text: str, random: np.random.Generator
) -> tuple[Plate, dict[str, str | int]]:
    """Draw a plate of the tuning set, whose faces and ways take turns.

    Returns:
        The plate, and its tags.
    """
    face = faces[index % len(faces)]
    way = index // len(faces) % 3  # clean, corrupted, in an unusual layout
    layout = LAYOUTS[int(random.integers(len(LAYOUTS)))] if way == 2 else ""
    plate = render_plate(face, text, random, (13 if way == 1 else 12, 20), layout)
    corruption, severity = "", 0
    if way == 1:
        names = list(CORRUPTIONS)
        corruption = names[int(random.integers(len(names)))]
        severity = int(random.integers(1, len(SEVERITIES) + 1))
        plate = plate._replace(image=corrupt(plate.image, corruption, severity, random))
    tags = {"corruption": corruption, "severity": severity, "layout": layout}
    return plate, tags | {"font": face.family, "kind": face.kind, "height": plate.height}


def draw_tuning(faces: list[Face], count: int = 3000) -> None:
    """A third each clean, corrupted and in an unusual layout, in faces of its own."""
    name = "tuning"
    texts = held_out_texts(name, count)
    drawn = [
        tuning_plate(faces, index, text, generator_of(name, index))
        for index, text in enumerate(texts)
    ]
    order = ("font", "kind", "corruption", "severity", "layout", "height")
    tags = {tag: [of_plate[tag] for _, of_plate in drawn] for tag in order}
    write(name, [plate.image for plate, _ in drawn], texts, **tags)


def draw_font_sheet(faces: list[Face]) -> None:
    """The ten digits of every face, 20 pixels high."""
    columns, cell, label = 3, (460, 34), ImageFont.load_default(12)
    rows = -(-len(faces) // columns)
    sheet = Image.new("L", (columns * cell[0], rows * cell[1]), 255)
    pen = ImageDraw.Draw(sheet)
    for index, face in enumerate(faces):
        x, y = index // rows * cell[0] + 6, index % rows * cell[1] + 27
        mark = " (tuning)" if face.set == "tuning" else ""
        pen.text((x, y - 9), face.family[:24], 0, label, anchor="ls")
        pen.text((x, y + 3), face.kind + mark, 110, label, anchor="ls")
        font = open_font(face, 20 / rise(face))
        x += 160
        for digit in DIGITS:
            pen.text((x, y), digit, 0, font, anchor="ls")
            x += font.getlength(digit) + 1
    sheet.quantize(16).save(DIRECTORY / "fonts.png", optimize=True)


def draw_condition_sheet() -> None:
    """One plate for each corruption and severity."""
    left, label = 116, ImageFont.load_default(13)
    size = left + 132 * len(SEVERITIES), 68 * len(CORRUPTIONS)
    sheet = Image.new("L", size, 190)
    pen = ImageDraw.Draw(sheet)
    rows = {name: row for row, name in enumerate(CORRUPTIONS)}
    for family in FAMILIES:
        file = np.load(DIRECTORY / f"corruptions_{family}.npz")
        images, severities, corruptions = file["images"], file["severity"], file["corruption"]
        for name in np.unique(corruptions):
            y = 68 * rows[name] + 2
            pen.text((6, y + 36), name.replace("_", " "), 0, label, anchor="ls")
            for severity in SEVERITIES:
                first = np.flatnonzero((corruptions == name) & (severities == severity))[0]
                place = left + 132 * (severity - 1) + 2, y
                sheet.paste(Image.fromarray(images[first]), place)
    sheet.quantize(32).save(DIRECTORY / "corruptions.png", optimize=True)


def main() -> None:
    """Fetch what is missing, then draw everything."""
    table = read_table()
    fetch(table)
    start = time.perf_counter()
    unseen = [face for face in table if face.set == "unseen"]
    ordinary = [face for face in unseen if face.kind in ORDINARY]
    draw_held_out_fonts(unseen)
    draw_conditions(ordinary)
    draw_layout(ordinary)
    draw_no_plate(unseen)
    draw_tuning([face for face in table if face.set == "tuning"])
    draw_strangers("cross_generator", "trdg", 2000)
    draw_strangers("captcha", "captcha", 500)
    draw_font_sheet(table)
    draw_condition_sheet()
    print(f"{time.perf_counter() - start:.0f} seconds")


if __name__ == "__main__":
    sys.exit(run_command(main))
