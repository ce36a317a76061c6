"""Restore dr_model.h5, decode a folder of plates, report the exact match, plot the predictions."""

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plate_ocr.cli import EXIT_CODES, add_reader_options, path_argument, print_error, run_command
from plate_ocr.evaluation.metrics import character_error_rate, exact_match_rate
from plate_ocr.network.checkpoint import WeightsError, load_metadata, origin
from plate_ocr.plates.images import ImageError, is_image_name, load_plate
from plate_ocr.plates.metadata import (
    METADATA_FILES,
    DatasetError,
    label_for,
    list_images,
    read_metadata,
)
from plate_ocr.reading.reader import PlateReader, Reading
from plate_ocr.utils import check_writable, one_line, write_text

PLOT_FORMATS = (".png", ".jpg", ".pdf", ".svg")
MAX_SHOWN = 60  # plates in the plot, and rows of the table if no more are wrong


class Row(NamedTuple):
    """One image; its label is `None` if it is unknown, its reading empty if it cannot be read."""

    path: Path
    label: str | None
    reading: Reading

    @property
    def is_wrong(self) -> bool:
        """Whether the label is known and was not read."""
        return self.label is not None and self.reading.text != self.label


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return run_command(
        lambda: decode(parse_arguments(arguments)), DatasetError, ImageError, WeightsError
    )


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; invalid arguments exit with 2."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add, default = parser.add_argument, "default: %(default)s"
    text = f"folder of plates, or one image; {default}"
    add("path", nargs="?", type=path_argument, default=Path("data/test"), help=text)
    add("--weights", type=path_argument, default=Path("dr_model.h5"), help=default)
    add_reader_options(parser, backend="keras")
    formats = ", ".join(PLOT_FORMATS)
    add("--plot", type=path_argument, default=Path("predictions.png"), help=f"{formats}; {default}")
    add("--json", type=path_argument, help="file for summary and readings")
    options = parser.parse_args(arguments)
    if options.plot.suffix.lower() not in PLOT_FORMATS:
        parser.error(f"{options.plot}: must end in {formats}")
    return options


def decode(options: argparse.Namespace) -> int:
    """Do what the options ask for; 1 if images could not be read."""
    images = [options.path] if options.path.is_file() else list_images(options.path)
    records = read_metadata(images[0].parent)
    load_metadata(options.weights)  # bad inputs are found before an output is touched
    check_outputs(options, images)
    print(f"restoring {options.weights} with {options.backend}", flush=True)
    reader = PlateReader(options.weights, options.backend, tta=options.tta)
    rows = read_images(reader, images, records)
    summary = summarize(rows)
    print_table(rows, options.min_confidence)
    print_summary(rows, summary, options.min_confidence)
    if options.json:
        write_json(options.json, options.weights, rows, summary)
    if summary["unreadable"] < len(rows):
        plot_predictions(options.plot, rows)
    return 1 if summary["unreadable"] else 0


def check_outputs(options: argparse.Namespace, images: list[Path]) -> None:
    """Refuse an output that would replace an input, lies among the images or cannot be written."""
    folder, weights = images[0].parent.resolve(), options.weights
    inputs = [images[0], *(folder / name for name in METADATA_FILES)]
    inputs += [weights.with_suffix(suffix) for suffix in (".h5", ".json", ".onnx")]
    outputs = [output.resolve() for output in (options.plot, options.json) if output]
    for output in outputs:
        if output in [path.resolve() for path in inputs]:
            raise DatasetError(f"{output}: is an input; choose another output")
        if options.path.is_dir() and output.parent == folder and is_image_name(output.name):
            raise DatasetError(f"{output}: lies among the plates; choose another folder")
        if outputs.count(output) > 1:
            raise DatasetError(f"{output}: is the output of both --plot and --json")
    # Those in folders that exist come first: no folder is made if one of them is refused.
    for output in sorted(outputs, key=lambda output: not output.parent.exists()):
        check_writable(output)


def read_images(reader: PlateReader, images: list[Path], records: dict[str, dict]) -> list[Row]:
    """Read images, labeled by records or names; what cannot be used is named on standard error."""
    rows = []
    for path, reading in zip(images, reader.stream(images), strict=True):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            reading = Reading("", 0.0, (), "")
        label = None
        with suppress(DatasetError):
            label = label_for(path, records, reader.digits)
        rows.append(Row(path, label, reading))
    unlabeled = [row.path for row in rows if row.label is None]
    if not records:  # names other than numbers are not meant as labels
        unlabeled = [path for path in unlabeled if path.stem.isdigit()]
    if unlabeled:
        print_error(
            f"{len(unlabeled)} images without a label of {reader.digits} digits are not counted, "
            f"{unlabeled[0].name} first"
        )
    return rows


