"""Many plates: draw them, write a folder of them, read a folder, check a folder.

A folder drawn here holds `<number>.png` files, `metadata.jsonl` with one record a plate (the
Hugging Face ImageFolder convention) and `settings.json`, which says what it was drawn from. A
folder of somebody's own holds images of any size, labelled by their names, by `metadata.jsonl` or
by `metadata.csv`.
"""

import csv
import hashlib
import json
import multiprocessing
import os
import reprlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import PIL

from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS, is_valid_label
from plate_ocr.plates.fonts import FONT_DIRECTORY, PlateFont, fonts_digest, load_fonts
from plate_ocr.plates.images import (
    ImageError,
    is_image_name,
    is_unread_image_name,
    load_gray,
    load_plate,
)
from plate_ocr.plates.rendering import (
    DEFAULT_SEED,
    HELD_OUT,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    check_fits,
    font_and_instance,
    font_sizes,
    plate_text,
    render_plate,
)
from plate_ocr.utils import (
    cores,
    read_json,
    remove_leftovers,
    shown,
    spawn_pool,
    write_bytes,
    write_text,
)

# Directory name -> (start, count): positions in the permutation of all numbers. Of plates of four
# digits there are a tenth as many, and so of each of these.
SPLITS = {
    "train": (0, 60_000),
    "validation": (90_000, 2_000),
    "benchmark": (92_000, 7_940),
    "test": (99_940, 60),
}
METADATA_FILES = ("metadata.jsonl", "metadata.csv")
MIN_FONT_SIZE = 8  # pixels per em; below it no digit is legible
AT_A_TIME = 128  # plates that are drawn, encoded and written together
REMEDY = "choose another directory or delete this one"
PNG_COMPRESSION = 1  # level 6 saves a tenth of the bytes for twice the encoding time


class DatasetError(ValueError):
    """A data set cannot be written or read; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a folder of plates."""

    start: int
    count: int
    seed: int
    sizes: list[int]  # smallest and largest font size
    fonts: str  # SHA-256 of fonts.json
    pillow: str  # glyphs are equal to the byte for one Pillow build only
    digits: int = NUM_DIGITS  # not written where they are five, as in folders of older versions


@dataclass(frozen=True)
class PlateDataset:
    """Plates in memory."""

    images: np.ndarray  # uint8 (n, 64, 128, 1)
    labels: list[str]
    records: list[dict]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digits(self) -> int:
        """How many digits a plate shows."""
        return len(self.labels[0])


