"""Many plates: draw them, write a folder of them, read a folder, check a folder.

A folder holds `<number>.png` files, `metadata.jsonl` with one record a plate (the Hugging Face
ImageFolder convention) and `settings.json`, which says what the folder was drawn from.
"""

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from plate_ocr.alphabet import is_plate_text
from plate_ocr.files import replacing, write_text
from plate_ocr.fonts import FONT_DIRECTORY, PlateFont, fonts_digest, load_fonts
from plate_ocr.images import UnreadableImage, is_image_name, load_gray, load_plate
from plate_ocr.rendering import (
    DEFAULT_SEED,
    HELD_OUT,
    NUMBERS,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    SIZES,
    draw_plate,
    font_and_instance,
)

DATA_DIRECTORY = Path("data")
# Directory name -> (start, count): positions in the permutation of all numbers.
SPLITS = {
    "train": (0, 60_000),
    "validation": (90_000, 2_000),
    "benchmark": (92_000, 7_940),
    "test": (99_940, 60),
}
SMALLEST_SIZE = 8  # pixels per em; below it no digit is legible
PNG_COMPRESSION = 1  # level 9 saves 12 % of the bytes for six times the encoding time


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


@dataclass(frozen=True)
class PlateSet:
    """Plates in memory."""

    images: np.ndarray  # uint8 (n, 64, 128, 1)
    texts: list[str]
    records: list[dict]

    def __len__(self) -> int:
        return len(self.texts)


def choose_range(name: str, start: int | None = None, count: int | None = None) -> range:
    """The positions that directory `name` holds.

    Args:
        name: a name of `SPLITS`, or any other name with `start` and `count`.
        start: first position; only for other names.
        count: number of plates; for a name of `SPLITS` at most what lies before the next one.

    Raises:
        DatasetError: the name is unknown and has no range, the range is empty, leaves the
            100,000 numbers, or mixes training with held-out numbers.
    """
    if name in SPLITS:
        split_start, split_count = SPLITS[name]
        if start not in (None, split_start):
            raise DatasetError(f"{name}: starts at {split_start:,}, not {start:,}")
        start, count = split_start, split_count if count is None else count
        largest = HELD_OUT if name == "train" else split_count
        if not 1 <= count <= largest:
            raise DatasetError(f"{name}: count must be 1 to {largest:,}, not {count:,}")
    elif start is None or count is None:
        raise DatasetError(f"{name}: an unknown directory needs start and count")
    positions = range(start, start + count)
    if count < 1 or start < 0 or positions.stop > NUMBERS:
        raise DatasetError(f"{name}: no such plates: start {start:,}, count {count:,}")
    if start < HELD_OUT < positions.stop:
        raise DatasetError(
            f"{name}: mixes training numbers (below {HELD_OUT:,}) with held-out ones"
        )
    return positions


