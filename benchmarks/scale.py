"""Drawing and reading on Ray, on this machine alone: plates per second and bytes per plate.

Runs `plate-ocr draw-many` and `read-many` as a user does; the start of Ray counts. Writes
`results/scale.json`.

$ make scale
"""

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.results import check_result, write_result
from plate_ocr.cli import ERRORS, run_command
from plate_ocr.ray_data import draw_many, read_many
from plate_ocr.utils import cores

PLATES = 200_000


def main() -> None:
    """Measure, print, write the result."""
    check_result("scale")
    with tempfile.TemporaryDirectory() as temporary:
        plates, readings = Path(temporary, "plates"), Path(temporary, "readings")
        start = perf_counter()
        draw_many(plates, start=0, count=PLATES)
        drawn = perf_counter()
        read_many(plates, readings)
        read = perf_counter()
        size = sum(path.stat().st_size for path in plates.iterdir())
    result = {
        "cores": cores(),
        "plates": PLATES,
        "drawn_per_second": round(PLATES / (drawn - start)),
        "read_per_second": round(PLATES / (read - drawn)),
        "bytes_per_plate": round(size / PLATES),
    }
    print(json.dumps(result, indent=1))
    write_result("scale", result)


if __name__ == "__main__":
    sys.exit(run_command(main, *ERRORS))
