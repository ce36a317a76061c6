import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image

from plate_ocr import utils
from plate_ocr.plates import dataset
from plate_ocr.plates.dataset import (
    HELD_OUT,
    SPLITS,
    DatasetError,
    generate,
    held_out,
    list_images,
    load_folder,
    load_or_generate,
    mix,
    read_metadata,
    render_plates,
    split_range,
    validate_dataset,
)
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.images import ImageError
from plate_ocr.plates.rendering import permuted_numbers
from plate_ocr.utils import write_text


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """66 plates as one process draws them undisturbed."""
    folder = tmp_path_factory.mktemp("reference") / "train"
    generate(folder, count=66, processes=1, progress=False)
    return folder


def test_splits_share_no_number():
    numbers = permuted_numbers(2026)
    train = set(numbers[:HELD_OUT])  # the most that a training folder may hold
    taken = [split_range(name) for name in SPLITS if name != "train"]
    held_out = [number for positions in taken for number in numbers[positions]]
    assert len(held_out) == len(set(held_out)) and not train & set(held_out)
    assert max(split_range("train", count=HELD_OUT)) < min(map(min, taken))


def test_the_committed_test_set():
    plates = load_folder(PROJECT / "data" / "test")
    assert len(plates) == 60 and len(set(plates.labels)) == 60
    assert validate_dataset(PROJECT / "data" / "test") == []
    fonts = [record["font"] for record in plates.records]
    assert min(map(fonts.count, set(fonts))) >= 2 and len(set(fonts)) == 22
    drawn = {
        record["text"]: image for image, record in _pairs(render_plates(range(99_940, 100_000)))
    }
    for text, image in zip(plates.labels, plates.images, strict=True):
        # Another FreeType may draw an edge a little darker; the place must be the same.
        assert np.abs(image.astype(int) - drawn[text]).mean() < 1


def _pairs(plates):
    return zip(plates.images, plates.records, strict=True)


def test_records_follow_the_image_folder_convention(reference):
    lines = (reference / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["index"] for record in records] == list(range(66))
    for record in records:
        assert record["file_name"] == record["text"] + ".png"
        assert isinstance(record["text"], str) and (reference / record["file_name"]).is_file()
        names = "file_name text font axes size spacing x y seed index"
        assert sorted(record) == sorted(names.split())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_equal_bytes_from_any_number_of_processes(reference, tmp_path, processes):
    folder = tmp_path / "train"
    generate(folder, count=66, processes=processes, progress=False)
    assert contents(folder) == contents(reference)


def test_an_interrupted_folder_is_completed_to_the_same_bytes(reference, tmp_path):
    folder = tmp_path / "train"
    generate(folder, count=66, processes=1, progress=False)
    (folder / "metadata.jsonl").unlink()
    for path in sorted(folder.glob("*.png"))[::3]:
        path.unlink()
    (folder / ".123.part.00001.png").write_bytes(b"half a picture")
    generate(folder, count=66, processes=2, progress=False)
    assert contents(folder) == contents(reference)


