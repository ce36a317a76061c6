"""The command `plate-ocr`: read plates, draw them, check them; train, export, calibrate.

Exit codes: 0 all done; 1 some images could not be read, or the check found problems; 2 nothing to
do or unusable arguments; 130 interrupted.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from plate_ocr import __version__
from plate_ocr.alphabet import DIGIT_COUNTS, PLATE_DIGITS
from plate_ocr.console import missing, prepare_console, share, weights_to_write, whole_number
from plate_ocr.dataset import (
    DatasetError,
    check_folder,
    draw_plates,
    generate,
    held_out,
    list_images,
    load_folder,
    mix,
)
from plate_ocr.engines import ENGINES
from plate_ocr.fonts import FontError
from plate_ocr.images import UnreadableImage
from plate_ocr.reader import PlateReader
from plate_ocr.rendering import DEFAULT_SEED
from plate_ocr.weights import WEIGHTS, WeightsError

STANDARD_INPUT = "-"


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    prepare_console()
    try:
        return options.run(options)
    except (DatasetError, FontError, UnreadableImage, WeightsError) as error:
        print(error, file=sys.stderr)
    except ImportError as error:
        print(missing(error), file=sys.stderr)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'error'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plate-ocr", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    read = commands.add_parser("read", help="read images: path, text and confidence a line")
    read.add_argument("paths", nargs="+", metavar="PATH", help="image, folder of images, or - ")
    layout = read.add_mutually_exclusive_group()
    layout.add_argument("--json", action="store_true", help="one JSON object a line")
    layout.add_argument("--csv", action="store_true", help="CSV with a header")
    _add_weights(read)
    read.add_argument(
        "--engine",
        choices=ENGINES,
        default="onnx",
        help="what runs the network; default: %(default)s",
    )
    read.add_argument(
        "--threads",
        type=whole_number,
        default=0,
        help="batches read at once, not with keras; by default one a core",
    )
    read.add_argument(
        "--min-confidence",
        type=share,
        default=0.0,
        help="0 to 1; mark readings below this as refused; default: %(default)s",
    )
    read.add_argument(
        "--careful", action="store_true", help="look five times more at what is not certain"
    )
    read.set_defaults(run=_read)

    draw = commands.add_parser("generate", help="draw a folder of plates")
    draw.add_argument(
        "directory",
        type=Path,
        help="where to write; train, validation and test have plates of their own, "
        "another name needs --start and --count",
    )
    draw.add_argument(
        "--start",
        type=int,
        help="first position in the shuffled list of all numbers",
    )
    draw.add_argument("--count", type=int, help="number of plates; by default all of the name")
    _add_seed(draw)
    _add_digits(draw, PLATE_DIGITS, "on a plate; more are drawn smaller; default: %(default)s")
    draw.set_defaults(run=_generate)

    draw_many = commands.add_parser("draw-many", help="draw any number on Ray, into Parquet")
    draw_many.add_argument("output", type=Path, help="a new folder")
    draw_many.add_argument("--start", type=int, default=0, help="first plate; default: %(default)s")
    draw_many.add_argument("--count", type=int, required=True, help="number of plates")
    _add_seed(draw_many)
    draw_many.set_defaults(run=_draw_many)

    read_many = commands.add_parser("read-many", help="read any number on Ray, into Parquet")
    read_many.add_argument("source", type=Path, help="folder of images or of Parquet files")
    read_many.add_argument("output", type=Path, help="a new folder")
    _add_weights(read_many)
    read_many.set_defaults(run=_read_many)

    check = commands.add_parser("check", help="check every image and record of a folder")
    check.add_argument("directory", type=Path, help="folder of labelled images")
    _add_digits(check, None, "on a plate; by default what the folder was drawn with, else 5")
    check.set_defaults(run=_check)

    train = commands.add_parser("train", help="train on a folder of plates, on one or many hosts")
    train.add_argument("directory", type=Path, help="labelled plates, the same on every host")
    train.add_argument("weights", type=weights_to_write, help="the HDF5 file to write")
    train.add_argument(
        "--recipe",
        default="shipped",
        help="shipped, described, quick, or fine_tuned for own plates; default: %(default)s",
    )
    train.add_argument("--initial-weights", type=Path, help="of a reader, to go on from")
    train.add_argument(
        "--checkpoints",
        type=Path,
        help="folder that every host sees; by default checkpoints/RECIPE",
    )
    train.add_argument("--coordinator", metavar="NAME:PORT", help="address of host 0; needs JAX")
    train.add_argument(
        "--hosts", type=int, default=1, help="how many run this command; default: %(default)s"
    )
    train.add_argument(
        "--host", type=int, default=0, help="which of them this is, from 0 on; default: %(default)s"
    )
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="write the weights as ONNX, or for phones")
    _add_weights(export)
    export.add_argument(
        "--format",
        choices=("onnx", "litert"),
        default="onnx",
        help="of the file; default: %(default)s",
    )
    export.set_defaults(run=_export)

    calibrate = commands.add_parser("calibrate", help="make the confidence of own weights honest")
    calibrate.add_argument("weights", type=Path, help="the HDF5 file, its export beside it")
    calibrate.add_argument("directory", type=Path, help="labelled plates it was not trained on")
    calibrate.set_defaults(run=_calibrate)
    return parser


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="HDF5 file; by default dr_model.h5"
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=whole_number,
        default=DEFAULT_SEED,
        help="shuffles the list, and decides how every plate looks; default: %(default)s",
    )


def _add_digits(command: argparse.ArgumentParser, default: int | None, help: str) -> None:
    command.add_argument("--digits", type=int, choices=DIGIT_COUNTS, default=default, help=help)


def _read(options: argparse.Namespace) -> int:
    names: list[str] = []
    empty = []
    for path in options.paths:
        try:
            names += _expand(path)
        except DatasetError as error:
            empty.append(error)
    if not names:
        raise empty[0]
    for error in empty:
        print(error, file=sys.stderr)
    reader = PlateReader(options.weights, options.engine, options.threads, options.careful)
    sources = (sys.stdin.buffer.read() if name == STANDARD_INPUT else name for name in names)
    write = _writer(options)
    unreadable = 0
    for name, reading in zip(
        names, _with_progress(reader.stream(sources), len(names)), strict=True
    ):
        if isinstance(reading, UnreadableImage):
            print(f"unreadable: {reading}", file=sys.stderr)
            unreadable += 1
            continue
        row = {"file": name, "text": reading.text, "confidence": round(reading.confidence, 6)}
        row["refused"] = reading.confidence < options.min_confidence
        write(row | {"digits": [digit._asdict() for digit in reading.digits]})
    sys.stdout.flush()
    return 1 if unreadable or empty else 0


def _expand(path: str) -> Iterator[str]:
    """A folder's images, or the path itself."""
    if path != STANDARD_INPUT and os.path.isdir(path):  # noqa: PTH112 (a Path raises errors)
        yield from map(str, list_images(path))
    else:
        yield path


