import csv
import json
from functools import cache

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.plates.alphabet import is_valid_label
from plate_ocr.plates.rendering import DEFAULT_SEED, permuted_numbers

BENCHMARK = PROJECT / "data" / "benchmark"
CORRUPTIONS = ("corruptions_noise", "corruptions_blur", "corruptions_light", "corruptions_damage")
SIZES = {
    "held_out_fonts": 5000,
    "layout": 3000,
    "cross_generator": 2000,
    "captcha": 500,
    "no_plate": 3000,
    "tuning": 3000,
}
MAX_BYTES = 6_000_000


@cache
def load(name):
    with np.load(BENCHMARK / f"{name}.npz") as file:
        return dict(file)


def faces(which):
    with (BENCHMARK / "fonts.csv").open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["set"] == which]


def held_out(first, last):
    return {f"{number:05d}" for number in permuted_numbers(DEFAULT_SEED)[first : last + 1]}


@pytest.mark.parametrize("name", [*SIZES, *CORRUPTIONS])
def test_files_hold_plates_and_tags(name):
    file = load(name)
    count = len(file["texts"])
    assert file["images"].dtype == np.uint8 and file["images"].shape == (count, 64, 128)
    assert file["texts"].dtype == np.dtype("<U7")
    assert all(len(tag) == count for tag in file.values())
    assert (BENCHMARK / f"{name}.npz").stat().st_size < MAX_BYTES


def test_every_set_has_its_size_and_there_is_no_other_file():
    assert {name: len(load(name)["texts"]) for name in SIZES} == SIZES
    assert sum(len(load(name)["texts"]) for name in CORRUPTIONS) == 5000
    assert {path.stem for path in BENCHMARK.glob("*.npz")} == {*SIZES, *CORRUPTIONS}


@pytest.mark.parametrize(
    "names", [("held_out_fonts",), CORRUPTIONS, ("layout",), ("cross_generator",), ("captcha",)]
)
def test_numbers_are_held_out_and_unique(names):
    texts = np.concatenate([load(name)["texts"] for name in names])
    assert len(set(texts)) == len(texts)
    assert set(texts) <= held_out(92_000, 99_939)


def test_tuning_numbers_are_in_no_other_set():
    texts = load("tuning")["texts"]
    assert set(texts) <= held_out(90_000, 91_999)
    assert np.unique(texts, return_counts=True)[1].max() <= 2


def test_no_family_is_in_two_sets():
    trained = {font["family"] for font in json.loads((PROJECT / "fonts/fonts.json").read_text())}
    unseen = {face["family"] for face in faces("unseen")}
    tuning = {face["family"] for face in faces("tuning")}
    assert len(trained) == 22 and len(unseen) >= 60 and len(tuning) >= 25
    assert not unseen & trained and not tuning & trained and not unseen & tuning
    related = {tuple(name.split()[:2]) for name in trained}  # no other style of a trained family
    assert not related & {tuple(name.split()[:2]) for name in unseen | tuning}


def test_fonts_of_the_sets_are_those_of_the_table():
    unseen = {face["family"]: face["kind"] for face in faces("unseen")}
    tuning = {face["family"]: face["kind"] for face in faces("tuning")}
    for name, table in (("held_out_fonts", unseen), ("tuning", tuning)):
        pairs = set(zip(load(name)["font"], load(name)["kind"], strict=True))
        assert pairs == set(table.items())
    for name in (*CORRUPTIONS, "layout", "no_plate"):
        assert set(load(name)["font"]) - {""} <= set(unseen)


def test_every_kind_of_font_is_in_both_tables():
    kinds = {
        *("squared", "techno", "stencil", "pixel", "machine-like", "hand-lettered", "display"),
        *("slab", "mono", "rounded", "narrow", "wide", "light", "black", "italic", "sans", "serif"),
    }
    assert {face["kind"] for face in faces("unseen")} == kinds
    assert {face["kind"] for face in faces("tuning")} == kinds


def test_every_family_has_a_licence_and_a_row_in_the_readme():
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for face in faces("unseen") + faces("tuning"):
        assert face["licence"] in {"OFL-1.1", "Apache-2.0", "UFL-1.0"}
        cells = [face["family"], face["kind"], f"`{face['package']}`", face["version"]]
        assert " | ".join([*cells, face["licence"], face["set"]]) in readme


def test_every_corruption_at_every_severity():
    cells = [
        cell
        for name in CORRUPTIONS
        for cell in zip(load(name)["corruption"], load(name)["severity"], strict=True)
    ]
    names = {name for name, _ in cells}
    assert len(names) == 15
    for name in names:
        for severity in range(1, 6):
            assert cells.count((name, severity)) in (66, 67)
    tuning = load("tuning")
    assert set(tuning["corruption"]) == {"", *names}
    assert np.array_equal(tuning["severity"] > 0, tuning["corruption"] != "")


def test_clean_plates_are_black_on_white():
    images = load("held_out_fonts")["images"]
    assert (np.median(images, (1, 2)) == 255).all() and (images.min((1, 2)) < 128).all()
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    assert all((edge == 255).all() for edge in edges)


def test_layouts_are_as_described():
    file = load("layout")
    ink = file["images"] < 128
    columns, rows = ink.any(1), ink.any(2)
    widths = columns.shape[1] - columns.argmax(1) - columns[:, ::-1].argmax(1)
    tops, bottoms = rows.argmax(1), rows[:, ::-1].argmax(1)
    free = np.min([columns.argmax(1), columns[:, ::-1].argmax(1), tops, bottoms], 0)
    layouts = file["layout"]
    assert all((layouts == name).sum() == 600 for name in ("fill", "small", "edge", "tight"))
    assert np.median(widths[layouts == "fill"]) > 108
    assert file["height"][layouts == "small"].max() <= 11
    assert free[layouts == "edge"].max() <= 2
    assert widths[layouts == "wide"].min() > 80
    assert widths[layouts == "tight"].max() < np.median(widths[layouts == "wide"])


def test_no_plate_holds_no_five_digits():
    file = load("no_plate")
    digits = {"three digits": 3, "four digits": 4, "six digits": 6, "seven digits": 7}
    assert not any(is_valid_label(str(text)) for text in file["texts"])
    for kind in ("blank", "noise", "texture", "letters", *digits):
        texts = file["texts"][file["kind"] == kind]
        assert len(texts) == 375
        if kind in digits:
            assert {len(text) for text in texts} == {digits[kind]}
            assert all(text.isdigit() for text in texts)
        elif kind == "letters":
            assert not set("".join(texts)) & set("0123456789OIlSZB")
        else:
            assert set(texts) == {""}