def test_a_killed_generation_leaves_whole_files_and_goes_on(tmp_path):
    folder = tmp_path / "train"
    code = (
        "from plate_ocr.plates.dataset import generate\n"
        f"generate({str(folder)!r}, count=3000, processes=1, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    while process.poll() is None and len(list(folder.glob("[0-9]*.png"))) < 300:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = list(folder.glob("[0-9]*.png"))
    assert 300 <= len(written) < 3000 and not (folder / "metadata.jsonl").exists()
    for path in written:
        with Image.open(path) as image:
            image.load()
    records = generate(folder, count=3000, progress=False)
    assert len(records) == len(list(folder.glob("*.png"))) == 3000
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert validate_dataset(folder) == []


def test_the_workers_of_a_killed_generation_end_with_it(tmp_path):
    code = (
        "import multiprocessing, threading, time\n"
        "from plate_ocr.plates.dataset import generate\n"
        "def tell():\n"
        "    while len(workers := multiprocessing.active_children()) < 2: time.sleep(0.01)\n"
        "    print(*[worker.pid for worker in workers], flush=True)\n"
        "threading.Thread(target=tell, daemon=True).start()\n"
        f"generate({str(tmp_path / 'train')!r}, processes=2, progress=False)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        workers = process.stdout.readline().split()
        while not any((tmp_path / "train").glob("[0-9]*.png")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert len(workers) == 2
    latest = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < latest
        time.sleep(0.05)


def test_an_empty_or_truncated_plate_is_drawn_again(reference, tmp_path):
    folder = shutil.copytree(reference, tmp_path / "train")
    for path, size in zip(sorted(folder.glob("*.png")), (0, 1, 100, -1), strict=False):
        path.write_bytes(path.read_bytes()[:size])
    generate(folder, count=66, processes=1, progress=False)
    assert contents(folder) == contents(reference)
    for damaged in (b"", min(reference.glob("*.png")).read_bytes()[:-40]):
        min(folder.glob("*.png")).write_bytes(damaged)
        assert len(load_or_generate(folder, count=66)) == 66
    assert contents(folder) == contents(reference)


def test_a_plate_that_is_whole_is_kept(reference, tmp_path):
    folder = shutil.copytree(reference, tmp_path / "train")
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    generate(folder, count=66, processes=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before


SETTINGS = json.loads((PROJECT / "data" / "test" / "settings.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "{}", "[]", "7", "null", "[" * 100_000, '{"a":' * 100_000),
        *(json.dumps({key: SETTINGS[key] for key in SETTINGS if key != name}) for name in SETTINGS),
        *(json.dumps(SETTINGS | {name: None}) for name in SETTINGS),
        *(json.dumps(SETTINGS | {"digits": digits}) for digits in ("5", 99, [5], {}, None, True)),
        json.dumps(SETTINGS | {"count": "60" * 1_000}),
        None,
    ],
)
def test_settings_that_are_none_are_refused_by_name_and_nothing_changes(tmp_path, content):
    folder = tmp_path / "test"
    folder.mkdir()
    shutil.copy(min((PROJECT / "data" / "test").glob("*.png")), folder)
    path = folder / "settings.json"
    path.mkdir() if content is None else path.write_text(content, encoding="utf-8")
    for function in (partial(generate, progress=False), load_or_generate, validate_dataset):
        with pytest.raises(DatasetError) as error:
            function(folder)
        message = str(error.value)
        assert message.startswith(f"{path}: ") and len(message) < len(str(path)) + 250
        assert "\n" not in message and len(list(folder.iterdir())) == 2


def test_what_another_run_is_writing_stays(tmp_path):
    folder = tmp_path / "train"
    generate(folder, count=4, processes=1, progress=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        unfinished = folder / f".{other.pid}@{utils.HOST}.part.00001.png"
        unfinished.touch()
        generate(folder, count=4, processes=1, progress=False)
        assert unfinished.exists()
    generate(folder, count=4, processes=1, progress=False)
    assert not unfinished.exists()


def test_what_another_process_is_writing_to_the_same_place_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        unfinished = tmp_path / f".{other.pid}@{utils.HOST}.part.run.json"
        unfinished.touch()
        write_text(tmp_path / "run.json", "{}")
        assert unfinished.exists()


def test_what_a_killed_run_left_is_removed_whatever_its_name(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    unfinished = tmp_path / f".{ended.pid}@{utils.HOST}.part.run[1].json"
    unfinished.touch()
    write_text(tmp_path / "run[1].json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["run[1].json"]


def test_a_name_that_is_too_long_is_told_as_it_is(tmp_path):
    path = tmp_path / (245 * "x")  # with what makes it a temporary name, over 255
    for write in (lambda: write_text(path, ""), lambda: utils.write_bytes(str(path), b"")):
        with pytest.raises(OSError, match="File name too long") as error:
            write()
        assert error.value.filename == str(path)


def test_of_two_settings_at_once_one_wins(tmp_path, monkeypatch):
    folder = tmp_path / "train"

    def late(*arguments, **options):  # the other claims the folder just before we write
        monkeypatch.setattr(dataset, "write_text", write_text)
        generate(folder, count=3, seed=1, processes=1, progress=False)
        write_text(*arguments, **options)

    monkeypatch.setattr(dataset, "write_text", late)
    with pytest.raises(DatasetError, match="was drawn with seed 1, not 2"):
        generate(folder, count=3, seed=2, processes=1, progress=False)
    assert load_folder(folder).records[0]["seed"] == 1


def test_a_seed_that_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="seed: must be 0 or more"):
        generate(tmp_path / "train", count=1, seed=-1, progress=False)
    assert not (tmp_path / "train").exists()


def test_two_settings_never_share_a_folder(reference, tmp_path):
    for changed in ({"count": 67}, {"count": 66, "seed": 1}):
        with pytest.raises(DatasetError, match="was drawn with"):
            generate(reference, progress=False, **changed)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no settings\.json"):
        generate(tmp_path / "train", count=1, progress=False)


@pytest.mark.parametrize("name", ["fonts", "pillow"])
def test_plates_of_other_fonts_or_another_pillow_share_no_folder(tmp_path, name):
    folder = tmp_path / "train"
    generate(folder, count=1, processes=1, progress=False)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    changed = json.dumps(settings | {name: "another"})
    (folder / "settings.json").write_text(changed, encoding="utf-8")
    with pytest.raises(DatasetError, match=f"was drawn with {name} 'another', not "):
        generate(folder, count=1, processes=1, progress=False)
    if name == "fonts":  # a finished folder is good whatever Pillow drew it
        with pytest.raises(DatasetError, match="was drawn with fonts"):
            load_or_generate(folder, count=1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mine", {}, "mine: an unknown directory needs start and count"),
        ("mine", {"start": 5}, "needs start and count"),
        ("mine", {"start": 89_999, "count": 2}, "mixes training numbers"),
        ("mine", {"start": 99_999, "count": 2}, "no such plates"),
        ("mine", {"start": -1, "count": 2}, "no such plates"),
        ("mine", {"start": 0, "count": 0}, "no such plates"),
        ("train", {"count": 90_001}, "count must be 1 to 90,000"),
        ("train", {"count": 0}, "count must be"),
        ("train", {"start": 90_000}, "starts at 0"),
        ("test", {"count": 61}, "count must be 1 to 60"),
    ],
)
def test_ranges_that_are_refused(tmp_path, name, arguments, message):
    with pytest.raises(DatasetError, match=message):
        generate(tmp_path / name, progress=False, **arguments)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("sizes", [range(0), range(0, 10), range(7, 9), range(18, 26, 2)])
def test_sizes_that_are_refused(tmp_path, sizes):
    with pytest.raises(DatasetError, match="sizes: must rise from 8 pixels on"):
        generate(tmp_path / "train", count=1, sizes=sizes, progress=False)


def test_sizes_that_do_not_fit_are_refused_by_font(tmp_path):
    with pytest.raises(FontError, match="at size 60 does not fit the plate"):
        generate(tmp_path / "train", count=44, sizes=range(60, 61), processes=1, progress=False)


def test_other_sizes(tmp_path):
    records = generate(
        tmp_path / "train", count=44, sizes=range(12, 14), processes=1, progress=False
    )
    assert {record["size"] for record in records} == {12, 13}


def test_a_directory_of_any_name(tmp_path):
    records = generate(tmp_path / "mine", start=70_000, count=3, processes=1, progress=False)
    assert [record["index"] for record in records] == [70_000, 70_001, 70_002]


def test_other_counts_of_digits(tmp_path):
    folder = tmp_path / "train"
    records = generate(folder, count=44, digits=7, processes=1, progress=False)
    assert {len(record["text"]) for record in records} == {7}
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert settings["digits"] == 7 and settings["sizes"] == [12, 17]
    assert validate_dataset(folder) == []
    assert load_or_generate(folder, count=44, digits=7).digits == 7
    with pytest.raises(DatasetError, match="label is not 5 digits"):
        load_folder(folder)
    with pytest.raises(DatasetError, match="was drawn with"):
        generate(folder, count=44, progress=False)
    with pytest.raises(DatasetError, match="was drawn with digits 7, not 6"):
        generate(folder, count=44, digits=6, sizes=range(12, 18), progress=False)


def test_five_digits_are_not_told(reference):
    """Older folders do not tell them either, and go on to be used."""
    ours = json.loads((reference / "settings.json").read_text(encoding="utf-8"))
    committed = (PROJECT / "data" / "test" / "settings.json").read_text(encoding="utf-8")
    assert list(ours) == list(json.loads(committed))


def test_digits_that_cannot_fit_are_refused_before_anything_is_drawn(tmp_path):
    sizes = range(18, 26)
    with pytest.raises(FontError, match=r"at size 25 does not fit the plate"):
        generate(tmp_path / "train", count=44, digits=7, sizes=sizes, processes=1, progress=False)
    assert not (tmp_path / "train").exists()
    with pytest.raises(DatasetError, match="train: plates show 4 to 7 digits, not 8"):
        generate(tmp_path / "train", digits=8, progress=False)


def test_splits_of_four_digits_are_a_tenth():
    assert split_range("train", digits=4) == range(6_000)
    assert split_range("test", digits=4) == range(9_994, 10_000)
    assert held_out(9_940, digits=4) == range(9_000, 9_994) and held_out(9_940) == range(
        90_000, 99_940
    )
    with pytest.raises(DatasetError, match="count must be 1 to 9,000"):
        split_range("train", count=9_001, digits=4)
    assert split_range("test", digits=7) == split_range("test")
    assert split_range("mine", 5_000_000, 10, digits=7) == range(5_000_000, 5_000_010)


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    put = utils._put
    calls = []

    def write_until_full(path, content):
        calls.append(path)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        put(path, content)

    monkeypatch.setattr(utils, "_put", write_until_full)
    with pytest.raises(DatasetError, match="No space left on device"):
        generate(tmp_path / "train", count=66, processes=1, progress=False)
    monkeypatch.undo()
    left = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert len(left) == 11 and not [name for name in left if name.startswith(".")]
    assert len(generate(tmp_path / "train", count=66, processes=1, progress=False)) == 66


def test_a_disk_may_take_a_file_in_parts(tmp_path, reference, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:100]))
    generate(tmp_path / "train", count=66, processes=1, progress=False)
    monkeypatch.undo()
    assert contents(tmp_path / "train") == contents(reference)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "train").write_text("a file stands here", encoding="utf-8")
    for function in (generate, load_or_generate):
        with pytest.raises(DatasetError, match="train: is not a folder"):
            function(tmp_path / "train", count=1)


def test_a_folder_of_any_name_is_read_and_not_drawn(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: No such file"):
        load_or_generate(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: holds no images"):
        load_or_generate(tmp_path / "empty")


def test_reading_a_folder(reference):
    plates = load_folder(reference)
    drawn = render_plates(range(66))
    order = np.argsort(drawn.labels)
    assert plates.labels == [drawn.labels[row] for row in order]
    assert np.array_equal(plates.images, drawn.images[order])
    assert load_or_generate(reference, count=66).labels == plates.labels
    with pytest.raises(DatasetError, match="was drawn with count 66, not 60000"):
        load_or_generate(reference)


def test_loading_draws_what_is_missing(tmp_path):
    assert len(load_or_generate(tmp_path / "train", count=22)) == 22
    generate(tmp_path / "mine", start=70_000, count=3, processes=1, progress=False)
    (tmp_path / "mine" / "metadata.jsonl").unlink()
    assert len(load_or_generate(tmp_path / "mine")) == 3
    next((tmp_path / "mine").glob("*.png")).unlink()
    assert len(load_or_generate(tmp_path / "mine")) == 3


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: No such file"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="holds no images"):
        load_folder(tmp_path)
    Image.new("L", (128, 64)).save(tmp_path / "1234.png")
    with pytest.raises(DatasetError, match=r"1234\.png: its label is not 5 digits"):
        load_folder(tmp_path)
    (tmp_path / "1234.png").rename(tmp_path / "12345.png")
    assert load_folder(tmp_path).labels == ["12345"]
    (tmp_path / "12345.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageError, match=r"12345\.png"):
        load_folder(tmp_path)


@pytest.fixture
def own(tmp_path):
    """Three own plates: JPEG and PNG of other sizes, labelled by a table as Excel writes it."""
    plates = render_plates(range(80_000, 80_003))
    for name, image in zip(("one.jpg", "two.png", "three.jpeg"), plates.images, strict=True):
        Image.fromarray(image[:, :, 0]).resize((192, 96)).save(tmp_path / name, quality=95)
    table = (
        'file_name,text,note\none.jpg,00123,\ntwo.png,00123,"again, darker"\nthree.jpeg,45678,\n'
    )
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8-sig", newline="\r\n")
    return tmp_path


def test_own_plates_labelled_by_a_table(own):
    plates = load_folder(own)
    assert plates.labels == ["00123", "45678", "00123"]
    assert plates.images.shape == (3, 64, 128, 1)
    assert plates.records[2]["note"] == "again, darker"
    assert load_or_generate(own).labels == plates.labels
    assert validate_dataset(own) == []


def test_what_is_wrong_with_own_plates(own):
    (own / "copy.png").write_bytes((own / "two.png").read_bytes())
    (own / "99999.jpg").write_bytes((own / "one.jpg").read_bytes()[:200])
    table = (own / "metadata.csv").read_text(encoding="utf-8-sig").replace("45678", "4567")
    (own / "metadata.csv").write_text(table + "copy.png,00123,\nnone.png,11111,\n")
    problems = validate_dataset(own)
    for problem in (
        "99999.jpg: has no record",
        "99999.jpg: ",
        "three.jpeg: its label is not 5 digits",
        "two.png: is the same picture as copy.png",
        "none.png, but no such image",
    ):
        assert sum(problem in found for found in problems), problem
    assert len(problems) == 5


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,text\none.jpg,00123\n", r"metadata\.csv:1: .*file_name,text"),
        ("file_name,label\none.jpg,00123\n", r"metadata\.csv:1: .*file_name,text"),
        ("file_name\none.jpg\n", r"metadata\.csv:1: .*file_name,text"),
        ("", r"metadata\.csv:1: .*file_name,text"),
        ("file_name;text\none.jpg;00123\n", r"metadata\.csv:1: .*commas.*semicolons"),
        ('"file_name";"text"\n"a.jpg";"00123"\n', r"metadata\.csv:1: .*commas.*semicolons"),
        ("file_name\ttext\none.jpg\t00123\n", r"metadata\.csv:1: .*commas.*tabs"),
        ("file_name,text,text\none.jpg,00123,45678\n", r"metadata\.csv:1: .*text stands twice"),
        ("file_name,text\n", r"metadata\.csv: holds no records"),
        ("file_name,text\n,\n", r"metadata\.csv:2: file_name"),
        ("file_name,text\none.jpg\n", r"metadata\.csv:2: has not 2 columns"),
        ("file_name,text\none.jpg,00123,x\n", r"metadata\.csv:2: has not 2 columns"),
        ('file_name,text\n"one.jpg,00123\n', r"metadata\.csv:2: unexpected end"),
        ("file_name,text\na,00123\na,00123\n", r"metadata\.csv:3: a stands twice"),
        ("file_name,text\n\xff", r"metadata\.csv: not UTF-8"),
    ],
)
def test_broken_tables_are_named_by_line(tmp_path, table, message):
    (tmp_path / "metadata.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        read_metadata(tmp_path)


def test_tables_as_spreadsheets_write_them(tmp_path):
    table = (
        '\ufefffile_name, text,note,,\r\none.jpg, 00123,"two\r\nlines",,\r\n\r\nb.png,45678,,,\r\n'
    )
    (tmp_path / "metadata.csv").write_bytes(table.encode())
    texts = {name: record["text"] for name, record in read_metadata(tmp_path).items()}
    assert texts == {"one.jpg": "00123", "b.png": "45678"}


def test_lines_of_json_may_hold_any_text(tmp_path):
    lines = (
        '{"file_name": "a\u2028.png", "text": "00123"}\n\n{"file_name": "b.png", "text": "4"}\n\n'
    )
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    assert [record["text"] for record in read_metadata(tmp_path).values()] == ["00123", "4"]


def test_a_replaced_image_of_a_drawn_folder_is_found(tmp_path):
    generate(tmp_path / "mine", start=0, count=4, processes=1, progress=False)
    first, second, *_ = sorted((tmp_path / "mine").glob("*.png"))
    second.write_bytes(first.read_bytes())
    (problem,) = validate_dataset(tmp_path / "mine")
    assert problem == f"{second}: is the same picture as {first.name}"


def test_records_without_lines_are_refused(own):
    (own / "metadata.csv").unlink()
    (own / "metadata.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"metadata\.jsonl: holds no records"):
        load_folder(own)


def test_a_name_is_no_label_where_others_have_records(own):
    (own / "two.png").rename(own / "99999.png")
    with pytest.raises(DatasetError, match=r"99999\.png: has no record"):
        load_folder(own)


@pytest.mark.parametrize("name", ["sub/two.png", "../two.png", "./two.png", "Two.png"])
def test_a_record_is_of_the_file_of_just_that_name(own, name):
    table = (own / "metadata.csv").read_text(encoding="utf-8-sig")
    (own / "metadata.csv").write_text(table.replace("two.png", name), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"two\.png: has no record"):
        load_folder(own)


@pytest.mark.parametrize(
    ("label", "lost"), [("123", True), ("0123", True), ("012345", False), ("12a", False)]
)
def test_a_label_that_may_have_lost_zeros(own, label, lost):
    table = (own / "metadata.csv").read_text(encoding="utf-8-sig")
    (own / "metadata.csv").write_text(table.replace("45678", label), encoding="utf-8")
    (problem,) = validate_dataset(own)
    assert "three.jpeg" in problem and repr(label) in problem
    assert ("zero" in problem) == lost


def test_a_label_that_is_a_number_is_asked_for_in_quotes(own):
    (own / "metadata.csv").unlink()
    lines = [
        json.dumps({"file_name": name, "text": 12345})
        for name in ("one.jpg", "two.png", "three.jpeg")
    ]
    (own / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    problems = validate_dataset(own)
    assert len(problems) == 3 and all("quotes" in problem for problem in problems)


def test_what_is_quoted_is_cut(own):
    table = (own / "metadata.csv").read_text(encoding="utf-8-sig")
    table = table.replace("45678", 100_000 * "9").replace("two.png", 100_000 * "x")
    (own / "metadata.csv").write_text(table, encoding="utf-8")
    problems = validate_dataset(own)
    assert len(problems) == 3 and all(len(problem) < 500 for problem in problems)
    with pytest.raises(DatasetError) as error:
        load_folder(100_000 * "x")
    assert len(str(error.value)) < 500


def test_images_of_other_formats_are_told(own, recwarn):
    names = ["b.GIF", "a.heic", ".hidden.gif", "notes.txt", "table.pdf"]
    for name in names:
        (own / name).touch()
    list_images(own)
    (warning,) = recwarn
    assert f"{own}: 2 images" in str(warning.message) and "a.heic" in str(warning.message)
    for path in own.iterdir():
        if path.name not in names:
            path.unlink()
    with pytest.raises(DatasetError, match=r"holds no images.*a\.heic"):
        list_images(own)


def test_a_table_by_a_name_in_capitals_is_not_passed_over(own):
    (own / "metadata.csv").rename(own / "Metadata.CSV")
    assert read_metadata(own)["three.jpeg"]["text"] == "45678"


def test_a_link_to_a_table_that_is_gone_is_named(own):
    (own / "metadata.csv").unlink()
    (own / "metadata.csv").symlink_to(own / "gone.csv")
    with pytest.raises(DatasetError, match=r"metadata\.csv"):
        read_metadata(own)


def test_two_files_of_records_are_one_too_many(own):
    (own / "metadata.jsonl").touch()
    with pytest.raises(DatasetError, match=r"csv: stands beside metadata\.jsonl; keep one of them"):
        load_folder(own)


def test_own_plates_among_drawn_ones(own):
    plates, drawn = load_folder(own), render_plates(range(10))
    both = mix(plates, drawn)
    assert both.labels == plates.labels * 3 + drawn.labels
    assert np.array_equal(both.images[3:6], plates.images)
    assert np.array_equal(both.images[9:], drawn.images)
    assert len(both.records) == 19
    assert len(mix(drawn, plates)) == 13  # more own plates than drawn ones: each once


def test_numbers_can_be_left_out():
    plates = render_plates(range(6))
    rest = render_plates(range(6), without=plates.labels[1:3])
    assert rest.labels == [plates.labels[row] for row in (0, 3, 4, 5)]
    assert np.array_equal(rest.images, plates.images[[0, 3, 4, 5]])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        "3",
        '{"file_name": "b.png"}',
        '{"file_name": 3, "text": "00123"}',
        '{"file_name": "", "text": "00123"}',
        '{"file_name": "b.png", "text": "00123", "text": "45678"}',
        '{"file_name": "b.png", "file_name": "c.png", "text": "00123"}',
    ],
)
def test_broken_records_are_named_by_line(tmp_path, line):
    good = '{"file_name": "a.png", "text": "00123"}'
    (tmp_path / "metadata.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"metadata\.jsonl:2: "):
        read_metadata(tmp_path)


def test_checking_finds_every_problem(tmp_path):
    folder = tmp_path / "mine"
    generate(folder, start=0, count=6, processes=1, progress=False)
    names = sorted(path.name for path in folder.glob("*.png"))
    (folder / names[0]).unlink()
    (folder / names[1]).write_bytes(b"")
    Image.new("L", (10, 10)).save(folder / names[2])
    Image.new("L", (128, 64)).save(folder / "unknown.png")
    (folder / names[3].replace(".png", ".bmp")).write_bytes((folder / names[3]).read_bytes())
    problems = "\n".join(validate_dataset(folder))
    assert f"{folder}: has a record of {names[0]}, but no such image" in problems
    assert f"{names[1]}: is empty" in problems
    assert f"{names[2]}: is 10 x 10" in problems
    assert "unknown.png: has no record" in problems
    assert "unknown.png: is blank" in problems
    assert f"{names[3]}: is the same picture as {names[3][:5]}.bmp" in problems
    assert f"{names[3][:5]}.bmp: has no record" in problems
    (folder / "metadata.jsonl").unlink()  # as where drawing was interrupted
    assert f"{folder}/metadata.jsonl: is missing; draw the folder once more" in validate_dataset(
        folder
    )
    assert len(problems.splitlines()) == 8  # the small one is blank too
    problems = "\n".join(validate_dataset(folder))  # without records, names are the labels
    assert "unknown.png: its label is not 5 digits" in problems
    assert f"{names[3]}: shows {names[3][:5]} like {names[3][:5]}.bmp" in problems


def test_checking_compares_records_with_names(tmp_path):
    folder = tmp_path / "mine"
    generate(folder, start=0, count=2, processes=1, progress=False)
    path = folder / "metadata.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"text": "6', '"text": "7'))
    (problem,) = validate_dataset(folder)
    assert problem.endswith("65446.png: its record says 75446")


def test_a_script_without_a_guard_draws(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from plate_ocr.plates.dataset import generate\n"
        "print('once')\n"
        "generate('train', count=44, processes=2, progress=False)\n",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n", "")
    assert validate_dataset(tmp_path / "train") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py", "train"]


def test_a_killed_process_is_told_as_one(tmp_path):
    code = (
        "import multiprocessing, threading, time\n"
        "from plate_ocr.plates.dataset import DatasetError, generate\n"
        "def kill():\n"
        "    while len(workers := multiprocessing.active_children()) < 2: time.sleep(0.01)\n"
        "    workers[0].kill()\n"
        "threading.Thread(target=kill, daemon=True).start()\n"
        "try: generate('train', processes=2, progress=False)\n"
        "except DatasetError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith("train: ") and done.stdout.count("\n") == 1, done.stderr
    assert "memory" in done.stdout and "__main__" not in done.stdout


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_daemonic_process_draws_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.warns(UserWarning, match="daemonic"):
        records = generate(tmp_path / "train", count=44, processes=2, progress=False)
    assert len(records) == 44


def test_drawing_after_the_folder_was_changed(tmp_path):
    """As a notebook does that clones the project: other processes import and write from there."""
    folder = os.path.relpath(tmp_path / "train", PROJECT)
    code = (
        f"import multiprocessing, os; os.chdir({str(PROJECT)!r})\n"
        "from plate_ocr.plates.dataset import generate\n"
        f"generate({folder!r}, count=2, processes=2, progress=False)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert len(load_folder(tmp_path / "train")) == 2


def test_two_generators_on_one_folder_do_not_disturb_each_other(tmp_path):
    """Both end well, with the bytes of one alone."""
    code = (
        "import sys; from plate_ocr.plates.dataset import generate;"
        "generate(sys.argv[1], start=90_000, count=400, processes=1, progress=False)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "both")]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    pair = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for one in pair:
        assert one.wait(120) == 0, one.stderr.read()
    generate(tmp_path / "alone", start=90_000, count=400, processes=1, progress=False)
    both, alone = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("both", "alone")
    )
    assert both == alone