def _with_progress(readings: Iterable[Any], total: int) -> Iterable[Any]:
    """With a bar on standard error where somebody watches it and the output goes elsewhere."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        return readings
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # reading goes without it
        return readings
    return tqdm(readings, total=total, unit=" plates", file=sys.stderr)


def _writer(options: argparse.Namespace) -> Callable[[dict], None]:
    if options.json:
        return lambda row: print(json.dumps(row))
    if options.csv:
        columns = csv.DictWriter(
            sys.stdout,
            ["file", "text", "confidence", "refused"],
            extrasaction="ignore",
            lineterminator="\n",
        )
        columns.writeheader()
        return lambda row: columns.writerow(row | {"confidence": f"{row['confidence']:.6f}"})
    return _print_line


def _print_line(row: dict) -> None:
    mark = "\trefused" if row["refused"] else ""
    print(f"{row['file']}\t{row['text']}\t{row['confidence']:.4f}{mark}")


def _generate(options: argparse.Namespace) -> int:
    records = generate(
        options.directory,
        start=options.start,
        count=options.count,
        seed=options.seed,
        digits=options.digits,
    )
    print(f"{options.directory}: {len(records):,} plates")
    return 0


def _draw_many(options: argparse.Namespace) -> int:
    from plate_ocr.scale import draw_many  # imports Ray

    draw_many(options.output, options.start, options.count, options.seed)
    print(f"{options.output}: {options.count:,} plates")
    return 0


def _read_many(options: argparse.Namespace) -> int:
    from plate_ocr.scale import read_many  # imports Ray

    unreadable = read_many(options.source, options.output, options.weights)
    print(f"{options.output}: {unreadable:,} images could not be read")
    return 1 if unreadable else 0


def _check(options: argparse.Namespace) -> int:
    problems = check_folder(options.directory, options.digits)
    print("\n".join(problems) or f"{options.directory}: no problems found")
    return 1 if problems else 0


def _train(options: argparse.Namespace) -> int:
    if options.coordinator:
        os.environ["KERAS_BACKEND"] = "jax"  # the backend of Keras that trains on several hosts
    from plate_ocr.hosts import ALONE, HostError, join
    from plate_ocr.training import (  # imports Keras
        RECIPES,
        TrainingError,
        fastest_precision,
        save_reader,
        train,
    )

    try:
        host = ALONE
        if options.coordinator:
            host = join(options.coordinator, options.host, options.hosts)
        elif (options.host, options.hosts) != (0, 1):
            raise HostError("--host, --hosts: no --coordinator, where they meet")
        recipe = RECIPES[options.recipe]
        plates = load_folder(options.directory)
        recipe = replace(recipe, plates=len(plates))
        if recipe.drawn_plates:
            plates = mix(plates, draw_plates(range(recipe.drawn_plates)))
        validation = draw_plates(held_out(recipe.validation_plates), without=plates.texts)
        checkpoints = options.checkpoints or Path("checkpoints", recipe.name)
        watched = validation.images[:8]
        model, state = train(
            *(plates, validation, recipe, checkpoints, watched),
            precision=fastest_precision(),
            initial_weights=options.initial_weights,
            host=host,
        )
        with host.saving(options.weights) as path:
            save_reader(model, path)
        print(f"{options.weights}: epoch {state['best_epoch']}, loss {state['best_loss']:.6f}")
    except (HostError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _export(options: argparse.Namespace) -> int:
    from plate_ocr.export import export_litert, export_onnx  # imports Keras

    export = export_litert if options.format == "litert" else export_onnx
    print(export(options.weights))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from plate_ocr.evaluation import calibrate  # not needed for reading

    print(f"{options.weights}: {calibrate(options.weights, options.directory)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
