import json

import pytest
from PIL import Image

from plate_ocr.plates.dataset import load_folder, render_plates, validate_dataset
from plate_ocr.plates.metadata import DatasetError, list_images, read_metadata

TABLE = 'file_name,text,note\none.jpg,00123,\ntwo.png,00123,"again, darker"\nthree.jpeg,45678,\n'


@pytest.fixture
def own(tmp_path):
    """Three own plates: JPEG and PNG of another size, with labels as Excel writes them."""
    plates = render_plates(range(80_000, 80_003))
    for name, image in zip(("one.jpg", "two.png", "three.jpeg"), plates.images, strict=True):
        Image.fromarray(image[:, :, 0]).resize((192, 96)).save(tmp_path / name, quality=95)
    (tmp_path / "metadata.csv").write_text(TABLE, encoding="utf-8-sig", newline="\r\n")
    return tmp_path


def test_own_plates_with_labels_in_a_table(own):
    (own / "metadata.csv").rename(own / "Metadata.CSV")
    plates = load_folder(own)
    assert plates.labels == ["00123", "45678", "00123"]  # in name order
    assert plates.images.shape == (3, 64, 128, 1)
    assert plates.records[2]["note"] == "again, darker"
    assert validate_dataset(own) == []


def test_tables_as_spreadsheets_write_them(tmp_path):
    table = (
        '\ufefffile_name, text,note,,\r\none.jpg, 00123,"two\r\nlines",,\r\n\r\nb.png,45678,,,\r\n'
    )
    (tmp_path / "metadata.csv").write_bytes(table.encode())
    texts = {name: record["text"] for name, record in read_metadata(tmp_path).items()}
    assert texts == {"one.jpg": "00123", "b.png": "45678"}
    (tmp_path / "metadata.csv").write_text("file_name;text\none.jpg;00123\n")  # another country
    assert read_metadata(tmp_path)["one.jpg"]["text"] == "00123"


@pytest.mark.parametrize(
    "table",
    [
        "file_name,text\n",
        "file_name,label\none.jpg,00123\n",
        'file_name,text\n"one.jpg,00123\n',
        "file_name,text\na,00123\na,00123\n",
        "file_name,text\n\xff",
    ],
)
def test_malformed_tables_are_named(tmp_path, table):
    (tmp_path / "metadata.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(DatasetError, match=r"metadata\.csv:"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"file_name": "b.png"}',
        '{"file_name": 3, "text": "00123"}',
        '{"file_name": "a.png", "text": "45678"}',
    ],
)
def test_malformed_json_lines_are_named(tmp_path, line):
    good = '{"file_name": "a.png", "text": "00123"}'
    (tmp_path / "metadata.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"metadata\.jsonl: after 1 records: "):
        read_metadata(tmp_path)


def test_unusable_metadata_files_are_named(own):
    (own / "metadata.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"metadata\.(csv|jsonl) and metadata"):  # two of them
        read_metadata(own)
    (own / "metadata.csv").unlink()
    with pytest.raises(DatasetError, match=r"metadata\.jsonl: "):  # empty
        read_metadata(own)


@pytest.mark.parametrize("name", ["99999.png", "sub/two.png", "Two.png"])
def test_a_record_belongs_to_the_file_of_exactly_its_name(own, name):
    (own / "metadata.csv").write_text(TABLE.replace("two.png", name), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"two\.png: has no record"):
        load_folder(own)


@pytest.mark.parametrize("label", ["012345", "", 45678])
def test_malformed_labels_are_named(own, label):
    (own / "metadata.csv").unlink()
    labels = {"one.jpg": "00123", "two.png": "00123", "three.jpeg": label}
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in labels.items()]
    (own / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (problem,) = validate_dataset(own)
    assert "three.jpeg" in problem and repr(label) in problem
    with pytest.raises(DatasetError, match=r"three\.jpeg"):
        load_folder(own)


def test_images_of_other_formats_are_reported(own, recwarn):
    for name in ("b.GIF", "a.heic", ".hidden.gif", "notes.txt", "table.pdf"):
        (own / name).touch()
    paths = list_images(own)
    (warning,) = recwarn
    assert f"{own}: 2 images" in str(warning.message) and "a.heic" in str(warning.message)
    for path in paths:
        path.unlink()
    with pytest.raises(DatasetError, match=r"a\.heic"):
        list_images(own)
