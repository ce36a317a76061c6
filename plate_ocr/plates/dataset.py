"""Datasets of plates: draw them in memory or into a folder, load a folder, validate a folder.

A generated folder holds `<label>.png` files, `metadata.jsonl` with one record per plate, and
`settings.json` with everything that decides its bytes.
"""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS, is_valid_label
from plate_ocr.plates.fonts import FONT_DIRECTORY, PlateFont, fonts_digest, load_fonts
from plate_ocr.plates.images import ImageError, is_image_name, load_gray, load_plate
from plate_ocr.plates.metadata import (
    METADATA_FILES,
    DatasetError,
    label_error,
    label_for,
    list_images,
    read_metadata,
)
from plate_ocr.plates.rendering import (
    DEFAULT_SEED,
    HELD_OUT_START,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    check_fits,
    font_and_instance,
    font_sizes,
    plate_text,
    render_plate,
)
from plate_ocr.utils import cores, printable, read_json, spawn_pool, write_bytes, write_text

# Directory name -> (start, count): positions in the permutation of all five-digit numbers.
# For four digits, all of them are divided by ten.
SPLITS = {
    "train": (0, 60_000),
    "validation": (90_000, 2_000),
    "benchmark": (92_000, 7_940),
    "test": (99_940, 60),
}
MIN_FONT_SIZE = 8  # pixels per em; smaller digits are illegible


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
        """The number of digits on a plate."""
        return len(self.labels[0])


