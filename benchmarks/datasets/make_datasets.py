"""Draw every benchmark set again: a compressed .npz each.

Only the held-out numbers come from the package; renderer and augmentation of the training plates
are not used. Needs npm for the fonts and pip for the two third-party generators.

$ python -m benchmarks.datasets.make_datasets
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.datasets import negatives, segments
from benchmarks.datasets.corruptions import CORRUPTIONS, FAMILIES, SEVERITIES, corrupt
from benchmarks.datasets.fonts import Face, load_faces
from benchmarks.datasets.layout import LAYOUTS, render_plate
from benchmarks.environments import CACHE, PROJECT, EnvironmentFailed, install, run
from plate_ocr.cli import run_command
from plate_ocr.plates.rendering import DEFAULT_SEED, plate_text

Generator = np.random.Generator
DIRECTORY = PROJECT / "data" / "benchmark"
# One seed per set; together with a plate's index in the set it seeds that plate.
SETS = (
    "held_out_fonts", "corruptions", "layout", "cross_generator", "captcha", "no_plate", "tuning",
    "segments",
)  # fmt: skip
SEEDS = {name: 20_261_100 + index for index, name in enumerate(SETS)}
HELD_OUT = range(92_000, 99_940)  # positions in the permutation of all numbers
HELD_OUT_TUNING = range(90_000, 92_000)
ORDINARY_KINDS = {"sans", "serif", "slab", "mono", "rounded"}
CELLS = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
GENERATORS = CACHE / "generators"
GENERATOR_PACKAGES = (
    "trdg==1.8.0", "pillow==9.5.0", "numpy==2.2.6", "opencv-python==5.0.0.93", "captcha==0.7.1",
)  # fmt: skip


class Sample(NamedTuple):
    """One image of a set: uint8 (64, 128), the text on it, and its tags."""

    image: np.ndarray
    text: str
    tags: dict[str, str | int]


def held_out_texts(name: str, count: int) -> list[str]:
    """Numbers for a set, without repetition as long as there are enough."""
    positions = HELD_OUT_TUNING if name == "tuning" else HELD_OUT
    order = np.random.default_rng(SEEDS[name]).permutation(len(positions))
    return [
        plate_text(DEFAULT_SEED, positions[order[index % len(positions)]]) for index in range(count)
    ]


def reduce_levels(images: np.ndarray) -> np.ndarray:
    """64 gray levels, black and white kept, so that noise compresses better."""
    return images & 0xFC | images >> 6


def draw_set(name: str, draw: Callable[..., Sample], faces: list[Face], count: int) -> list[Sample]:
    """All samples of a set, each from its own generator."""
    return [
        draw(faces, index, text, np.random.default_rng([SEEDS[name], index]))
        for index, text in enumerate(held_out_texts(name, count))
    ]


def write(name: str, samples: list[Sample]) -> None:
    """Write an .npz; the same samples give the same bytes."""
    path = DIRECTORY / f"{name}.npz"
    np.savez_compressed(
        path,
        images=reduce_levels(np.stack([sample.image for sample in samples])),
        texts=np.array([sample.text for sample in samples], "<U7"),
        **{tag: np.array([sample.tags[tag] for sample in samples]) for tag in samples[0].tags},
    )
    print(f"{name}: {len(samples)} images, {path.stat().st_size / 1e6:.2f} MB", flush=True)


def held_out_font_plate(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """A clean plate; the faces take turns."""
    face = faces[index % len(faces)]
    image, height = render_plate(face, text, rng)
    return Sample(image, text, {"font": face.family, "kind": face.kind, "height": height})


def corrupted_plate(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """A corrupted plate; corruptions and severities take turns, then the faces."""
    cycle, cell = divmod(index, len(CELLS))
    corruption, severity = CELLS[cell]
    face = faces[(cycle + cell) % len(faces)]
    image, height = render_plate(face, text, rng, heights=(13, 20))
    image = corrupt(image, corruption, severity, rng)
    tags = {"font": face.family, "corruption": corruption, "severity": severity}
    return Sample(image, text, tags | {"height": height})


def layout_plate(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """A clean plate in an unusual layout; layouts take turns, then the faces."""
    cycle, number = divmod(index, len(LAYOUTS))
    face, layout = faces[cycle % len(faces)], LAYOUTS[number]
    image, height = render_plate(face, text, rng, layout=layout)
    return Sample(image, text, {"font": face.family, "layout": layout, "height": height})


def negative(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """An image without a plate; kinds take turns, then the faces. It has a text of its own."""
    cycle, number = divmod(index, len(negatives.KINDS))
    face, kind = faces[cycle % len(faces)], negatives.KINDS[number]
    image, text = negatives.draw_negative(kind, face, rng)
    return Sample(image, text, {"kind": kind, "font": face.family if text else ""})


def segments_plate(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """A seven-segment display, of a kind that shows on the text."""
    kind = segments.choose_kind(text, rng)
    image, height, polarity = segments.draw_display(text, kind, rng)
    tags = {"font": "seven segments", "kind": kind, "polarity": polarity, "height": height}
    return Sample(image, text, tags)


def tuning_plate(faces: list[Face], index: int, text: str, rng: Generator) -> Sample:
    """A plate that is clean, corrupted or in an unusual layout, in turn; first the faces do."""
    face, variant = faces[index % len(faces)], index // len(faces) % 3
    layout = LAYOUTS[int(rng.integers(len(LAYOUTS)))] if variant == 2 else ""
    image, height = render_plate(face, text, rng, (13 if variant == 1 else 12, 20), layout)
    corruption, severity = "", 0
    if variant == 1:
        corruption = list(CORRUPTIONS)[int(rng.integers(len(CORRUPTIONS)))]
        severity = int(rng.integers(1, len(SEVERITIES) + 1))
        image = corrupt(image, corruption, severity, rng)
    tags = {"font": face.family, "kind": face.kind, "corruption": corruption, "severity": severity}
    return Sample(image, text, tags | {"layout": layout, "height": height})


def third_party_set(name: str, generator: str, count: int) -> list[Sample]:
    """Plates drawn by a third-party package, in an environment of its own."""
    python = install(GENERATORS, GENERATOR_PACKAGES, options=["--prefer-binary"])
    texts = held_out_texts(name, count)
    script, output = Path(__file__).with_name("third_party.py"), GENERATORS / f"{name}.npz"
    run([python, script, generator, SEEDS[name], output, *texts])
    drawn = np.load(output)
    rows = zip(drawn["images"], texts, drawn["fonts"].tolist(), strict=True)
    return [Sample(image, text, {"font": font}) for image, text, font in rows]


def main() -> None:
    """Fetch what is missing, then draw everything."""
    held_out, tuning = load_faces("held-out"), load_faces("tuning")
    ordinary = [face for face in held_out if face.kind in ORDINARY_KINDS]
    write("held_out_fonts", draw_set("held_out_fonts", held_out_font_plate, held_out, 5000))
    corrupted = draw_set("corruptions", corrupted_plate, ordinary, 5000)
    for family, members in FAMILIES.items():
        names = {corruption.__name__ for corruption in members}
        chosen = [sample for sample in corrupted if sample.tags["corruption"] in names]
        write(f"corruptions_{family}", chosen)
    write("layout", draw_set("layout", layout_plate, ordinary, 3000))
    write("no_plate", draw_set("no_plate", negative, held_out, 3000))
    write("segments", draw_set("segments", segments_plate, [], 1000))
    write("tuning", draw_set("tuning", tuning_plate, tuning, 3000))
    write("cross_generator", third_party_set("cross_generator", "trdg", 2000))
    write("captcha", third_party_set("captcha", "captcha", 500))


if __name__ == "__main__":
    sys.exit(run_command(main, EnvironmentFailed))