def draw_plates(
    positions: Sequence[int], *, seed: int = DEFAULT_SEED, fonts: Path | str = FONT_DIRECTORY
) -> PlateSet:
    """Draw plates in memory, in the order of `positions`."""
    loaded = load_fonts(fonts)
    images = np.empty((len(positions), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    records = []
    for row, index in enumerate(positions):
        image, record = draw_plate(loaded, seed, index)
        images[row, :, :, 0] = image
        records.append(asdict(record))
    return PlateSet(images, [record["text"] for record in records], records)


def generate(
    directory: Path | str,
    *,
    start: int | None = None,
    count: int | None = None,
    seed: int = DEFAULT_SEED,
    sizes: range = SIZES,
    fonts: Path | str = FONT_DIRECTORY,
    processes: int | None = None,
    progress: bool = True,
) -> list[dict]:
    """Draw a folder of plates; what is already there from an interrupted run is kept.

    Args:
        directory: where to write; its name chooses the plates, see `choose_range`.
        start: first position, for a name that is not in `SPLITS`.
        count: number of plates.
        seed: chooses the permutation of the numbers and every plate's size, gap and place.
        sizes: font sizes to choose from, in pixels per em.
        fonts: the folder of fonts.
        processes: how many draw at once; by default one a core.
        progress: show a progress bar.

    Returns:
        The records in order of position, as written to `metadata.jsonl`.

    Raises:
        DatasetError: the range or the sizes are refused, or the folder holds something else or
            cannot be written.
        FontError: a font cannot be used.
    """
    from tqdm import tqdm  # not needed for reading

    directory = Path(directory)
    positions = choose_range(directory.name, start, count)
    loaded = load_fonts(fonts)
    settings = _settings(positions, seed, sizes, fonts)
    jobs = _jobs_by_instance(loaded, positions)
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    records: list[dict] = []
    try:
        leftovers = list(directory.glob(".*.part.*"))  # of a killed run, or of one beside this
        _claim(directory, settings)
        bar = tqdm(total=len(positions), unit=" plates", desc=str(directory), disable=not progress)
        with bar:
            for batch in _run(jobs, (directory, loaded, seed, sizes), processes):
                records += batch
                bar.update(len(batch))
        records.sort(key=lambda record: record["index"])
        lines = (json.dumps(record, separators=(", ", ": ")) + "\n" for record in records)
        write_text(directory / "metadata.jsonl", "".join(lines))
        for leftover in leftovers:  # by now, those of a run beside this have their real names
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise DatasetError(f"{error.filename or directory}: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise DatasetError(
            f"{directory}: a drawing process ended; a script that calls generate needs "
            'if __name__ == "__main__", or processes=1'
        ) from error
    return records


def _settings(positions: range, seed: int, sizes: range, fonts: Path | str) -> Settings:
    if not sizes or sizes[0] < SMALLEST_SIZE or sizes.step != 1:
        raise DatasetError(f"sizes: must rise from {SMALLEST_SIZE} pixels on, not {sizes}")
    return Settings(
        start=positions.start,
        count=len(positions),
        seed=seed,
        sizes=[sizes[0], sizes[-1]],
        fonts=fonts_digest(fonts),
        pillow=PIL.__version__,
    )


def _read_settings(path: Path) -> dict:
    """The settings of a folder as JSON; empty where it has none yet."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: not the settings of a folder of plates")
    return found


def _claim(directory: Path, settings: Settings) -> None:
    """Make the folder ours: new, or begun with the same settings."""
    directory.mkdir(parents=True, exist_ok=True)
    path, wanted = directory / "settings.json", asdict(settings)
    found = _read_settings(path)
    if not found and all(".part." in one.name for one in directory.iterdir()):
        write_text(path, json.dumps(wanted, indent=2) + "\n")
    found = found or _read_settings(path)  # ours, or of a run that began just now
    if not found:
        raise DatasetError(f"{directory}: holds files but no settings.json; choose another")
    for name, value in wanted.items():
        if found.get(name) != value:
            raise DatasetError(
                f"{directory}: was drawn with {name} {found.get(name)!r}, not {value!r}; "
                "choose another directory or delete this one"
            )


def _jobs_by_instance(fonts: Sequence[PlateFont], positions: range) -> list[list[int]]:
    """Group positions by font and instance, so that every glyph is drawn only once."""
    groups: dict[tuple, list[int]] = {}
    for index in positions:
        font, axes = font_and_instance(fonts, index)
        groups.setdefault((font.family, axes), []).append(index)
    return list(groups.values())


def _run(jobs: list[list[int]], arguments: tuple, processes: int) -> Iterator[list[dict]]:
    """Write the plates of every job, here or in several processes."""
    if processes == 1:
        yield from (_write_plates(job, *arguments) for job in jobs)
        return
    # Spawned, not forked: the caller may hold TensorFlow's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = [pool.submit(_write_plates, job, *arguments) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write_plates(
    positions: Sequence[int],
    directory: Path,
    fonts: Sequence[PlateFont],
    seed: int,
    sizes: range,
) -> list[dict]:
    records = []
    for index in positions:
        image, record = draw_plate(fonts, seed, index, sizes)
        path = directory / record.file_name
        if not path.exists():
            with replacing(path, tidy=False) as temporary:
                temporary.write_bytes(encode_png(image))
        records.append(asdict(record))
    return records


def encode_png(image: np.ndarray) -> bytes:
    """A plate as the bytes of a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=PNG_COMPRESSION)
    return buffer.getvalue()


def read_records(directory: Path | str) -> dict[str, dict]:
    """The records of a folder's `metadata.jsonl` by file name; empty where there is none.

    Raises:
        DatasetError: a line is not a record with a `file_name`, or names a file twice.
    """
    path = Path(directory) / "metadata.jsonl"
    records: dict[str, dict] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return records
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            name = record["file_name"]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path}:{number}: not a record with a file_name") from error
        if not isinstance(name, str) or name in records:
            raise DatasetError(f"{path}:{number}: file_name is no text or stands twice: {name!r}")
        records[name] = record
    return records