def split_range(
    name: str, start: int | None = None, count: int | None = None, digits: int = NUM_DIGITS
) -> range:
    """The positions that directory `name` holds.

    >>> split_range("test"), split_range("mine", start=90_000, count=10)
    (range(99940, 100000), range(90000, 90010))

    Args:
        name: a name of `SPLITS`, or any other name with `start` and `count`.
        start: first position; only for other names.
        count: number of plates; for a name of `SPLITS` at most what lies before the next one.
        digits: how many a plate shows.

    Raises:
        DatasetError: the name is unknown and has no range, the range is empty, leaves the
            numbers of so many digits, or mixes training with held-out numbers.
    """
    if digits not in SUPPORTED_LENGTHS:
        raise DatasetError(
            f"{name}: plates show {SUPPORTED_LENGTHS[0]} to {SUPPORTED_LENGTHS[-1]} digits, "
            f"not {digits}"
        )
    fewer = 10 ** max(NUM_DIGITS - digits, 0)
    boundary = HELD_OUT // fewer
    if name in SPLITS:
        split_start, split_count = (number // fewer for number in SPLITS[name])
        if start not in (None, split_start):
            raise DatasetError(f"{name}: starts at {split_start:,}, not {start:,}")
        start, count = split_start, split_count if count is None else count
        largest = boundary if name == "train" else split_count
        if not 1 <= count <= largest:
            raise DatasetError(f"{name}: count must be 1 to {largest:,}, not {count:,}")
    elif start is None or count is None:
        raise DatasetError(f"{name}: an unknown directory needs start and count")
    positions = range(start, start + count)
    if count < 1 or start < 0 or positions.stop > 10**digits:
        raise DatasetError(
            f"{name}: no such plates: start {start:,}, count {count:,}; "
            f"positions are 0 to {10**digits - 1:,}"
        )
    if start < boundary < positions.stop:
        raise DatasetError(
            f"{name}: mixes training numbers (below {boundary:,}) with held-out ones"
        )
    return positions


def held_out(count: int, digits: int = NUM_DIGITS) -> range:
    """The first positions that are never trained on: so many, or all before the test plates.

    >>> held_out(2_000), held_out(2_000, digits=4)
    (range(90000, 92000), range(9000, 9994))
    """
    start, stop = (split_range(name, digits=digits).start for name in ("validation", "test"))
    return range(start, min(start + count, stop))


def render_plates(
    positions: Sequence[int],
    *,
    seed: int = DEFAULT_SEED,
    fonts: Path | str = FONT_DIRECTORY,
    digits: int = NUM_DIGITS,
    without: Collection[str] = (),
) -> PlateDataset:
    """Draw plates in memory, in the order of `positions`, those of some numbers left out."""
    loaded = load_fonts(fonts)
    left_out = set(without)
    positions = [index for index in positions if plate_text(seed, index, digits) not in left_out]
    images = np.empty((len(positions), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    records = []
    for row, index in enumerate(positions):
        image, record = render_plate(loaded, seed, index, digits=digits)
        images[row, :, :, 0] = image
        records.append(vars(record))  # asdict would copy every value
    return PlateDataset(images, [record["text"] for record in records], records)


def generate(
    directory: Path | str,
    *,
    start: int | None = None,
    count: int | None = None,
    seed: int = DEFAULT_SEED,
    sizes: range | None = None,
    fonts: Path | str = FONT_DIRECTORY,
    digits: int = NUM_DIGITS,
    processes: int | None = None,
    progress: bool = True,
) -> list[dict]:
    """Draw a folder of plates; what is already there from an interrupted run is kept.

    Args:
        directory: where to write; its name chooses the plates, see `choose_range`.
        start: first position, for a name that is not in `SPLITS`.
        count: number of plates.
        seed: chooses the permutation of the numbers and every plate's size, gap and place.
        sizes: font sizes to choose from, in pixels per em; by default `sizes_for(digits)`.
        fonts: the folder of fonts.
        digits: how many a plate shows.
        processes: how many draw at once; by default one a core.
        progress: show a progress bar.

    Returns:
        The records in order of position, as written to `metadata.jsonl`.

    Raises:
        DatasetError: the range or the sizes are refused, or the folder holds something else or
            cannot be written.
        FontError: a font cannot be used, or its widest digit does not fit so many times.
    """
    # Not needed for reading; where one is missing, no folder is begun.
    import cv2  # noqa: F401
    from tqdm import tqdm

    directory = Path(directory)
    positions = split_range(directory.name, start, count, digits)
    sizes = font_sizes(digits) if sizes is None else sizes
    loaded = load_fonts(fonts)
    settings = _settings(positions, seed, sizes, fonts, digits)
    jobs = _jobs_by_instance(loaded, positions)
    check = partial(_check_fits, fonts=loaded, size=sizes[-1], digits=digits)
    processes = min(processes or cores(), len(jobs))
    records: list[dict] = []
    try:
        with _workers(processes) as each:
            for _ in each(check, [job[0] for job in jobs]):
                pass
            _claim(directory, settings)
            keep = any(_images(directory))
            write = partial(
                _write_plates,
                directory=directory,
                keep=keep,
                fonts=loaded,
                seed=seed,
                sizes=sizes,
                digits=digits,
            )
            name = str(directory)
            with tqdm(total=len(positions), unit=" plates", desc=name, disable=not progress) as bar:
                for batch in each(write, jobs):
                    records += batch
                    bar.update(len(batch))
        records.sort(key=lambda record: record["index"])
        lines = (json.dumps(record) + "\n" for record in records)
        write_text(directory / "metadata.jsonl", "".join(lines))
        remove_leftovers(directory)
    except OSError as error:
        raise DatasetError(f"{error.filename or directory}: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise DatasetError(
            f"{directory}: a drawing process was ended from outside; where memory is short, "
            "fewer processes need less; what is drawn is kept"
        ) from error
    return records


def _settings(
    positions: range, seed: int, sizes: range, fonts: Path | str, digits: int
) -> Settings:
    if seed < 0:
        raise DatasetError(f"seed: must be 0 or more, not {seed}")
    if not sizes or sizes[0] < MIN_FONT_SIZE or sizes.step != 1:
        raise DatasetError(f"sizes: must rise from {MIN_FONT_SIZE} pixels on, not {sizes}")
    return Settings(
        start=positions.start,
        count=len(positions),
        seed=seed,
        sizes=[sizes[0], sizes[-1]],
        fonts=fonts_digest(fonts),
        pillow=PIL.__version__,
        digits=digits,
    )


def _read_settings(path: Path) -> Settings | None:
    """The settings that a folder was drawn with; `None` where it has none yet."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DatasetError(f"{error}; {REMEDY}") from error
    kinds = {"start": int, "count": int, "seed": int, "sizes": list, "fonts": str, "pillow": str}
    try:
        wrong = [name for name, kind in kinds.items() if type(found[name]) is not kind]
        settings = Settings(**{name: found[name] for name in kinds})
        settings = replace(settings, digits=found.get("digits", NUM_DIGITS))
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: does not say what was drawn ({error}); {REMEDY}") from error
    if settings.digits not in SUPPORTED_LENGTHS:
        wrong.append("digits")
    if wrong:
        raise DatasetError(f"{path}: {wrong[0]} cannot be {found[wrong[0]]!r:.60}; {REMEDY}")
    return settings


def _claim(directory: Path, settings: Settings) -> None:
    """Make the folder ours: new, or begun with the same settings."""
    if directory.exists() and not directory.is_dir():
        raise DatasetError(f"{directory}: is not a folder")
    directory.mkdir(parents=True, exist_ok=True)
    path, wanted = directory / "settings.json", asdict(settings)
    found = _read_settings(path)
    if not found and all(".part." in one.name for one in directory.iterdir()):
        usual = settings.digits == NUM_DIGITS
        written = {name: value for name, value in wanted.items() if name != "digits" or not usual}
        write_text(path, json.dumps(written, indent=2) + "\n")
    found = found or _read_settings(path)  # ours, or of a run that began just now
    if not found:
        raise DatasetError(f"{directory}: holds files but no settings.json; choose another")
    for name in ("digits", *wanted):  # other digits mean other sizes too
        value = wanted[name]
        if getattr(found, name) != value:
            other = reprlib.repr(getattr(found, name))
            raise DatasetError(
                f"{directory}: was drawn with {name} {other}, not {value!r}; {REMEDY}"
            )


def _jobs_by_instance(fonts: Sequence[PlateFont], positions: range) -> list[list[int]]:
    """Group positions by font and instance, so that every glyph is drawn only once."""
    groups: dict[tuple, list[int]] = {}
    for index in positions:
        font, axes = font_and_instance(fonts, index)
        groups.setdefault((font.family, axes), []).append(index)
    return list(groups.values())


@contextmanager
def _workers(processes: int) -> Iterator[Callable[[Callable, list], Iterator]]:
    """Yield what calls a function with each of several jobs, here or in processes, in any order."""
    if processes > 1 and multiprocessing.current_process().daemon:  # Python forbids it others
        warnings.warn("a daemonic process starts no others, so it draws alone", stacklevel=2)
        processes = 1
    if processes == 1:
        yield map
        return
    with spawn_pool(processes) as pool:

        def each(function: Callable, jobs: list) -> Iterator:
            futures = [pool.submit(function, job) for job in jobs]
            return (future.result() for future in as_completed(futures))

        try:
            yield each
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _check_fits(index: int, fonts: Sequence[PlateFont], size: int, digits: int) -> None:
    check_fits(*font_and_instance(fonts, index), size, digits)


def _write_plates(
    positions: Sequence[int],
    directory: Path,
    keep: bool,
    fonts: Sequence[PlateFont],
    seed: int,
    sizes: range,
    digits: int,
) -> list[dict]:
    """Draw plates into a folder; keep those that are whole, or do not even look for them."""
    records = []
    # Each step for many plates at once finds its code in the processor's caches.
    for start in range(0, len(positions), AT_A_TIME):
        some = positions[start : start + AT_A_TIME]
        drawn = [render_plate(fonts, seed, index, sizes, digits) for index in some]
        new = [(f"{directory}/{record.file_name}", image) for image, record in drawn]
        files = [(path, encode_png(image)) for path, image in new]
        for path, file in files:
            if not keep or _size(path) != len(file):
                write_bytes(path, file)
        records += [vars(record) for _, record in drawn]  # asdict would copy every value
    return records


def _size(path: str) -> int:
    """Of a file, in bytes; -1 where there is none."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 (a Path takes four times as long)
    except OSError:
        return -1


def encode_png(image: np.ndarray) -> bytes:
    """A plate as the bytes of a PNG file; OpenCV takes less time than Pillow."""
    import cv2  # only here: reading does without it

    # Paper compresses best as it is; to try filters on every row takes nearly as long again.
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    _, encoded = cv2.imencode(".png", image, options)
    return encoded.tobytes()


def read_metadata(directory: Path | str) -> dict[str, dict]:
    """The records of a folder by file name; empty where it has none.

    They come from `metadata.jsonl`, or from `metadata.csv`, in which every value is text, so that
    00123 stays 00123.

    Raises:
        DatasetError: the folder has both, or one without records, or a line is not a record with
            a `file_name` and a `text`, or names a file, a column or a key twice; empty lines are
            left out.
    """
    names = os.listdir(directory) if Path(directory).is_dir() else []  # noqa: PTH208
    paths = [
        Path(directory, name) for one in METADATA_FILES for name in names if name.lower() == one
    ]
    if len(paths) > 1:
        raise DatasetError(f"{paths[1]}: stands beside {paths[0].name}; keep one of them")
    records: dict[str, dict] = {}
    for path in paths:
        rows = _rows_of_table if path.suffix.lower() == ".csv" else _lines_of_json
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:  # Excel writes a mark first
                for number, record in rows(path, file):
                    if not isinstance(record, dict) or not {"file_name", "text"} <= record.keys():
                        raise DatasetError(
                            f"{path}:{number}: not a record with a file_name and a text"
                        )
                    name = record["file_name"]
                    if not isinstance(name, str) or not name:
                        raise DatasetError(
                            f"{path}:{number}: file_name must be text, not {reprlib.repr(name)}"
                        )
                    if name in records:
                        raise DatasetError(f"{path}:{number}: {shown(name)} stands twice")
                    records[name] = record
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not UTF-8; save it so ({error})") from error
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        if not records:
            raise DatasetError(f"{path}: holds no records")
    return records


def _lines_of_json(path: Path, file: TextIO) -> Iterator[tuple[int, Any]]:
    """The number of every line that is not empty, and what it says."""
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=_without_repeated)
            except (ValueError, RecursionError) as error:
                raise DatasetError(f"{path}:{number}: not JSON ({error})") from error


def _without_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that stands twice, JSON takes the last without a word."""
    repeated = _repeated(key for key, _ in pairs)
    if repeated:
        raise ValueError(f"{reprlib.repr(repeated)} stands twice")
    return dict(pairs)


def _repeated(names: Iterable[str]) -> str | None:
    """The first name that stands twice; spreadsheets write several columns without one."""
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            return name
        seen.add(name)
    return None


def _rows_of_table(path: Path, file: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    """The last line of every row of a table, and the row under the names of the first line."""
    separator = _separator(file.readline())
    file.seek(0)
    rows = csv.DictReader(file, strict=True, skipinitialspace=True)
    try:
        columns = () if separator else rows.fieldnames or ()
        if not {"file_name", "text"} <= set(columns):
            found = f"not {separator}" if separator else f"not {shown(','.join(columns))!r:.60}"
            raise DatasetError(
                f"{path}:1: the first line must name the columns file_name,text "
                f"with commas between them, {found}"
            )
        if repeated := _repeated(columns):
            raise DatasetError(f"{path}:1: the column {repeated} stands twice")
        for row in rows:
            if None in row or None in row.values():
                raise DatasetError(f"{path}:{rows.line_num}: has not {len(columns)} columns")
            yield rows.line_num, row
    except csv.Error as error:
        raise DatasetError(f"{path}:{rows.reader.line_num}: {error}") from error


def _separator(header: str) -> str | None:
    """What stands in the first line of a table in place of commas."""
    others = {";": "semicolons", "\t": "tabs"}
    return next((others[one] for one in others if one in header and "," not in header), None)


def label_for(name: str, records: dict[str, dict], digits: int = NUM_DIGITS) -> str | None:
    """The label of an image, or None if it is not so many digits.

    Args:
        name: the file's.
        records: of its folder; only where there are none, the name is the label.
        digits: how many a label has.
    """
    text = records.get(name, {}).get("text") if records else Path(name).stem
    return text if is_valid_label(text, digits) else None


def _why_unlabelled(name: str, records: dict[str, dict], digits: int) -> str:
    """What is wrong with the label of an image that has none of so many digits."""
    if records and name not in records:
        return "has no record"
    text = records[name]["text"] if records else Path(name).stem
    reason = f"its label is not {digits} digits: {reprlib.repr(text)}"
    if not isinstance(text, str):
        reason += "; it must be text, in quotes"
    elif text.isdecimal() and len(text) < digits:
        reason += "; has it lost a leading zero?"
    return reason


def list_images(directory: Path | str) -> list[Path]:
    """The image files of a folder in name order; a warning names those that are not read.

    Raises:
        DatasetError: there is no such folder, or no image in it.
    """
    directory = Path(directory)
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        name = shown(str(directory))
        raise DatasetError(f"{name}: {error.strerror or error}") from error
    unread = list(filter(is_unread_image_name, names))
    example = f", such as {shown(unread[0])}; convert them to PNG" if unread else ""
    paths = [directory / name for name in names if is_image_name(name)]
    if not paths:
        raise DatasetError(f"{directory}: holds no images of the formats that are read{example}")
    if unread:
        warnings.warn(f"{directory}: {len(unread)} images are not read{example}", stacklevel=1)
    return paths


def _images(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if is_image_name(path.name))


def load_folder(directory: Path | str, digits: int = NUM_DIGITS) -> PlateDataset:
    """Read a folder of labelled plates of so many digits into memory.

    Raises:
        DatasetError: the folder is missing or empty, or an image has no label.
        UnreadableImage: an image cannot be read; it is named.
    """
    paths = list_images(directory)
    records = read_metadata(directory)
    images = np.empty((len(paths), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    texts = []
    for row, path in enumerate(paths):
        text = label_for(path.name, records, digits)
        if text is None:
            raise DatasetError(f"{path}: {_why_unlabelled(path.name, records, digits)}")
        images[row, :, :, 0] = load_plate(path)
        texts.append(text)
    return PlateDataset(images, texts, [records.get(path.name, {}) for path in paths])


def mix(own: PlateDataset, drawn: PlateDataset) -> PlateDataset:
    """Own plates, repeated until they are about as many as the drawn ones, and those.

    A network that goes on learning from own plates alone forgets the others.
    """
    rows = np.tile(np.arange(len(own)), max(1, len(drawn) // len(own)))
    return PlateDataset(
        np.concatenate([own.images[rows], drawn.images]),
        [own.labels[row] for row in rows] + drawn.labels,
        [own.records[row] for row in rows] + drawn.records,
    )


def load_or_generate(
    directory: Path | str,
    count: int | None = None,
    seed: int = DEFAULT_SEED,
    digits: int = NUM_DIGITS,
) -> PlateDataset:
    """Read a folder of plates, drawing first what is missing of it.

    A folder of images without `settings.json` is somebody's own and is read as it is.

    Raises:
        DatasetError: the folder was drawn with other settings, or as `load_folder`.
        UnreadableImage: as `load_folder`.
    """
    directory = Path(directory)
    found = _read_settings(directory / "settings.json")
    if not found and (
        directory.name not in SPLITS or (directory.is_dir() and any(_images(directory)))
    ):
        return load_folder(directory, digits)
    start = None
    if found and directory.name not in SPLITS:
        start, count = found.start, found.count
    positions = split_range(directory.name, start, count, digits)
    wanted = _settings(positions, seed, font_sizes(digits), FONT_DIRECTORY, digits)
    if found:  # a finished folder is good whatever Pillow drew it
        wanted = replace(wanted, pillow=found.pillow)
    complete = (directory / "metadata.jsonl").exists() and (
        sum(1 for path in _images(directory) if path.stat().st_size) >= len(positions)
    )
    draw = partial(generate, directory, start=start, count=count, seed=seed, digits=digits)
    if found != wanted or not complete:
        draw()
    try:
        return load_folder(directory, digits)
    except ImageError:  # a plate that was cut short is drawn again
        draw()
        return load_folder(directory, digits)


def validate_dataset(directory: Path | str, digits: int | None = None) -> list[str]:
    """Look for what is wrong with a folder of labelled plates.

    Args:
        directory: the folder.
        digits: how many a plate shows; by default as many as it was drawn with, else five.

    Returns:
        One line for each problem, naming the file: an image that cannot be read, is blank, or is
        the same as another; a label that is not so many digits or differs from the file name; a
        record without image, or an image without record beside others that have one. In a folder
        drawn here also an image of another size, a number that stands twice, or no records: it
        is not finished.

    Raises:
        DatasetError: the folder is missing or empty, or its records cannot be read.
    """
    problems = []
    records = read_metadata(directory)
    paths = list_images(directory)
    settings = _read_settings(Path(directory) / "settings.json")
    is_drawn = settings is not None
    digits = digits or (settings.digits if settings else NUM_DIGITS)
    if is_drawn and not records:
        problems.append(
            f"{Path(directory) / METADATA_FILES[0]}: is missing; draw the folder once more"
        )
    first_with: dict[str, str] = {}
    for path in paths:
        text = label_for(path.name, records, digits)
        if text is None:
            problems.append(f"{path}: {_why_unlabelled(path.name, records, digits)}")
        if is_valid_label(path.stem, digits) and text not in (None, path.stem):
            problems.append(f"{path}: its record says {text}")
        try:
            gray = load_gray(path)
        except ImageError as error:
            problems.append(str(error))
            continue
        rows, columns = gray.shape
        if gray.min() == gray.max():
            problems.append(f"{path}: is blank")
        if is_drawn and (rows, columns) != (PLATE_HEIGHT, PLATE_WIDTH):
            problems.append(f"{path}: is {columns} x {rows}, not {PLATE_WIDTH} x {PLATE_HEIGHT}")
        likenesses = {}
        if is_drawn and text:  # two images of somebody's own may well show one number
            likenesses[f"shows {text} like"] = text
        likenesses["is the same picture as"] = hashlib.sha256(gray.tobytes()).hexdigest()
        for likeness, content in likenesses.items():
            first = first_with.setdefault(content, path.name)
            if first != path.name:
                problems.append(f"{path}: {likeness} {first}")
                break
    names = {path.name for path in paths}
    problems += [
        f"{directory}: has a record of {shown(name)}, but no such image"
        for name in records
        if name not in names
    ]
    return problems
