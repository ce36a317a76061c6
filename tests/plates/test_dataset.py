import hashlib
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr.plates import rendering
from plate_ocr.plates.dataset import (
    SPLITS,
    DatasetError,
    generate_dataset,
    load_folder,
    load_or_generate,
    render_plates,
    split_range,
    validate_dataset,
)
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.rendering import HELD_OUT_START, permuted_numbers

COUNT = 66


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Plates as one undisturbed process draws them; tests must not change them."""
    folder = tmp_path_factory.mktemp("reference") / "train"
    generate_dataset(folder, count=COUNT)
    return folder


@pytest.fixture
def folder(reference, tmp_path):
    return shutil.copytree(reference, tmp_path / "train")


def test_splits_share_no_number():
    numbers = permuted_numbers(2026)
    train = set(numbers[:HELD_OUT_START])  # the most that a training folder may hold
    held_out = [
        number for name in SPLITS if name != "train" for number in numbers[split_range(name)]
    ]
    assert len(held_out) == len(set(held_out)) and not train & set(held_out)


def test_splits_of_other_lengths():
    assert split_range("train", digits=4) == range(6_000)
    assert split_range("test", digits=4) == range(9_994, 10_000)
    assert split_range("test", digits=7) == split_range("test")
    assert split_range("mine", 5_000_000, 10, digits=7) == range(5_000_000, 5_000_010)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mine", {"start": 89_999, "count": 2}),
        ("mine", {"start": 99_999, "count": 2}),
        ("train", {"count": 9_001, "digits": 4}),
        ("train", {"count": 0}),
        ("test", {"count": 61}),
        ("train", {"count": 1, "seed": -1}),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(tmp_path, name, arguments):
    with pytest.raises(DatasetError):
        generate_dataset(tmp_path / name, **arguments)
    assert not (tmp_path / name).exists()


def test_digits_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "FONT_SIZES", range(30, 60))
    with pytest.raises(FontError, match="does not fit the plate"):
        generate_dataset(tmp_path / "train", count=44)
    assert not (tmp_path / "train").exists()


def test_the_committed_test_set():
    plates = load_folder(PROJECT / "data" / "test")
    assert len(plates) == len(set(plates.labels)) == 60
    assert validate_dataset(PROJECT / "data" / "test") == []
    assert len({record["font"] for record in plates.records}) == 22
    drawn = render_plates(range(99_940, 100_000))
    images = dict(zip(drawn.labels, drawn.images, strict=True))
    for label, image in zip(plates.labels, plates.images, strict=True):
        # Another FreeType may draw an edge a little darker; the position must be the same.
        assert np.abs(image.astype(int) - images[label]).mean() < 1


def test_a_damaged_folder_is_completed_to_the_same_bytes(reference, folder):
    (folder / "metadata.jsonl").unlink()
    missing, damaged, *_ = sorted(folder.glob("*.png"))
    missing.unlink()
    damaged.write_bytes(b"")
    assert len(load_or_generate(folder, count=COUNT)) == COUNT
    assert contents(folder) == contents(reference)


def test_a_folder_holds_plates_of_one_setting(folder, tmp_path):
    for changed in ({"count": 67}, {"seed": 1}, {"digits": 6}):
        with pytest.raises(DatasetError, match=f"{folder}: .* {next(iter(changed))} "):
            generate_dataset(folder, **{"count": COUNT} | changed)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    for name in ("fonts", "sizes", "pillow"):
        changed = json.dumps(settings | {name: "another"})
        (folder / "settings.json").write_text(changed, encoding="utf-8")
        if name != "pillow":
            with pytest.raises(DatasetError, match=f"{folder}: .* {name} "):
                generate_dataset(folder, count=COUNT)
    assert len(load_or_generate(folder, count=COUNT)) == COUNT  # drawn by another Pillow
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"settings\.json"):
        generate_dataset(tmp_path / "test", count=1)


def test_damaged_settings_are_refused_and_nothing_changes(folder):
    (folder / "settings.json").write_text("{", encoding="utf-8")
    before = contents(folder)
    for function in (generate_dataset, load_or_generate):
        with pytest.raises(DatasetError, match=r"settings\.json"):
            function(folder, count=COUNT)
    assert contents(folder) == before


def test_plates_of_other_positions_and_lengths(tmp_path):
    records = generate_dataset(tmp_path / "mine", start=70_000, count=44)
    assert [record["index"] for record in records] == list(range(70_000, 70_044))
    assert len(load_or_generate(tmp_path / "mine")) == 44
    folder = tmp_path / "train"
    generate_dataset(folder, count=44, digits=7)
    assert validate_dataset(folder) == []
    assert load_or_generate(folder, count=44, digits=7).digits == 7
    with pytest.raises(DatasetError, match="5 digits"):
        load_folder(folder)


def test_loaded_plates_are_those_drawn_in_memory(reference):
    plates, drawn = load_or_generate(reference, count=COUNT), render_plates(range(COUNT))
    assert plates.labels == drawn.labels and plates.records == drawn.records
    assert np.array_equal(plates.images, drawn.images)
    assert load_folder(reference).labels == sorted(drawn.labels)  # in the order of names


def test_own_folders_are_never_drawn_into(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        load_or_generate(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    Image.new("L", (300, 100)).save(tmp_path / "train" / "12345.png")
    assert load_or_generate(tmp_path / "train").labels == ["12345"]


def test_labels_can_be_left_out():
    drawn = render_plates(range(10))
    rest = render_plates(range(10), exclude_labels=drawn.labels[1:9])
    assert rest.labels == [drawn.labels[0], drawn.labels[9]]


def test_names_of_own_files_may_look_like_labels(tmp_path):
    Image.effect_noise((128, 64), 50).save(tmp_path / "00001.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n00001.png,12341\n")
    assert validate_dataset(tmp_path) == []


def test_validation_finds_every_problem(folder):
    names = sorted(path.name for path in folder.glob("*.png"))
    (folder / names[0]).unlink()
    (folder / names[1]).write_bytes(b"")
    Image.new("L", (10, 10)).save(folder / names[2])
    (folder / names[3]).write_bytes((folder / names[4]).read_bytes())
    Image.new("L", (128, 64)).save(folder / "unknown.png")
    path = folder / "metadata.jsonl"
    record = f'"text": "{names[5][:5]}"'
    path.write_text(path.read_text(encoding="utf-8").replace(record, '"text": "00000"'))
    named = Counter(problem.partition(": ")[0] for problem in validate_dataset(folder))
    once, twice = (names[1], names[4], names[5]), (names[2], "unknown.png")  # those also blank
    expected = {str(folder): 1} | {str(folder / name): 1 for name in once}
    assert named == expected | {str(folder / name): 2 for name in twice}
    path.unlink()  # as after an interruption
    problems = "\n".join(validate_dataset(folder))
    assert f"{path}: " in problems and f"{folder / 'unknown.png'}: its label" in problems
