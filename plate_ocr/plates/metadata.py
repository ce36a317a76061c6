"""The images of a folder and their labels.

Labels are in `metadata.jsonl` or `metadata.csv`, as in Hugging Face's ImageFolder; in a folder
without either, the file names are the labels.
"""

import csv
import json
import reprlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from plate_ocr.plates.alphabet import NUM_DIGITS, is_valid_label
from plate_ocr.plates.images import UNREAD_SUFFIXES, is_image_name
from plate_ocr.utils import printable

METADATA_FILES = ("metadata.jsonl", "metadata.csv")


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
    unread = [path.name for path in paths if path.suffix.lower() in UNREAD_SUFFIXES]
    advice = f"; convert {printable(unread[0])} to PNG" if unread else ""
    images = [path for path in paths if is_image_name(path.name)]
    if not images:
        raise DatasetError(f"{directory}: holds no images of the formats that are read{advice}")
    if unread:
        warnings.warn(f"{directory}: {len(unread)} images are not read{advice}", stacklevel=1)
    return images


def read_metadata(directory: Path | str) -> dict[str, dict]:
    """The records of a folder by file name; empty if it has no metadata file.

    Raises:
        DatasetError: the folder has two metadata files, or one that is empty or malformed.
    """
    paths = [path for path in Path(directory).iterdir() if path.name.lower() in METADATA_FILES]
    if len(paths) > 1:
        raise DatasetError(f"{directory}: has {paths[0].name} and {paths[1].name}; keep one")
    records: dict[str, dict] = {}
    for path in paths:
        read_rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
        line = 0
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:  # Excel writes a BOM
                for line, record in read_rows(file):
                    name = record.get("file_name") if isinstance(record, dict) else None
                    if not (name and isinstance(name, str) and "text" in record):
                        problem = f"needs file_name and text, not {reprlib.repr(record)}"
                        raise DatasetError(f"{path}:{line}: {problem}")
                    if name in records:
                        raise DatasetError(f"{path}:{line}: {printable(name)} has two records")
                    records[name] = record
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{path}: not readable after line {line} ({error})") from error
        if not records:
            raise DatasetError(f"{path}: holds no records")
    return records


def _json_rows(file: TextIO) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(file, start=1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except ValueError:
                yield line, text  # no record, so it is refused with its line number


def _csv_rows(file: TextIO) -> Iterator[tuple[int, dict]]:
    rows = csv.DictReader(file, strict=True, skipinitialspace=True)  # values are text: 00123
    for row in rows:
        yield rows.line_num, row


def label_for(name: str, records: dict[str, dict], digits: int = NUM_DIGITS) -> str | None:
    """The label of an image: its record's text, or its name where its folder has no records.

    None if the label is missing or not `digits` digits.
    """
    text = records.get(name, {}).get("text") if records else Path(name).stem
    return text if is_valid_label(text, digits) else None


def label_error(name: str, records: dict[str, dict], digits: int) -> str:
    """Why `label_for` gives no label."""
    if records and name not in records:
        return "has no record"
    text = reprlib.repr(records[name]["text"] if records else Path(name).stem)
    return f"its label is not {digits} digits, as text with leading zeros: {text}"
