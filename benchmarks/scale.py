"""Drawing and reading many plates on a cluster that loses a worker, against one process alone.

`python -m benchmarks.scale` starts a Ray cluster of two workers on this machine, draws plates on
it, and reads them. On the way, each time, one worker is killed. The output must be complete and
equal to what one process draws and reads. Writes `results/scale.json`.
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
from plate_ocr.network.checkpoint import DEFAULT_EXPORT, DEFAULT_WEIGHTS, load_metadata
from plate_ocr.plates.dataset import encode_png
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.rendering import DEFAULT_SEED, render_plate
from plate_ocr.ray_data import draw_many, read_many
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import cores, processor_name, write_text

TOLERANCE = 1e-4  # of a confidence; batches of other sizes round otherwise
STORE = 200 * 2**20  # bytes of shared memory a worker


class TwoWorkers:
    """A Ray cluster on this machine: a head that does no work, and two workers of one core."""

    def __enter__(self):
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": STORE,
                "include_dashboard": False,
            },
        )
        self.workers = [self._add(), self._add()]
        ray.init(self.cluster.address, log_to_driver=False, logging_level="ERROR")
        return self

    def __exit__(self, *_):
        ray.shutdown()
        self.cluster.shutdown()

    def _add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def losing_one(self, output: Path, work: Callable[[], None]) -> float:
        """Do work that writes `output`; kill a worker when its first file is there.

        Returns:
            Seconds it took.
        """
        killed = []

        def kill():
            while not list(output.parent.glob(f".*.part.{output.name}/*.parquet")):
                time.sleep(0.01)
            self.cluster.remove_node(self.workers.pop(), allow_graceful=False)
            killed.append(output.exists())

        thread = Thread(target=kill, daemon=True)
        thread.start()
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
        thread.join(60)
        if killed != [False]:
            raise RuntimeError(f"{output}: was written before a worker could be killed")
        self.workers.append(self._add())
        return seconds


def rows_of(folder: Path, column: str, **options) -> dict[int | str, dict]:
    """The rows of a folder of Parquet files by a column whose values differ."""
    rows = parquet.read_table(folder, **options).to_pylist()
    by_value = {row[column]: row for row in rows}
    if len(by_value) != len(rows):
        raise RuntimeError(f"{folder}: {len(rows) - len(by_value)} rows stand twice")
    return by_value


def compare_drawings(folder: Path, start: int, count: int) -> dict:
    """Draw the same plates here; the bytes of every image must be equal."""
    drawn, fonts = rows_of(folder, "index"), load_fonts()
    begun = time.perf_counter()
    different = 0
    for index in range(start, start + count):
        image, record = render_plate(fonts, DEFAULT_SEED, index)
        row = drawn.pop(index, None)
        same = row and (row["image"], row["file_name"]) == (encode_png(image), record.file_name)
        different += not same
    seconds = time.perf_counter() - begun
    return {"missing_or_different": different, "surplus": len(drawn), "alone": round(seconds, 1)}


def compare_readings(plates: Path, folder: Path) -> dict:
    """Read the same plates here; texts must be equal, confidences nearly."""
    read = rows_of(folder, "file_name")
    drawn = rows_of(plates, "file_name", columns=["file_name", "text", "image"])
    begun = time.perf_counter()
    reader = PlateReader(backend="onnx", num_threads=1)
    different, furthest = 0, 0.0
    images = (row["image"] for row in drawn.values())
    for name, reading in zip(drawn, reader.stream(images), strict=True):
        row = read.pop(name, None)
        if not row or row["text"] != reading.text or row["error"]:
            different += 1
        else:
            furthest = max(furthest, abs(row["confidence"] - reading.confidence))
    seconds = time.perf_counter() - begun
    return {
        "missing_or_different": different,
        "surplus": len(read),
        "largest_difference_of_confidence": furthest,
        "alone": round(seconds, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the result; the exit code is 1 where anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--start", type=int, default=60_000, help="first plate")
    parser.add_argument("--count", type=int, default=60_000, help="plates")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        plates, readings = Path(folder, "plates"), Path(folder, "readings")
        with TwoWorkers() as cluster:
            drawing = cluster.losing_one(
                plates, lambda: draw_many(plates, options.start, options.count)
            )
            reading = cluster.losing_one(readings, lambda: read_many(plates, readings))
        result = {
            "plates": options.count,
            "start": options.start,
            "processor": processor_name(),
            "cores": cores(),
            "weights_sha256": load_metadata(DEFAULT_WEIGHTS)["sha256"][DEFAULT_EXPORT.name],
            "workers": 2,
            "drawing": compare_drawings(plates, options.start, options.count)
            | {"cluster": round(drawing, 1)},
            "reading": compare_readings(plates, readings) | {"cluster": round(reading, 1)},
        }
    print(json.dumps(result, indent=2))
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "scale.json", json.dumps(result, indent=2) + "\n")
    differing = sum(
        result[part]["missing_or_different"] + result[part]["surplus"]
        for part in ("drawing", "reading")
    )
    equal = result["reading"]["largest_difference_of_confidence"] <= TOLERANCE
    return 0 if equal and not differing else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
