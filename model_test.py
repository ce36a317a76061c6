"""Restore dr_model.h5, decode a folder of plates, report the exact match, plot the predictions."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plate_ocr.cli import EXIT_CODES, add_reader_options, path_argument, print_error, run_command
from plate_ocr.evaluation.metrics import character_error_rate, exact_match_rate
from plate_ocr.network.checkpoint import WeightsError, origin
from plate_ocr.plates.images import ImageError, is_image_name, load_plate
from plate_ocr.plates.metadata import (
    METADATA_FILES,
    DatasetError,
    label_for,
    list_images,
    read_metadata,
)
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.reader import BATCH_SIZE, PlateReader, Reading
from plate_ocr.utils import check_writable, one_line, write_text

PLOT_FORMATS = (".png", ".jpg", ".pdf", ".svg")
MAX_SHOWN = 60  # plates in the plot, and rows of the table if no more are wrong


class Row(NamedTuple):
    """One image; the label is None if unknown, the reading if the image cannot be read."""

    path: Path
    label: str | None
    reading: Reading | None

    @property
    def wrong(self) -> bool:
        """Whether the label is known and was not read."""
        return self.label is not None and (self.reading is None or self.reading.text != self.label)


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_command(
        lambda: decode(parse_arguments(arguments)), DatasetError, ImageError, WeightsError
    )


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; invalid arguments exit with 2."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    default = "default: %(default)s"
    path = {"nargs": "?", "type": path_argument, "default": Path("data/test")}
    parser.add_argument("path", **path, help=f"folder of plates, or one image; {default}")
    parser.add_argument("--weights", type=path_argument, default=Path("dr_model.h5"), help=default)
    add_reader_options(parser, backend="keras")
    formats = ", ".join(PLOT_FORMATS)
    plot = Path("predictions.png")
    parser.add_argument("--plot", type=path_argument, default=plot, help=f"{formats}; {default}")
    parser.add_argument("--json", type=path_argument, help="file for summary and readings")
    options = parser.parse_args(arguments)
    if options.plot.suffix.lower() not in PLOT_FORMATS:
        parser.error(f"{options.plot}: must end in {formats}")
    return options


def decode(options: argparse.Namespace) -> int:
    """Do what the options ask for; 1 if images could not be read."""
    images = [options.path] if options.path.is_file() else list_images(options.path)
    check_outputs(options, images)
    print(f"restoring {options.weights} with {options.backend}", flush=True)
    reader = PlateReader(options.weights, options.backend, tta=options.tta)
    rows, images_per_second = read_images(reader, images)
    summary = summarize(rows, images_per_second)
    print_table(rows, options.min_confidence)
    print_summary(rows, summary, options.min_confidence)
    if options.json:
        write_json(options.json, options.weights, rows, summary)
    if summary["unreadable"] < len(rows):
        plot_predictions(options.plot, rows)
    return 1 if summary["unreadable"] else 0


def check_outputs(options: argparse.Namespace, images: list[Path]) -> None:
    """Refuse an output that would replace an input, lies among the images or cannot be written."""
    folder, weights = images[0].parent, options.weights
    inputs = [images[0], *(folder / name for name in METADATA_FILES)]
    inputs += [weights.with_suffix(suffix) for suffix in (".h5", ".json", ".onnx")]
    outputs = [output.resolve() for output in (options.plot, options.json) if output]
    for output in outputs:
        among_plates = options.path.is_dir() and output.parent == folder.resolve()
        if output in map(Path.resolve, inputs):
            raise DatasetError(f"{output}: is an input; choose another output")
        if among_plates and is_image_name(output.name):
            raise DatasetError(f"{output}: lies among the plates; choose another folder")
        if outputs.count(output) > 1:
            raise DatasetError(f"{output}: is the output of both --plot and --json")
        check_writable(output)


def read_images(reader: PlateReader, images: list[Path]) -> tuple[list[Row], float]:
    """Read the images of one folder; return a row for each, and images read per second."""
    records = read_metadata(images[0].parent)
    blank = np.full((PLATE_HEIGHT, PLATE_WIDTH), 255, np.uint8)
    reader.read([blank] * min(len(images), BATCH_SIZE))  # Keras compiles for every batch size
    start = time.perf_counter()
    readings = list(reader.stream(images))
    seconds = time.perf_counter() - start

    rows, unlabelled = [], []
    for path, reading in zip(images, readings, strict=True):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            reading = None
        try:
            label = label_for(path, records, reader.digits)
        except DatasetError:
            label = None
            # Without a table, names other than numbers are not meant as labels.
            if records or path.stem.isdigit():
                unlabelled.append(path)
        rows.append(Row(path, label, reading))
    if unlabelled:
        print_error(
            f"{len(unlabelled)} images without a label of {reader.digits} digits are not counted, "
            f"{unlabelled[0].name} first"
        )
    return rows, sum(row.reading is not None for row in rows) / seconds


def summarize(rows: list[Row], images_per_second: float) -> dict:
    """The summary; rates are fractions of all labelled images, unreadable ones counted wrong."""
    labels = [row.label for row in rows if row.label is not None]
    readings = [row.reading for row in rows if row.label is not None]
    texts = [reading.text if reading else "" for reading in readings]
    greedy_texts = [reading.greedy_text if reading else "" for reading in readings]
    return {
        "images": len(rows),
        "unreadable": sum(row.reading is None for row in rows),
        "exact_match": exact_match_rate(labels, texts) if labels else None,
        "exact_match_greedy": exact_match_rate(labels, greedy_texts) if labels else None,
        "character_error_rate": character_error_rate(labels, texts) if labels else None,
        "images_per_second": round(images_per_second, 1),
    }


def worst_first(rows: list[Row]) -> list[Row]:
    """The readable rows: wrong ones first, each group by rising confidence."""
    readable = [row for row in rows if row.reading]
    return sorted(readable, key=lambda row: (not row.wrong, row.reading.confidence))


def print_table(rows: list[Row], min_confidence: float) -> None:
    """Print a line per plate, the worst first: all that are wrong, and up to `MAX_SHOWN`."""
    ranked = worst_first(rows)
    shown = max(MAX_SHOWN, sum(row.wrong for row in ranked))
    print(f"{'file':24}{'label':8}{'text':8}{'confidence':>10}")
    for row in ranked[:shown]:
        confidence = row.reading.confidence
        cells = f"{one_line(row.path.name):24}{row.label or '-':8}{row.reading.text:8}"
        marks = ["  wrong"] * row.wrong + ["  rejected"] * (confidence < min_confidence)
        print(f"{cells}{confidence:10.2%}{''.join(marks)}")
    if len(ranked) > shown:
        print(f"... and {len(ranked) - shown} more")


def print_summary(rows: list[Row], summary: dict, min_confidence: float) -> None:
    """Print the rates."""
    if summary["exact_match"] is not None:
        labelled = sum(row.label is not None for row in rows)
        for decoding, name in (("", "exact_match"), ("greedy ", "exact_match_greedy")):
            correct = round(summary[name] * labelled)
            print(f"{decoding}exact match  {correct}/{labelled}  {100 * summary[name]:.2f} %")
        print(f"character error rate  {100 * summary['character_error_rate']:.2f} %")
    confidences = [row.reading.confidence for row in rows if row.reading]
    if confidences:
        print(f"mean confidence  {100 * np.mean(confidences):.2f} %")
    if min_confidence:
        rejected = sum(confidence < min_confidence for confidence in confidences)
        print(f"rejected  {rejected}/{len(confidences)}")
    print(f"images per second  {summary['images_per_second']:.0f}")


def write_json(path: Path, weights: Path, rows: list[Row], summary: dict) -> None:
    """Write the summary and the readings by these weights."""
    content = {"origin": origin(weights), "summary": summary, "readings": [], "unreadable": []}
    for row in rows:
        if row.reading:
            reading = {"file_name": row.path.name, "label": row.label, **vars(row.reading)}
            del reading["digits"]
            content["readings"].append(reading)
        else:
            content["unreadable"].append(row.path.name)
    write_text(path, json.dumps(content, indent=2) + "\n")


def plot_predictions(path: Path, rows: list[Row]) -> None:
    """Plot all plates in the order of `rows`, or the worst if they are too many."""
    from plate_ocr.evaluation import plots  # imports Matplotlib, which is slow

    readable = [row for row in rows if row.reading]
    wrong = [row.wrong for row in rows if row.label is not None]
    title = f"{wrong.count(False)} of {len(wrong)} correct" if wrong else f"{len(readable)} plates"
    if len(readable) > MAX_SHOWN:
        title += f"; the worst {MAX_SHOWN}"
        readable = worst_first(rows)[:MAX_SHOWN]
    images = np.stack([load_plate(row.path) for row in readable])
    labels, readings = zip(*((row.label, row.reading) for row in readable), strict=True)
    plots.save_figure(plots.prediction_grid(images, labels, readings, title), path)
    print(f"predictions plotted in {path}")
    plots.plt.show()  # in a notebook or a window, if there is one


if __name__ == "__main__":
    code = main()
    if code:  # under %run in a notebook, exit code 0 must not end the kernel
        sys.exit(code)
