"""Restore dr_model.h5, read a folder of plates or one, report how well, draw the predictions."""

import argparse
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plate_ocr.cli import EXIT_CODES, output_file, path, print_error, run_command, share
from plate_ocr.evaluation.metrics import character_error_rate, exact_match_rate
from plate_ocr.network.checkpoint import WeightsError
from plate_ocr.plates.dataset import (
    METADATA_FILES,
    DatasetError,
    label_for,
    list_images,
    read_metadata,
)
from plate_ocr.plates.images import ImageError, is_image_name, load_plate
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import BATCH_SIZE, PlateReader, Reading
from plate_ocr.utils import one_line, write_text

PICTURES = (".png", ".jpg", ".pdf", ".svg")
# Matplotlib keeps a list of fonts, which goes here and not into the home folder.
os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).parent / ".cache" / "matplotlib"))
SHOWN = 60  # plates of the plot, and rows of the table where no more are wrong


class Row(NamedTuple):
    """One image; `reading` is None where it cannot be read."""

    path: Path
    label: str | None
    reading: Reading | None

    @property
    def wrong(self) -> bool:
        """Whether the label is known and not what was read."""
        return self.label is not None and (self.reading is None or self.reading.text != self.label)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; unusable arguments exit with 2."""
    parser = argparse.ArgumentParser(
        description="Read plates with trained weights, report how well, and draw the predictions.",
        epilog=EXIT_CODES,
    )
    default = "default: %(default)s"
    parser.add_argument(
        "plates",
        nargs="?",
        type=path,
        default=Path("data/test"),
        metavar="PATH",
        help=f"folder of plates, or one image; {default}",
    )
    parser.add_argument(
        "--weights", type=path, default=Path("dr_model.h5"), help=f"HDF5 file; {default}"
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, default="keras", help=f"what runs it; {default}"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="read what is not certain in five augmented views, too (test-time augmentation)",
    )
    parser.add_argument(
        "--plot",
        type=output_file,
        default="predictions.png",
        help=f"picture to draw, {', '.join(PICTURES)}; {default}",
    )
    parser.add_argument(
        "--json", type=output_file, help="also write summary and readings to this file"
    )
    parser.add_argument(
        "--min-confidence",
        type=share,
        default=0.0,
        help=f"0 to 1; mark readings below this as refused; {default}",
    )
    options = parser.parse_args(arguments)
    if options.plot.suffix.lower() not in PICTURES:
        parser.error(f"{options.plot}: not a kind of picture; take {', '.join(PICTURES)}")
    return options


def check_outputs(options: argparse.Namespace, images: list[Path]) -> None:
    """Refuse to write over what is read, or an image among the plates of a folder.

    Raises:
        DatasetError: an output would; it is named.
    """
    folder, weights = images[0].parent.resolve(), options.weights.resolve()
    read = {images[0].resolve()} | {folder / name for name in METADATA_FILES}
    read |= {weights.parent / f"{weights.stem}{ending}" for ending in (".h5", ".json", ".onnx")}
    outputs = [output for output in (options.plot, options.json) if output]
    places = [output.resolve() for output in outputs]
    for output, place in zip(outputs, places, strict=True):
        if place in read:
            raise DatasetError(f"{output}: is read here; choose another to write")
        if options.plates.is_dir() and place.parent == folder and is_image_name(place.name):
            raise DatasetError(f"{output}: would lie among the plates; choose another place")
    if len(set(places)) < len(places):
        raise DatasetError(f"{options.json}: is named for the picture and for the readings")


def read_plates(images: list[Path], reader: PlateReader) -> tuple[list[Row], float]:
    """Read images of one folder; unreadable ones are named on stderr and kept as rows.

    Returns:
        The rows in name order, and images read a second (decoding of files included).
    """
    records = read_metadata(images[0].parent)
    blank = np.full((PLATE_HEIGHT, PLATE_WIDTH), 255, np.uint8)
    # The first batch of a size is compiled for; that is not timed.
    reader.read([blank] * min(len(images), BATCH_SIZE))
    begun = time.perf_counter()
    rows = []
    for image, reading in zip(images, reader.stream(images), strict=True):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            reading = None
        rows.append(Row(image, label_for(image.name, records, reader.digits), reading))
    left_out = [row.path for row in rows if row.label is None]
    if not records:  # names that are no numbers are no labels
        left_out = [path for path in left_out if path.stem.isdigit()]
    if left_out:
        print_error(
            f"{len(left_out)} images have no label of {reader.digits} digits and count for "
            f"nothing, {left_out[0].name} first"
        )
    read = sum(row.reading is not None for row in rows)
    return rows, read / (time.perf_counter() - begun)


def summary_of(rows: list[Row], images_per_second: float) -> dict:
    """The summary; rates are over all labelled files, unreadable ones counted wrong."""
    labelled = [row for row in rows if row.label is not None]
    labels = [row.label for row in labelled]
    texts = [row.reading.text if row.reading else "" for row in labelled]
    greedy = [row.reading.greedy_text if row.reading else "" for row in labelled]
    return {
        "images": len(rows),
        "unreadable": sum(row.reading is None for row in rows),
        "exact_match": exact_match_rate(labels, texts) if labelled else None,
        "exact_match_greedy": exact_match_rate(labels, greedy) if labelled else None,
        "character_error_rate": character_error_rate(labels, texts) if labelled else None,
        "images_per_second": round(images_per_second, 1),
    }


def worst_first(rows: list[Row]) -> list[Row]:
    """Those that are read: the wrong ones first, and of these and the others the least sure."""
    read = [row for row in rows if row.reading]
    return sorted(read, key=lambda row: (not row.wrong, row.reading.confidence))


def report(rows: list[Row], summary: dict, min_confidence: float) -> None:
    """Print the table, worst first, and the summary."""
    read = worst_first(rows)
    shown = max(SHOWN, sum(row.wrong for row in read))
    print(f"{'file':24}{'label':8}{'text':8}{'confidence':>10}")
    for row in read[:shown]:
        mark = "  wrong" if row.wrong else ""
        mark += "  refused" if row.reading.confidence < min_confidence else ""
        print(
            f"{one_line(row.path.name):24}{row.label or '-':8}{row.reading.text:8}"
            f"{row.reading.confidence:10.2%}{mark}"
        )
    if len(read) > shown:
        print(f"... and {len(read) - shown} more")
    if summary["exact_match"] is not None:
        labelled = sum(row.label is not None for row in rows)
        for decoding, key in (("", "exact_match"), ("greedy ", "exact_match_greedy")):
            right = round(summary[key] * labelled)
            print(f"{decoding}exact match  {right}/{labelled}  {100 * summary[key]:.2f} %")
        print(f"character error rate  {100 * summary['character_error_rate']:.2f} %")
    if read:
        mean = sum(row.reading.confidence for row in read) / len(read)
        print(f"mean confidence  {100 * mean:.2f} %")
    if min_confidence:
        refused = sum(row.reading.confidence < min_confidence for row in read)
        print(f"refused  {refused}/{len(read)}")
    print(f"images per second  {summary['images_per_second']:.0f}")


def write_json(path: Path, rows: list[Row], summary: dict) -> None:
    """Write summary and readings; the file is whole or not there."""
    readings = [
        {
            "file_name": row.path.name,
            "label": row.label,
            "text": row.reading.text,
            "confidence": row.reading.confidence,
            "greedy_text": row.reading.greedy_text,
        }
        for row in rows
        if row.reading
    ]
    unreadable = [row.path.name for row in rows if not row.reading]
    written = {"summary": summary, "readings": readings, "unreadable": unreadable}
    write_text(path, json.dumps(written, indent=2) + "\n")


def draw(path: Path, rows: list[Row], summary: dict) -> None:
    """Save the plot of all plates in name order, or of the worst where there are too many.

    Shows it in a notebook or a window where there is one.
    """
    import matplotlib.pyplot as plt  # slow, and needed only here

    from plate_ocr.evaluation.plots import prediction_grid, save_figure

    read = [row for row in rows if row.reading]
    title = f"{len(read)} plates"
    if len(read) > SHOWN:
        title = f"{SHOWN} of {title}, worst first"
        read = worst_first(rows)[:SHOWN]
    if summary["exact_match"] is not None:
        title += f": {100 * summary['exact_match']:.2f} % of all labelled read exactly"
    figure = prediction_grid(
        np.stack([load_plate(row.path) for row in read]),
        [row.label for row in read],
        [row.reading for row in read],
        title,
    )
    save_figure(figure, path)
    print(f"predictions drawn in {path}")
    plt.show()  # does nothing where there is no display


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def command() -> int:
        options = parse_arguments(arguments)
        # Before the slow import.
        images = [options.plates] if options.plates.is_file() else list_images(options.plates)
        check_outputs(options, images)
        if find_spec("matplotlib") is None:
            raise ModuleNotFoundError("no picture without it", name="matplotlib")
        print(f"restoring {options.weights} with {options.backend}", flush=True)
        reader = PlateReader(options.weights, options.backend, tta=options.tta)
        rows, images_per_second = read_plates(images, reader)
        summary = summary_of(rows, images_per_second)
        report(rows, summary, options.min_confidence)
        if options.json:
            write_json(options.json, rows, summary)
        if summary["unreadable"] < len(rows):
            draw(options.plot, rows, summary)
        return 1 if summary["unreadable"] else 0

    return run_command(command, DatasetError, ImageError, WeightsError)


if __name__ == "__main__":
    code = main()
    if code:  # under %run in a notebook, a clean end leaves the kernel alone
        sys.exit(code)
