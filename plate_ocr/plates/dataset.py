"""Datasets of plates: draw them in memory or into a folder, load a folder, validate a folder.

A generated folder holds `<label>.png` files, `metadata.jsonl` with one record per plate, and
`settings.json` with everything that decides its bytes.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from plate_ocr.plates import rendering
from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.fonts import FONT_DIRECTORY, load_fonts
from plate_ocr.plates.images import ImageError, load_gray, load_plate
from plate_ocr.plates.metadata import (
    METADATA_FILES,
    DatasetError,
    label_for,
    list_images,
    read_metadata,
)
from plate_ocr.plates.rendering import DEFAULT_SEED, PLATE_HEIGHT, PLATE_WIDTH, plate_text
from plate_ocr.utils import printable, read_json, write_bytes, write_text

# Directory name -> (start, count): positions in the permutation of all five-digit numbers.
# For four digits, all of them are divided by ten.
SPLITS = {
    "train": (0, 60_000),
    "validation": (90_000, 2_000),
    "benchmark": (92_000, 7_940),
    "test": (99_940, 60),
}
METADATA = METADATA_FILES[0]  # as generated folders have it


@dataclass(frozen=True)
class PlateDataset:
    """Plates in memory."""

    images: np.ndarray  # uint8 (n, 64, 128, 1)
    labels: list[str]
    records: list[dict]  # what else is known: a line of `metadata.jsonl`, or tags such as the font

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digits(self) -> int:
        """The number of digits on a plate."""
        return len(self.labels[0])

    def take(self, rows: np.ndarray) -> "PlateDataset":
        """The plates of some rows, int (n,)."""
        labels, records = ([values[row] for row in rows] for values in (self.labels, self.records))
        return PlateDataset(self.images[rows], labels, records)

    def sample(self, count: int) -> "PlateDataset":
        """At most `count` plates, evenly spaced over all."""
        return self.take(np.unique(np.linspace(0, len(self) - 1, count).astype(int)))


def split_range(
    name: str, start: int | None = None, count: int | None = None, digits: int = NUM_DIGITS
) -> range:
    """The positions of a directory's plates in the permutation of all numbers.

    Args:
        name: a key of `SPLITS`, or any other name with `start` and `count`.
        start: first position; only for other names.
        count: number of plates; at most that of the split, but up to 90,000 of `train`.
        digits: on a plate.

    Raises:
        DatasetError: the range is missing, empty, too long, or mixes training and held-out numbers.
    """
    divisor = 10 ** max(NUM_DIGITS - digits, 0)
    held_out_start, limit = rendering.HELD_OUT_START // divisor, 10**digits
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
        images[row, :, :, 0], record = rendering.render_plate(loaded, seed, index, digits)
        records.append(vars(record))
    return PlateDataset(images, [record["text"] for record in records], records)


def generate_dataset(
    directory: Path | str,
    *,
    start: int | None = None,
    count: int | None = None,
    seed: int = DEFAULT_SEED,
    digits: int = NUM_DIGITS,
) -> list[dict]:
    """Draw plates into a folder, which is new, or holds plates of the same settings.

    The name of the folder, `start` and `count` choose the plates, see `split_range`.

    Returns:
        The records in order of position, as written to `metadata.jsonl`.

    Raises:
        DatasetError: an argument is invalid, or the folder holds something else or is not writable.
        FontError: a font cannot be used, or its digits do not fit the plate.
    """
    from tqdm import tqdm  # not needed for reading

    directory = Path(directory)
    positions = split_range(directory.name, start, count, digits)
    settings = _settings(positions, seed, digits)
    _check_settings(directory, settings)
    fonts, files, records = load_fonts(), {}, []
    # A terminal shows the progress. All are drawn before the first is written: a font may fail.
    for index in tqdm(positions, unit=" plates", desc=str(directory), disable=None):
        image, record = rendering.render_plate(fonts, seed, index, digits)
        files[record.file_name] = encode_png(image)
        records.append(vars(record))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "settings.json", json.dumps(settings, indent=2) + "\n")
        for name, content in files.items():
            write_bytes(directory / name, content)
        # Last: a folder with metadata is complete.
        write_text(directory / METADATA, "".join(json.dumps(record) + "\n" for record in records))
    except OSError as error:
        raise DatasetError(f"{error.filename or directory}: {error.strerror or error}") from error
    return records


def _settings(positions: range, seed: int, digits: int) -> dict:
    """The content of `settings.json`: everything that decides the bytes of a generated folder."""
    if seed < 0 or digits not in SUPPORTED_LENGTHS:
        raise DatasetError(f"seed {seed}, {digits} digits: must be 0 or more, and 4 to 7")
    sizes = rendering.font_sizes(digits)
    settings = {
        "start": positions.start,
        "count": len(positions),
        "seed": seed,
        "sizes": [sizes[0], sizes[-1]],
        "fonts": hashlib.sha256((FONT_DIRECTORY / "fonts.json").read_bytes()).hexdigest(),
        "pillow": PIL.__version__,  # another version may draw other pixels
    }
    return settings if digits == NUM_DIGITS else settings | {"digits": digits}


def _read_settings(directory: Path) -> dict:
    """The content of `settings.json`; empty if there is none."""
    try:
        return dict(read_json(directory / "settings.json"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{directory / 'settings.json'}: not settings ({error})") from error


def _check_settings(directory: Path, settings: dict) -> None:
    """Refuse a folder that holds something else than plates of these settings, by any Pillow."""
    found = _read_settings(directory)
    if not found and any(directory.glob("[!.]*")):
        raise DatasetError(f"{directory}: holds files but no settings.json")
    for name in sorted((found.keys() | settings.keys()) - {"pillow"}):
        if found and found.get(name) != settings.get(name):
            values = f"{found.get(name)!r:.60}, not {settings.get(name)!r}"
            raise DatasetError(f"{directory}: was drawn with {name} {values}")


def encode_png(image: np.ndarray) -> bytes:
    """A plate as the bytes of a PNG file."""
    import cv2  # not needed for reading; faster than Pillow

    # Level 6 saves a tenth of the bytes but doubles the time; filters save nothing.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode(".png", image, options)[1].tobytes()


def load_folder(directory: Path | str, digits: int = NUM_DIGITS) -> PlateDataset:
    """Load a folder of labeled plates.

    Raises:
        DatasetError: the folder is missing or empty, or an image has no label of `digits` digits.
        ImageError: an image cannot be read.
    """
    paths = list_images(directory)
    records = read_metadata(directory)
    images = np.empty((len(paths), PLATE_HEIGHT, PLATE_WIDTH, 1), dtype=np.uint8)
    labels = [label_for(path, records, digits) for path in paths]
    for row, path in enumerate(paths):
        images[row, :, :, 0] = load_plate(path)
    records = {path.name: {"file_name": path.name} | records.get(path.name, {}) for path in paths}
    return PlateDataset(images, labels, list(records.values()))


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
        DatasetError: the folder was generated with other settings, or holds wrong labels.
    """
    directory = Path(directory)
    if directory.name in SPLITS and (_read_settings(directory) or not any(directory.glob("[!.]*"))):
        if (directory / METADATA).exists():
            positions = split_range(directory.name, count=count, digits=digits)
            _check_settings(directory, _settings(positions, seed, digits))
        else:
            generate_dataset(directory, count=count, seed=seed, digits=digits)
    plates = load_folder(directory, digits)
    return _in_order_of_positions(plates) if _read_settings(directory) else plates