def summarize(rows: list[Row]) -> dict:
    """The summary; rates are fractions of all labeled images, unreadable ones counted wrong."""
    labeled = [row for row in rows if row.label is not None]
    labels = [row.label for row in labeled]
    texts = [row.reading.text for row in labeled]
    greedy_texts = [row.reading.greedy_text for row in labeled]
    return {
        "images": len(rows),
        "unreadable": sum(not row.reading.text for row in rows),
        "exact_match": exact_match_rate(labels, texts) if labels else None,
        "exact_match_greedy": exact_match_rate(labels, greedy_texts) if labels else None,
        "character_error_rate": character_error_rate(labels, texts) if labels else None,
    }


def worst_first(rows: list[Row]) -> list[Row]:
    """The readable rows: wrong ones first, each group by rising confidence."""
    readable = [row for row in rows if row.reading.text]
    return sorted(readable, key=lambda row: (not row.is_wrong, row.reading.confidence))


def print_table(rows: list[Row], min_confidence: float) -> None:
    """Print a line per plate, the worst first: all that are wrong, and up to `MAX_SHOWN`."""
    ranked = worst_first(rows)
    shown = max(MAX_SHOWN, sum(row.is_wrong for row in ranked))
    print(f"{'file':24}{'label':8}{'text':8}{'confidence':>10}")
    for row in ranked[:shown]:
        name, label, confidence = one_line(row.path.name), row.label or "-", row.reading.confidence
        line = f"{name:24}{label:8}{row.reading.text:8}{confidence:10.2%}"
        if row.is_wrong:
            line += "  wrong"
        if confidence < min_confidence:
            line += "  rejected"
        print(line)
    if len(ranked) > shown:
        print(f"... and {len(ranked) - shown} more")


def print_summary(rows: list[Row], summary: dict, min_confidence: float) -> None:
    """Print the rates."""
    if summary["exact_match"] is not None:
        labeled = sum(row.label is not None for row in rows)
        for decoding, name in (("", "exact_match"), ("greedy ", "exact_match_greedy")):
            correct = round(summary[name] * labeled)
            print(f"{decoding}exact match  {correct}/{labeled}  {100 * summary[name]:.2f}%")
        print(f"character error rate  {100 * summary['character_error_rate']:.2f}%")
    confidences = [row.reading.confidence for row in rows if row.reading.text]
    if confidences:
        print(f"mean confidence  {100 * np.mean(confidences):.2f}%")
    if min_confidence:
        rejected = sum(confidence < min_confidence for confidence in confidences)
        print(f"rejected  {rejected}/{len(confidences)}")


def write_json(path: Path, weights: Path, rows: list[Row], summary: dict) -> None:
    """Write the summary and the readings by these weights."""
    content = {"origin": origin(weights), "summary": summary, "readings": [], "unreadable": []}
    for row in rows:
        if row.reading.text:
            reading = {"file_name": row.path.name, "label": row.label, **vars(row.reading)}
            del reading["digits"]
            content["readings"].append(reading)
        else:
            content["unreadable"].append(row.path.name)
    write_text(path, json.dumps(content, indent=2) + "\n")


def plot_predictions(path: Path, rows: list[Row]) -> None:
    """Plot all plates in the order of `rows`, or the worst if they are too many."""
    from plate_ocr.evaluation import plots  # imports Matplotlib, which is slow

    plates = [row for row in rows if row.reading.text]
    labeled = [row for row in rows if row.label is not None]
    correct = sum(not row.is_wrong for row in labeled)
    title = f"{correct} of {len(labeled)} correct" if labeled else f"{len(plates)} plates"
    if len(plates) > MAX_SHOWN:
        title += f"; the worst {MAX_SHOWN}"
        plates = worst_first(rows)[:MAX_SHOWN]
    images = np.stack([load_plate(row.path) for row in plates])
    labels = [row.label for row in plates]
    readings = [row.reading for row in plates]
    plots.save_figure(plots.prediction_grid(images, labels, readings, title), path)
    print(f"predictions plotted in {path}")
    plots.plt.show()  # in a notebook or a window, if there is one


if __name__ == "__main__":
    code = main()
    if code:  # under %run in a notebook, exit code 0 must not end the kernel
        sys.exit(code)
