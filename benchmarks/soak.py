"""One million readings in one process: do memory and speed stay what they are?

`python -m benchmarks.soak` reads the plates of `data/test`, and damaged ones among them, again and
again, in the reader's stream. Writes `results/soak.json`; the exit code is 1 where memory grows or
a reading changes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from plate_ocr.cli import run_command
from plate_ocr.plates.images import ImageError
from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import PlateReader
from plate_ocr.utils import write_text

PLATES = Path(__file__).parent.parent / "data" / "test"
STAGES = 20
GROWTH = 20  # megabytes, from the second quarter of the stages to the last, that are no growth


def memory() -> float:
    """What this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(readings: int, backend: str) -> dict:
    """Read `readings` plates; memory and speed after every twentieth of them."""
    plates = [path.read_bytes() for path in sorted(PLATES.glob("*.png"))]
    plates += [plate[: len(plate) // 2] for plate in plates[:6]]
    reader = PlateReader(backend=backend)
    texts = [_text(reading) for reading in reader.stream(plates)]
    stream = reader.stream(islice(cycle(plates), readings))
    expected = cycle(texts)
    stages, changed = [], 0
    for _ in range(STAGES):
        begun = time.perf_counter()
        for reading in islice(stream, readings // STAGES):
            changed += _text(reading) != next(expected)
        seconds = time.perf_counter() - begun
        stages.append(
            {"megabytes": round(memory(), 1), "per_second": round(readings / STAGES / seconds)}
        )
    # The first quarter fills the caches of the libraries.
    early, late = stages[STAGES // 4 : STAGES // 2], stages[-STAGES // 4 :]
    return {
        "readings": readings,
        "engine": backend,
        "changed": changed,
        "growth_megabytes": round(_median(late, "megabytes") - _median(early, "megabytes"), 1),
        "speed_kept": round(_median(late, "per_second") / _median(early, "per_second"), 3),
        "stages": stages,
    }


def _median(stages: list[dict], name: str) -> float:
    return statistics.median(stage[name] for stage in stages)


def _text(reading: object) -> str | None:
    return None if isinstance(reading, ImageError) else reading.text


def main(arguments: list[str] | None = None) -> int:
    """Soak, print, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--backend", choices=BACKENDS, default="onnx")
    parser.add_argument("--output", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args(arguments)
    result = soak(options.readings, options.backend)
    print(json.dumps(result, indent=1))
    options.output.mkdir(parents=True, exist_ok=True)
    write_text(options.output / "soak.json", json.dumps(result, indent=1) + "\n")
    return 1 if result["changed"] or result["growth_megabytes"] > GROWTH else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
