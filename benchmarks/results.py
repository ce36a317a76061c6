"""The files results/NAME.json, in which benchmarks keep what they measured."""

import json

from benchmarks.environments import RESULTS
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, origin
from plate_ocr.utils import check_writable, write_text


def check_result(name: str) -> None:
    """Check that results/NAME.json can be written, before anything is measured; or `OSError`."""
    check_writable(RESULTS / f"{name}.json")


def write_result(name: str, measured: dict) -> None:
    """Write results/NAME.json: the shipped weights, the machine and the date, then the figures."""
    result = {"origin": origin(DEFAULT_WEIGHTS), **measured}
    write_text(RESULTS / f"{name}.json", json.dumps(result, indent=1) + "\n")
