"""The images of a folder and their labels.

Labels are in `metadata.jsonl` or `metadata.csv`, as in Hugging Face's ImageFolder; in a folder
without either, the file names are the labels.
"""

import csv
import io
import json
import mimetypes
import reprlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from plate_ocr.plates.alphabet import NUM_DIGITS, is_valid_label
from plate_ocr.plates.images import is_image_name
from plate_ocr.utils import check_writable, printable, write_bytes

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
PROPOSALS = METADATA_FILES[1]  # which spreadsheets open


class DatasetError(ValueError):
    """A dataset cannot be written or read; the message names the file and what is wrong."""


def list_images(directory: Path | str) -> list[Path]:
    """The images of a folder in name order, with a warning about images of other formats.

    Raises:
        DatasetError: the folder is missing or holds no image.
    """
    directory = Path(directory)
    try:
        paths = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{printable(str(directory))}: {error.strerror or error}") from error
    images = [path for path in paths if is_image_name(path.name)]
    others = [path.name for path in paths if not is_image_name(path.name)]
    unread = [name for name in others if str(mimetypes.guess_type(name)[0]).startswith("image/")]
    advice = f"; convert {printable(unread[0])} to PNG" if unread else ""
    if not images:
        raise DatasetError(f"{directory}: holds no images of the formats that are read{advice}")
    if unread:
        warnings.warn(f"{directory}: {len(unread)} images are not read{advice}", stacklevel=1)
    return images


def find_metadata(directory: Path | str) -> list[Path]:
    """The metadata files of a folder."""
    return [path for path in Path(directory).iterdir() if path.name.lower() in METADATA_FILES]


def read_metadata(directory: Path | str) -> dict[str, dict]:
    """The records of a folder by file name; empty if it has no metadata file.

    Raises:
        DatasetError: the folder has two metadata files, or one that is empty or malformed.
    """
    paths = find_metadata(directory)
    if not paths:
        return {}
    if len(paths) > 1:
        raise DatasetError(f"{directory}: has {paths[0].name} and {paths[1].name}; keep one")
    (path,) = paths
    records: dict[str, dict] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel writes a BOM
            if path.suffix.lower() == ".csv":  # values are text: 00123
                delimiter = ";" if ";" in file.readline() else ","  # Excel's in some countries
                file.seek(0)
                rows = csv.DictReader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            else:
                rows = (json.loads(line) for line in file if line.strip())
            for record in rows:
                name = record.get("file_name") if isinstance(record, dict) else None
                if not (name and isinstance(name, str) and "text" in record):
                    raise ValueError(f"needs file_name and text, not {reprlib.repr(record)}")
                if name in records:
                    raise ValueError(f"{printable(name)} has two records")
                records[name] = record
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DatasetError(f"{path}: after {len(records)} records: {error}") from error
    if not records:
        raise DatasetError(f"{path}: holds no records")
    return records


def check_unlabeled(directory: Path | str) -> None:
    """Check that a folder has no metadata, and that it can be written there."""
    if found := find_metadata(directory):
        raise DatasetError(f"{found[0]}: exists already; proposals would replace it")
    check_writable(Path(directory, PROPOSALS))


def write_proposals(directory: Path | str, rows: Sequence[tuple[str, str, float]]) -> Path:
    """Write metadata.csv, which a person corrects, into a folder without metadata.

    Rows hold file name, text and confidence.

    Returns:
        The path of the file.

    Raises:
        DatasetError: the name of an image is not valid text, or there are metadata.
    """
    check_unlabeled(directory)  # again: reading the images takes a while
    for name, *_ in rows:
        if name.encode(errors="ignore").decode() != name:
            raise DatasetError(f"{Path(directory, printable(name))}: its name is not valid text")
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerows([("file_name", "text", "confidence"), *rows])
    path = Path(directory, PROPOSALS)
    write_bytes(path, table.getvalue().encode("utf-8-sig"))  # Excel garbles it without a mark
    return path


def label_for(path: Path, records: dict[str, dict], digits: int = NUM_DIGITS) -> str:
    """The label of an image: its record's text, or its name where its folder has no records.

    Raises:
        DatasetError: the label is missing or not `digits` digits.
    """
    if records and path.name not in records:
        raise DatasetError(f"{path}: has no record")
    text = records[path.name]["text"] if records else path.stem
    if not is_valid_label(text, digits):
        problem = f"its label is not {digits} digits, as text with leading zeros"
        raise DatasetError(f"{path}: {problem}: {reprlib.repr(text)}")
    return text
