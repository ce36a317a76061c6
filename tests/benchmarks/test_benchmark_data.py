"""The frozen benchmark sets are what their description says."""

import csv
import json
from collections import Counter
from functools import cache

import numpy as np
import pytest
from conftest import PROJECT

from plate_ocr.plates.alphabet import is_valid_label
from plate_ocr.plates.rendering import DEFAULT_SEED, permuted_numbers

BENCHMARK = PROJECT / "data" / "benchmark"
OTHERS = ("held_out_fonts", "layout", "cross_generator", "captcha", "segments")
CORRUPTIONS = ("corruptions_noise", "corruptions_blur", "corruptions_light", "corruptions_damage")


@cache
def load(name):
    with np.load(BENCHMARK / f"{name}.npz") as file:
        return dict(file)


def faces(which):
    with (BENCHMARK / "fonts.csv").open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["set"] == which]


def numbers(first, last):
    return {f"{number:05d}" for number in permuted_numbers(DEFAULT_SEED)[first : last + 1]}


@pytest.mark.parametrize("names", [CORRUPTIONS, *([name] for name in OTHERS)])
def test_numbers_are_held_out_and_unique(names):
    texts = np.concatenate([load(name)["texts"] for name in names])
    assert len(set(texts)) == len(texts)
    assert set(texts) <= numbers(92_000, 99_939) - set(load("tuning")["texts"])


def test_no_family_is_in_two_sets():
    trained = {font["family"] for font in json.loads((PROJECT / "fonts/fonts.json").read_text())}
    held_out = {face["family"] for face in faces("held-out")}
    tuning = {face["family"] for face in faces("tuning")}
    assert len(trained) == 22 and len(held_out) >= 60 and len(tuning) >= 25
    assert not held_out & trained and not tuning & trained and not held_out & tuning
    related = {tuple(name.split()[:2]) for name in trained}  # no other style of a trained family
    assert not related & {tuple(name.split()[:2]) for name in held_out | tuning}
    assert set(load("held_out_fonts")["font"]) == held_out
    assert set(load("tuning")["font"]) == tuning
    for name in (*CORRUPTIONS, "layout", "no_plate"):
        assert set(load(name)["font"]) - {""} <= held_out


def test_every_family_has_a_license_and_a_row_in_the_readme():
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for face in faces("held-out") + faces("tuning"):
        assert face["license"] in {"OFL-1.1", "Apache-2.0", "UFL-1.0"}
        cells = [face["family"], face["kind"], f"`{face['package']}`", face["version"]]
        assert " | ".join([*cells, face["license"], face["set"]]) in readme


def test_every_corruption_at_every_severity():
    cells = Counter()
    for name in CORRUPTIONS:
        cells.update(zip(load(name)["corruption"], load(name)["severity"], strict=True))
    assert len(cells) == 15 * 5 and set(cells.values()) == {66, 67}


def test_no_plate_holds_no_five_digits():
    kinds, texts = load("no_plate")["kind"], load("no_plate")["texts"]
    assert not any(is_valid_label(str(text)) for text in texts)
    for kind in ("blank", "noise", "texture"):
        assert set(texts[kinds == kind]) == {""}
    assert not set("".join(texts[kinds == "letters"])) & set("0123456789OIlSZB")
