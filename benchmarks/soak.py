"""Soak test: do memory and speed stay constant over a million readings in one process?

Reads the plates of `data/test`, and truncated ones among them, over and over. Writes
`results/soak.json`; the exit code is 1 if memory grows or a reading changes.

$ python -m benchmarks.soak
"""

import argparse
import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from benchmarks.environments import PROJECT, RESULTS
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import check_writable, write_text

STAGES = 20
MAX_GROWTH = 20  # megabytes, from the second quarter of the stages to the last


def memory() -> float:
    """The resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(readings: int) -> dict:
    """Read `readings` plates; memory and speed after every twentieth of them."""
    plates = [path.read_bytes() for path in sorted((PROJECT / "data" / "test").glob("*.png"))]
    plates += [plate[: len(plate) // 2] for plate in plates[:6]]
    reader = PlateReader()
    expected = cycle([getattr(reading, "text", None) for reading in reader.stream(plates)])
    stream = reader.stream(islice(cycle(plates), readings))
    stages, changed = [], 0
    for _ in range(STAGES):
        start = time.perf_counter()
        for reading in islice(stream, readings // STAGES):
            changed += getattr(reading, "text", None) != next(expected)
        rate = readings / STAGES / (time.perf_counter() - start)
        stages.append({"megabytes": round(memory(), 1), "per_second": round(rate)})
    early, late = {}, {}
    for key in ("megabytes", "per_second"):
        early[key] = median(stage[key] for stage in stages[STAGES // 4 : STAGES // 2])
        late[key] = median(stage[key] for stage in stages[-STAGES // 4 :])
    return {
        "origin": origin(DEFAULT_WEIGHTS),
        "readings": readings,
        "backend": "onnx",
        "changed": changed,
        "growth_megabytes": round(late["megabytes"] - early["megabytes"], 1),
        "speed_ratio": round(late["per_second"] / early["per_second"], 3),
        "stages": stages,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    options = parser.parse_args(arguments)
    check_writable(options.output / "soak.json")
    result = soak(options.readings)
    text = json.dumps(result, indent=1)
    print(text)
    write_text(options.output / "soak.json", text + "\n")
    return 1 if result["changed"] or result["growth_megabytes"] > MAX_GROWTH else 0


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
