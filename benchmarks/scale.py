"""Drawing and reading many plates on a cluster that loses a worker, against one process.

`python -m benchmarks.scale` starts a Ray cluster of two workers on this machine, draws plates on
it, and reads them. Each time one worker is killed on the way. The output must be complete and
equal to what one process draws and reads. Writes `results/scale.json`; the exit code is 1 if
anything differs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import ray
from pyarrow import parquet
from ray.cluster_utils import Cluster

from plate_ocr.cli import run_command
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, load_metadata
from plate_ocr.plates.dataset import encode_png
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import DEFAULT_SEED, render_plate
from plate_ocr.ray_data import draw_many, read_many
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import cores, processor_name, write_text

TOLERANCE = 1e-4  # of a confidence; it is rounded differently in other batch sizes
OBJECT_STORE = 200 * 2**20  # bytes of shared memory per worker


class TwoWorkers:
    """A Ray cluster on this machine: a head that does no work, and two workers of one core."""

    def __enter__(self):
        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.workers = [self._add(), self._add()]
        ray.init(self.cluster.address, log_to_driver=False, logging_level="ERROR")
        return self

    def __exit__(self, *_):
        ray.shutdown()
        self.cluster.shutdown()

    def _add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)

    def lose_one_during(self, output: Path, work: Callable[[], None]) -> float:
        """Seconds that `work` takes, which writes `output`; a worker is killed at its first file.

        Raises:
            RuntimeError: the work ended before.
        """
        killed_before_end = []

        def kill():
            while not list(output.parent.glob(f".*.part.{output.name}/*.parquet")):
                time.sleep(0.01)
            self.cluster.remove_node(self.workers.pop(), allow_graceful=False)
            killed_before_end.append(not output.exists())

        thread = Thread(target=kill, daemon=True)
        thread.start()
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        thread.join(60)
        if killed_before_end != [True]:
            raise RuntimeError(f"{output}: was written before a worker could be killed")
        self.workers.append(self._add())
        return seconds


def rows_by(column: str, folder: Path, **options) -> dict[int | str, dict]:
    """The rows of a folder of Parquet files by a column without repeated values."""
    rows = parquet.read_table(folder, **options).to_pylist()
    by_value = {row[column]: row for row in rows}
    if len(by_value) != len(rows):
        raise RuntimeError(f"{folder}: {len(rows) - len(by_value)} repeated rows")
    return by_value


def compare_drawings(folder: Path, start: int, count: int) -> dict:
    """Draw the same plates in this process; the bytes of every image must be equal."""
    rows, fonts = rows_by("index", folder), load_fonts()
    begin = time.perf_counter()
    different = 0
    for index in range(start, start + count):
        image, record = render_plate(fonts, DEFAULT_SEED, index)
        row = rows.pop(index, None)
        different += row is None or (
            (row["image"], row["file_name"]) != (encode_png(image), record.file_name)
        )
    seconds = time.perf_counter() - begin
    return {"missing_or_different": different, "surplus": len(rows), "alone": round(seconds, 1)}


def compare_readings(plates: Path, folder: Path) -> dict:
    """Read the same plates in this process; texts must be equal, confidences nearly."""
    rows = rows_by("file_name", folder)
    drawn = rows_by("file_name", plates, columns=["file_name", "text", "image"])
    begin = time.perf_counter()
    reader = PlateReader(backend="onnx", num_threads=1)
    different, largest = 0, 0.0
    images = (row["image"] for row in drawn.values())
    for name, reading in zip(drawn, reader.stream(images), strict=True):
        row = rows.pop(name, None)
        if not row or row["text"] != reading.text or row["error"]:
            different += 1
        else:
            largest = max(largest, abs(row["confidence"] - reading.confidence))
    seconds = time.perf_counter() - begin
    return {
        "missing_or_different": different,
        "surplus": len(rows),
        "largest_difference_of_confidence": largest,
        "alone": round(seconds, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", type=int, default=60_000, help="first plate")
    parser.add_argument("--count", type=int, default=60_000, help="plates")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args(arguments)
    start, count = options.start, options.count
    with tempfile.TemporaryDirectory() as folder:
        plates, readings = Path(folder, "plates"), Path(folder, "readings")
        with TwoWorkers() as cluster:
            drawing = cluster.lose_one_during(plates, lambda: draw_many(plates, start, count))
            reading = cluster.lose_one_during(readings, lambda: read_many(plates, readings))
        result = {
            "plates": count,
            "start": start,
            "processor": processor_name(),
            "cores": cores(),
            "weights": load_metadata(DEFAULT_WEIGHTS)["sha256"][DEFAULT_WEIGHTS.name],
            "workers": 2,
            "drawing": compare_drawings(plates, start, count) | {"cluster": round(drawing, 1)},
            "reading": compare_readings(plates, readings) | {"cluster": round(reading, 1)},
        }
    print(json.dumps(result, indent=2))
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "scale.json", json.dumps(result, indent=2) + "\n")
    errors = [result[work][kind] for work in ("drawing", "reading")
              for kind in ("missing_or_different", "surplus")]  # fmt: skip
    equal = result["reading"]["largest_difference_of_confidence"] <= TOLERANCE
    return 0 if equal and not any(errors) else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