def split_range(
    name: str, start: int | None = None, count: int | None = None, digits: int = NUM_DIGITS
) -> range:
    """The positions of a directory's plates in the permutation of all numbers.

    Args:
        name: a key of `SPLITS`, or any other name with `start` and `count`.
        start: first position; only for other names.
        count: number of plates; at most that of the split, but up to 90,000 of `train`.
        digits: the number of digits on a plate.

    Raises:
        DatasetError: the range is missing, empty, too long, or mixes training and held-out numbers.
    """
    divisor = 10 ** max(NUM_DIGITS - digits, 0)
    held_out_start, limit = HELD_OUT_START // divisor, 10**digits
    if name in SPLITS:
        first, size = (number // divisor for number in SPLITS[name])
        start, count = (first if start is None else start), (size if count is None else count)
        if start != first or (count > size and name != "train"):
            raise DatasetError(f"{name}: holds at most {size:,} plates, from position {first:,} on")
    elif start is None or count is None:
        raise DatasetError(f"{name}: not a split ({', '.join(SPLITS)}), so give start and count")
    positions = range(start, start + count)
    if not 0 <= start < positions.stop <= limit or start < held_out_start < positions.stop:
        raise DatasetError(
            f"{name}: start {start:,} and count {count:,} leave the positions 0 to {limit - 1:,} "
            f"or mix training numbers, below {held_out_start:,}, with held-out ones"
        )
    return positions


def held_out_range(count: int, digits: int = NUM_DIGITS) -> range:
    """The first `count` positions that are never trained on; at most all before the test plates.

    >>> held_out_range(2_000), held_out_range(2_000, digits=4)
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
    exclude_labels: Collection[str] = (),
) -> PlateDataset:
    """Draw plates in memory, in the order of `positions`, without those of `exclude_labels`."""
    loaded = load_fonts(fonts)
    excluded = set(exclude_labels)
    positions = [index for index in positions if plate_text(seed, index, digits) not in excluded]
    images = np.empty((len(positions), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    records = []
    for row, index in enumerate(positions):
        images[row, :, :, 0], record = render_plate(loaded, seed, index, digits=digits)
        records.append(vars(record))
    return PlateDataset(images, [record["text"] for record in records], records)


def generate_dataset(
    directory: Path | str,
    *,
    start: int | None = None,
    count: int | None = None,
    seed: int = DEFAULT_SEED,
    sizes: range | None = None,
    digits: int = NUM_DIGITS,
    processes: int | None = None,
    progress: bool = True,
) -> list[dict]:
    """Draw plates into a folder, or complete a folder after an interruption.

    Args:
        directory: the folder; its name, `start` and `count` choose the plates, see `split_range`.
        start: first position, for a name that is not in `SPLITS`.
        count: number of plates.
        seed: decides the order of the numbers, and each plate's size, spacing and position.
        sizes: font sizes to choose from, in pixels per em; `font_sizes(digits)` by default.
        digits: the number of digits on a plate.
        processes: number of drawing processes; one per core by default.
        progress: show a progress bar.

    Returns:
        The records in order of position, as written to `metadata.jsonl`.

    Raises:
        DatasetError: an argument is invalid, or the folder holds something else or is not writable.
        FontError: a font cannot be used, or its widest digits do not fit the plate.
    """
    directory = Path(directory)
    settings = _settings(split_range(directory.name, start, count, digits), seed, sizes, digits)
    try:
        return _draw_folder(directory, settings, processes or cores(), progress)
    except OSError as error:
        raise DatasetError(f"{error.filename or directory}: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise DatasetError(f"{directory}: {error} Is memory short? Use fewer processes.") from error


def _settings(positions: range, seed: int, sizes: range | None, digits: int) -> dict:
    """The content of `settings.json`: everything that decides the bytes of a generated folder."""
    sizes = font_sizes(digits) if sizes is None else sizes
    if seed < 0 or digits not in SUPPORTED_LENGTHS or not MIN_FONT_SIZE <= sizes.start < sizes.stop:
        raise DatasetError(
            f"seed {seed}, {digits} digits or font sizes {sizes}: the seed must be at least 0, "
            f"digits 4 to 7, and sizes must rise from {MIN_FONT_SIZE} pixels or more"
        )
    settings = {
        "start": positions.start,
        "count": len(positions),
        "seed": seed,
        "sizes": [sizes.start, sizes.stop - 1],
        "fonts": fonts_digest(),
        "pillow": PIL.__version__,  # another version may draw other pixels
    }
    return settings if digits == NUM_DIGITS else settings | {"digits": digits}


def _read_settings(directory: Path) -> dict | None:
    path = directory / "settings.json"
    try:
        settings = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DatasetError(str(error)) from error
    if not isinstance(settings, dict):
        raise DatasetError(f"{path}: not the settings of a dataset")
    return settings


def _init_or_verify_settings(directory: Path, settings: dict) -> None:
    """Write the settings to an empty folder, or compare them with those of the folder."""
    directory.mkdir(parents=True, exist_ok=True)
    if all(".part." in path.name for path in directory.iterdir()):
        write_text(directory / "settings.json", json.dumps(settings, indent=2) + "\n")
    found = _read_settings(directory)
    if found is None:
        raise DatasetError(f"{directory}: holds files but no settings.json")
    for name in sorted(found.keys() | settings.keys()):
        if found.get(name) != settings.get(name):
            values = f"{found.get(name)!r:.60}, not {settings.get(name)!r}"
            raise DatasetError(f"{directory}: was drawn with {name} {values}")


def _draw_folder(directory: Path, settings: dict, processes: int, progress: bool) -> list[dict]:
    import cv2  # noqa: F401 (a missing package is an error before anything is written)
    from tqdm import tqdm

    fonts, digits = load_fonts(), settings.get("digits", NUM_DIGITS)
    jobs: dict[tuple, list[int]] = {}  # one process draws all plates of an instance: cached glyphs
    for index in range(settings["start"], settings["start"] + settings["count"]):
        font, axes = font_and_instance(fonts, index)
        if (font.family, axes) not in jobs:
            check_fits(font, axes, settings["sizes"][-1], digits)
        jobs.setdefault((font.family, axes), []).append(index)
    # A killed run left them; files that a simultaneous run writes are renamed long before the end.
    leftovers = list(directory.glob(".*.part.*"))
    _init_or_verify_settings(directory, settings)
    write = partial(_write_plates, directory=directory, fonts=fonts, settings=settings)
    processes = min(processes, len(jobs))
    records: list[dict] = []
    bar = tqdm(total=settings["count"], unit=" plates", desc=str(directory), disable=not progress)
    with bar, spawn_pool(processes) if processes > 1 else nullcontext() as pool:
        for batch in (pool.map if pool else map)(write, jobs.values()):
            records += batch
            bar.update(len(batch))
    records.sort(key=lambda record: record["index"])
    lines = [json.dumps(record) + "\n" for record in records]
    write_text(directory / "metadata.jsonl", "".join(lines))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return records


def _write_plates(
    positions: Sequence[int], directory: Path, fonts: Sequence[PlateFont], settings: dict
) -> list[dict]:
    """Draw plates into a folder; complete files are kept."""
    sizes = range(settings["sizes"][0], settings["sizes"][1] + 1)
    digits = settings.get("digits", NUM_DIGITS)
    # Drawing all plates before the first is written takes a quarter less time.
    plates = [render_plate(fonts, settings["seed"], index, sizes, digits) for index in positions]
    files = [(f"{directory}/{record.file_name}", encode_png(image)) for image, record in plates]
    for path, content in files:
        if not (os.path.exists(path) and os.path.getsize(path) == len(content)):  # noqa: PTH110, PTH202
            write_bytes(path, content)
    return [vars(record) for _, record in plates]


def encode_png(image: np.ndarray) -> bytes:
    """A plate as the bytes of a PNG file."""
    import cv2  # not needed for reading; faster than Pillow

    # Level 6 saves a tenth of the bytes but doubles the time; filters save nothing.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode(".png", image, options)[1].tobytes()


def load_folder(directory: Path | str, digits: int = NUM_DIGITS) -> PlateDataset:
    """Load a folder of labelled plates.

    Raises:
        DatasetError: the folder is missing or empty, or an image has no label of `digits` digits.
        ImageError: an image cannot be read.
    """
    paths = list_images(directory)
    records = read_metadata(directory)
    images = np.empty((len(paths), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    labels = []
    for row, path in enumerate(paths):
        label = label_for(path.name, records, digits)
        if label is None:
            raise DatasetError(f"{path}: {label_error(path.name, records, digits)}")
        images[row, :, :, 0] = load_plate(path)
        labels.append(label)
    return PlateDataset(images, labels, [records.get(path.name, {}) for path in paths])


def mix_with_replay(own: PlateDataset, drawn: PlateDataset) -> PlateDataset:
    """Concatenate own plates, repeated to about the number of drawn ones, and drawn plates.

    Replaying drawn plates keeps fine-tuning from forgetting them.
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
    """Load a folder of plates; one of `SPLITS` is first drawn where plates are missing.

    Drawn plates come in the order of their positions, as from `render_plates`. A folder of images
    without `settings.json` is your own and is loaded as it is, in the order of names.

    Raises:
        DatasetError: the folder was generated with other settings, or see `load_folder`.
        ImageError: see `load_folder`.
    """
    directory = Path(directory)
    settings = _read_settings(directory)
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    num_images = sum(map(is_image_name, names))
    if directory.name in SPLITS and (settings is not None or not num_images):
        positions = split_range(directory.name, count=count, digits=digits)
        expected = _settings(positions, seed, None, digits)
        is_complete = num_images == len(positions) and METADATA_FILES[0] in names
        # A complete folder is used whatever version of Pillow drew it.
        as_expected = settings is not None and settings | {"pillow": PIL.__version__} == expected
        if not (is_complete and as_expected):
            generate_dataset(directory, count=count, seed=seed, digits=digits)
    plates = load_folder(directory, digits)
    return plates if settings is None and num_images else _in_order_of_positions(plates)


def _in_order_of_positions(plates: PlateDataset) -> PlateDataset:
    rows = sorted(range(len(plates)), key=lambda row: plates.records[row].get("index", row))
    labels, records = ([field[row] for row in rows] for field in (plates.labels, plates.records))
    return PlateDataset(plates.images[rows], labels, records)


def validate_dataset(directory: Path | str, digits: int | None = None) -> list[str]:
    """Find the problems of a folder of labelled plates.

    Args:
        directory: the folder.
        digits: the number of digits on a plate; by default that of `settings.json`, else five.

    Returns:
        One line per problem, naming the file.

    Raises:
        DatasetError: the folder is missing or empty, or its metadata is malformed.
    """
    paths = list_images(directory)
    records = read_metadata(directory)
    settings = _read_settings(Path(directory))
    digits = digits or (settings or {}).get("digits", NUM_DIGITS)
    problems = []
    if settings and not records:
        problems.append(f"{Path(directory, METADATA_FILES[0])}: is missing; generate it again")
    first_with: dict[bytes, str] = {}  # hash of the pixels -> file name
    for path in paths:
        label = label_for(path.name, records, digits)
        if label is None:
            problems.append(f"{path}: {label_error(path.name, records, digits)}")
        elif label != path.stem and is_valid_label(path.stem, digits):
            problems.append(f"{path}: its record says {label}")
        try:
            gray = load_gray(path)
        except ImageError as error:
            problems.append(str(error))
            continue
        if gray.min() == gray.max():
            problems.append(f"{path}: is blank")
        if settings and gray.shape != (PLATE_HEIGHT, PLATE_WIDTH):
            problems.append(f"{path}: is not {PLATE_WIDTH} x {PLATE_HEIGHT} pixels")
        first = first_with.setdefault(hashlib.sha256(gray.tobytes()).digest(), path.name)
        if first != path.name:
            problems.append(f"{path}: is the same picture as {first}")
    names = {path.name for path in paths}
    missing = [printable(name) for name in records if name not in names]
    return problems + [f"{directory}: {name} has a record, but no image" for name in missing]
