"""Plates by the million on Ray Data: draw a range of them, or read a folder, into Parquet.

Ray starts on this machine, or joins the cluster at `RAY_ADDRESS`. In a cluster, every host needs
this package and access to the folders. Ray repeats the tasks of a host that dies.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from math import ceil
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry

import pyarrow
import ray
from pyarrow import dataset

from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS
from plate_ocr.plates.dataset import DatasetError, encode_png, list_images
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.images import ImageError, is_image_name
from plate_ocr.plates.rendering import DEFAULT_SEED, render_plate
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import atomic_write

PLATE_COLUMNS = ["file_name", "image"]  # that `read_many` needs
PLATES_PER_TASK = 2_000  # seconds of work; a dying host loses at most its tasks
# Columns of readings; `error` is null where an image was read.
READING_SCHEMA = pyarrow.schema(
    dict.fromkeys(("file_name", "text", "error"), pyarrow.string())
    | {"confidence": pyarrow.float64()}
)

_fonts = lru_cache(maxsize=1)(load_fonts)
_reader = lru_cache(maxsize=1)(partial(PlateReader, num_threads=1))  # other cores: other tasks


def draw_many(output: Path | str, start: int, count: int) -> None:
    """Draw plates `start` to `start + count - 1` into a new folder of Parquet files.

    Their columns are those of `PlateRecord`, with `axes` as JSON, and `image`, a PNG file.

    Raises:
        DatasetError: the range is not valid, or the output exists or cannot be written.
    """
    if start < 0 or count < 1:
        raise DatasetError(f"{output}: no such plates: start {start:,}, count {count:,}")
    with _new_folder(output) as folder:
        indices = ray.data.range(count, override_num_blocks=ceil(count / PLATES_PER_TASK))
        plates = indices.map_batches(_draw_batch, batch_size=None, fn_args=(start,))
        plates.write_parquet(folder)


def _draw_batch(batch: dict, start: int) -> pyarrow.Table:
    rows = []
    for index in batch["id"].tolist():
        image, record = render_plate(_fonts(), DEFAULT_SEED, start + index)
        rows.append(vars(record) | {"image": encode_png(image), "axes": json.dumps(record.axes)})
    return pyarrow.Table.from_pylist(rows)


def read_many(source: Path | str, output: Path | str, weights: Path | str = DEFAULT_WEIGHTS) -> int:
    """Read a folder of images, or of Parquet files from `draw_many`, into a new folder of Parquet.

    Returns:
        The number of images that could not be read; the column `error` says why.

    Raises:
        DatasetError: the source cannot be read, or the output exists or cannot be written.
    """
    source, weights = Path(source).absolute(), Path(weights).absolute()
    PlateReader(weights)  # bad weights fail here, not in every worker
    tables = sorted(map(str, source.glob("*.parquet")))
    if tables:
        if images := [path for path in source.iterdir() if is_image_name(path.name)]:
            raise DatasetError(f"{min(images)}: lies beside Parquet files; use a folder for each")
        try:
            count = dataset.dataset(tables).scanner(columns=PLATE_COLUMNS).count_rows()
        except (OSError, pyarrow.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"{source}: cannot be read ({reason})") from error
        if not count:
            raise DatasetError(f"{source}: holds no plates")
        plates = partial(ray.data.read_parquet, tables, columns=PLATE_COLUMNS)
    else:
        # A file name that is not valid Unicode becomes one that is not found: an error in its row.
        images = list_images(source)
        names = [path.name.encode(errors="backslashreplace").decode() for path in images]
        table, blocks = pyarrow.table({"file_name": names}), ceil(len(names) / PLATES_PER_TASK)
        plates = partial(ray.data.from_arrow, table, override_num_blocks=blocks)
    with _new_folder(output) as folder:
        readings = plates().map_batches(_read_batch, batch_size=None, fn_args=(source, weights))
        readings.write_parquet(folder)
    return dataset.dataset(output).count_rows(filter=dataset.field("error").is_valid())


def _read_batch(batch: dict, source: Path, weights: Path) -> pyarrow.Table:
    names = batch["file_name"].tolist()
    images = batch["image"] if "image" in batch else map(source.joinpath, names)
    rows = []
    for name, reading in zip(names, _reader(weights).stream(images), strict=True):
        failed = isinstance(reading, ImageError)
        row = {"error": str(reading)} if failed else vars(reading)
        rows.append({"file_name": name} | row)
    return pyarrow.Table.from_pylist(rows, READING_SCHEMA)


@contextmanager
def _new_folder(output: Path | str) -> Iterator[str]:
    """Start Ray, and yield a temporary folder that becomes `output` at the end."""
    output = Path(output).absolute()
    if output.exists():
        raise DatasetError(f"{output}: exists already; choose another")
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
    except Exception as error:  # Ray raises a bare one after a timeout
        reason = str(error).strip().partition("\n")[0]
        raise DatasetError(f"Ray does not start: {reason}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with atomic_write(output) as temporary:
            temporary.mkdir()
            yield str(temporary)
    except OSError as error:
        raise DatasetError(f"{output}: {error.strerror or error}") from error
    except ray.exceptions.RayError as error:
        raise DatasetError(f"{output}: {str(error).strip().splitlines()[-1]}") from error