def label_of(name: str, records: dict[str, dict]) -> str | None:
    """The label of an image: `text` of its record, else its file name; None if not five digits."""
    text = records.get(name, {}).get("text", Path(name).stem)
    return text if is_plate_text(text) else None


def list_images(directory: Path | str) -> list[Path]:
    """The image files of a folder in name order.

    Raises:
        DatasetError: there is no such folder, or no image in it.
    """
    directory = Path(directory)
    try:
        paths = sorted(_images(directory))
    except OSError as error:
        raise DatasetError(f"{directory}: {error.strerror or error}") from error
    if not paths:
        raise DatasetError(f"{directory}: holds no images")
    return paths


def _images(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if is_image_name(path.name))


def load_folder(directory: Path | str) -> PlateSet:
    """Read a folder of labelled plates into memory.

    Raises:
        DatasetError: the folder is missing or empty, or an image has no label.
        UnreadableImage: an image cannot be read; it is named.
    """
    paths = list_images(directory)
    records = read_records(directory)
    images = np.empty((len(paths), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    texts = []
    for row, path in enumerate(paths):
        text = label_of(path.name, records)
        if text is None:
            raise DatasetError(f"{path}: its label is not five digits")
        images[row, :, :, 0] = load_plate(path)
        texts.append(text)
    return PlateSet(images, texts, [records.get(path.name, {}) for path in paths])


def load_or_generate(
    directory: Path | str, count: int | None = None, seed: int = DEFAULT_SEED
) -> PlateSet:
    """Read a folder of plates, drawing first what is missing of it.

    A folder of images without `settings.json` is somebody's own and is read as it is.

    Raises:
        DatasetError: the folder was drawn with other settings, or as `load_folder`.
        UnreadableImage: as `load_folder`.
    """
    directory = Path(directory)
    found = _read_settings(directory / "settings.json")
    if not found and directory.is_dir() and any(_images(directory)):
        return load_folder(directory)
    positions = choose_range(directory.name, count=count)
    # A finished folder is good whatever Pillow drew it.
    wanted = asdict(_settings(positions, seed, SIZES, FONT_DIRECTORY)) | {
        "pillow": found.get("pillow")
    }
    if found != wanted or not (directory / "metadata.jsonl").exists():
        generate(directory, count=count, seed=seed)
    return load_folder(directory)


def check_folder(directory: Path | str) -> list[str]:
    """Look for what is wrong with a folder of labelled plates.

    Returns:
        One line for each problem, naming the file: an image that cannot be read or has another
        size; a label that is not five digits, stands twice or differs from the file name; a
        record without image, or an image without record beside others that have one.

    Raises:
        DatasetError: the folder is missing or empty, or its records cannot be read.
    """
    problems = []
    records = read_records(directory)
    paths = list_images(directory)
    first_with: dict[str, str] = {}
    for path in paths:
        text = label_of(path.name, records)
        if text is None:
            problems.append(f"{path}: its label is not five digits")
        elif text in first_with:
            problems.append(f"{path}: shows {text} like {first_with[text]}")
        else:
            first_with[text] = path.name
        if is_plate_text(path.stem) and text not in (None, path.stem):
            problems.append(f"{path}: its record says {text}")
        if records and path.name not in records:
            problems.append(f"{path}: has no record")
        try:
            rows, columns = load_gray(path).shape
            if (rows, columns) != (PLATE_HEIGHT, PLATE_WIDTH):
                problems.append(
                    f"{path}: is {columns} x {rows}, not {PLATE_WIDTH} x {PLATE_HEIGHT}"
                )
        except UnreadableImage as error:
            problems.append(str(error))
    names = {path.name for path in paths}
    problems += [
        f"{Path(directory) / name}: has a record but no image"
        for name in records
        if name not in names
    ]
    return problems
