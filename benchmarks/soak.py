"""Soak test: do memory and speed stay constant over a million readings in one process?

Reads the plates of `data/test`, and truncated ones among them, over and over. Writes
`results/soak.json`; the exit code is 1 if memory grows or a reading changes.

$ python -m benchmarks.soak
"""

import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from benchmarks.environments import PROJECT
from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.reading.reader import PlateReader

READINGS = 1_000_000
STAGES = 20
MAX_GROWTH = 20  # megabytes, from the second quarter of the stages to the last


def memory() -> float:
    """The resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(readings: int = READINGS) -> int:
    """Read, print and write what it took, and return the exit code."""
    check_result("soak")
    plates = [path.read_bytes() for path in sorted((PROJECT / "data" / "test").glob("*.png"))]
    plates += [plate[: len(plate) // 2] for plate in plates[:6]]
    reader = PlateReader()
    expected = cycle([getattr(reading, "text", None) for reading in reader.stream(plates)])
    stream = reader.stream(islice(cycle(plates), readings))
    megabytes, rates, changed = [], [], 0
    for _ in range(STAGES):
        start = time.perf_counter()
        for reading in islice(stream, readings // STAGES):
            changed += getattr(reading, "text", None) != next(expected)
        rates.append(readings / STAGES / (time.perf_counter() - start))
        megabytes.append(memory())
        print(f"{megabytes[-1]:.1f} MB, {rates[-1]:,.0f} plates/s", flush=True)
    early, late = slice(STAGES // 4, STAGES // 2), slice(-STAGES // 4, None)
    growth = median(megabytes[late]) - median(megabytes[early])
    result = {
        "readings": readings,
        "changed": changed,
        "growth_megabytes": round(growth, 1),
        "per_second": [round(median(rates[part])) for part in (early, late)],
    }
    write_result("soak", result)
    return 1 if changed or growth > MAX_GROWTH else 0


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