def _in_order_of_positions(plates: PlateDataset) -> PlateDataset:
    order = sorted(range(len(plates)), key=lambda row: plates.records[row].get("index", row))
    return plates.take(np.array(order))


def validate_dataset(directory: Path | str, digits: int | None = None) -> list[str]:
    """Find the problems of a folder of labeled plates.

    `digits` is by default that of `settings.json`, else five.

    Returns:
        One line per problem, naming the file.

    Raises:
        DatasetError: the folder is missing or empty, or its metadata is malformed.
    """
    paths = list_images(directory)
    records = read_metadata(directory)
    settings = _read_settings(Path(directory))
    digits = digits or settings.get("digits", NUM_DIGITS)
    length = _common_length(paths, records) or digits
    problems = []
    if length != digits:
        problems.append(f"{directory}: its labels have {length} digits, not {digits}")
    if settings and not records:
        problems.append(f"{Path(directory, METADATA)}: is missing; generate it again")
    first_with: dict[bytes, str] = {}  # hash of the pixels -> file name
    for path in paths:
        try:
            label = label_for(path, records, length)
            if settings and label != path.stem:
                problems.append(f"{path}: its record says {label}")
        except DatasetError as error:
            problems.append(str(error))
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
    missing = sorted(map(printable, records.keys() - {path.name for path in paths}))
    return problems + [f"{directory}: {name} has a record, but no image" for name in missing]


def _common_length(paths: Sequence[Path], records: dict[str, dict]) -> int | None:
    """The number of digits of all labels; `None` if one is missing, malformed or of another."""
    for digits in SUPPORTED_LENGTHS:
        with suppress(DatasetError):
            for path in paths:
                label_for(path, records, digits)
            return digits
    return None
