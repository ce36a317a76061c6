"""The command `plate-ocr`: read number plates; draw and validate datasets; train and export."""

import argparse
import csv
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from plate_ocr import __version__
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, WeightsError, load_metadata
from plate_ocr.plates import dataset
from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.images import ImageError
from plate_ocr.plates.metadata import check_unlabeled, write_proposals
from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.config import CONFIGS, FINE_TUNE, TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, HostError, connect, run_in_subprocess
from plate_ocr.utils import check_writable, missing_extra, one_line

EXIT_CODES = (
    "Exit codes: 0 success; 1 some images could not be read, or problems were found; 2 invalid "
    "arguments, or nothing could be done; 130 interrupted."
)
ERRORS = (dataset.DatasetError, FontError, HostError, ImageError, TrainingError, WeightsError)
Options = argparse.Namespace
Handler = Callable[[Options], int | None]  # -> exit code; its docstring is the command's help
AddCommand = Callable[[str, Handler], argparse.ArgumentParser]


def unit_interval(text: str) -> float:
    """An argument from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text}")
    return float(text)


def positive_number(text: str) -> float:
    """An argument above 0."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text}")
    return float(text)


def name_argument(text: str) -> str:
    """An argument that names a file or folder; an empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, and is empty")
    return text


def path_argument(text: str) -> Path:
    """The path of a file or folder."""
    return Path(name_argument(text))


def weights_output(text: str) -> Path:
    """An argument that names weights to write; Keras chooses the file format by the suffix."""
    if Path(text).suffix != ".h5" or text.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(f"must end in .h5, not in .weights.h5: {text}")
    return Path(text)


WEIGHTS = {"type": path_argument, "default": DEFAULT_WEIGHTS, "help": "default: dr_model.h5"}
DIGITS = {"type": int, "choices": SUPPORTED_LENGTHS, "metavar": "N"}


def add_reader_options(command: argparse.ArgumentParser, backend: str) -> None:
    """Add the options that `plate-ocr read` and `model_test.py` share."""
    add = command.add_argument
    add("--backend", choices=BACKENDS, default=backend, help="library; default: %(default)s")
    add("--tta", action="store_true", help="test-time augmentation of uncertain plates")
    threshold = "mark readings below this, from 0 to 1, as rejected; default: %(default)s"
    add("--min-confidence", type=unit_interval, default=0.0, metavar="P", help=threshold)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = build_parser().parse_args(arguments)
    return run_command(lambda: options.run(options), *ERRORS)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the options of each hold its handler as `run`."""
    parser = argparse.ArgumentParser(prog="plate-ocr", description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, run: Handler) -> argparse.ArgumentParser:
        text = run.__doc__ or ""
        summary = text.partition(".")[0]
        command = commands.add_parser(name, help=summary, description=text, epilog=EXIT_CODES)
        command.set_defaults(run=run)
        return command

    _add_data_commands(add_command)
    _add_weights_commands(add_command)
    return parser


def _add_data_commands(add_command: AddCommand) -> None:
    """Add the commands that read, draw and validate plates."""
    read = add_command("read", _read)
    read.add_argument(
        "paths", nargs="+", type=name_argument, metavar="PATH", help="image, folder, or - for stdin"
    )
    layout = read.add_mutually_exclusive_group()
    layout.add_argument("--json", action="store_true", help="print one JSON object per line")
    layout.add_argument("--csv", action="store_true", help="print CSV with a header")
    read.add_argument("--weights", **WEIGHTS)
    add_reader_options(read, backend="onnx")

    add = add_command("generate", _generate).add_argument
    add("directory", type=path_argument, help="train, validation, benchmark or test, or another")
    add("--start", type=int, help="first position in the shuffled numbers")
    add("--count", type=int, help="number of plates; default: the whole split")
    add("--digits", **DIGITS, default=NUM_DIGITS, help="on a plate, 4 to 7; default: 5")

    add = add_command("validate", _validate).add_argument
    add("directory", type=path_argument, help="folder of labeled images")
    add("--digits", **DIGITS, help="on a plate, 4 to 7; default: as in settings.json, or 5")

    add = add_command("label", _label).add_argument
    add("directory", type=path_argument, help="folder of images without metadata")
    add("--weights", **WEIGHTS)
    add("--digits", **DIGITS, help="on an image, 4 to 7; default: as many as the weights read")

    add = add_command("draw-many", _draw_many).add_argument
    add("output", type=path_argument, help="new folder")
    add("--start", type=int, default=0, help="first plate; default: %(default)s")
    add("--count", type=int, required=True, help="number of plates")

    add = add_command("read-many", _read_many).add_argument
    add("source", type=path_argument, help="folder of images, or of draw-many")
    add("output", type=path_argument, help="new folder")
    add("--weights", **WEIGHTS)


def _add_weights_commands(add_command: AddCommand) -> None:
    """Add the commands that make and change weights."""
    add = add_command("fine-tune", _fine_tune).add_argument
    add("directory", type=path_argument, help="folder of labeled images")
    output = "new folder for the weights and a report"
    add("--output", type=path_argument, required=True, metavar="FOLDER", help=output)
    validation = "labeled images that choose the epoch; default: a fifth of the images"
    add("--validation", type=path_argument, metavar="FOLDER", help=validation)
    minutes = f"about how long to train; default: {FINE_TUNE.epochs} epochs"
    add("--minutes", type=positive_number, metavar="M", help=minutes)
    add("--digits", **DIGITS, help="on an image, 4 to 7; default: as the initial weights read")
    add("--initial-weights", metavar="WEIGHTS", **WEIGHTS)

    train = add_command("train", _train)
    train.add_argument("directory", type=path_argument, help="folder of labeled plates")
    train.add_argument("weights", type=weights_output, help="HDF5 file to write")
    add = train.add_argument
    add("--config", choices=CONFIGS, default="robust", help="default: %(default)s")
    resume = "where to resume from; all hosts share it; default: WEIGHTS with .checkpoints"
    add("--checkpoints", type=path_argument, metavar="DIRECTORY", help=resume)
    text = "to start from, as robust does from those of described; default: fresh ones"
    add("--initial-weights", type=path_argument, metavar="WEIGHTS", help=text)
    add("--coordinator-address", metavar="HOST:PORT", help="of process 0")
    add("--num-processes", type=int, default=1, metavar="N", help="hosts")
    add("--process-id", type=int, default=0, metavar="I", help="this host, from 0")

    add = add_command("calibrate", _calibrate).add_argument
    add("weights", type=path_argument, help="HDF5 file, its export beside it")
    add("directory", type=path_argument, help="labeled plates, not trained on")

    add = add_command("export", _export).add_argument
    add("--weights", **WEIGHTS)


def _read(options: Options) -> int:
    """Read images. Prints path, text and confidence of each, separated by tabs.

    Images are PNG, JPEG, BMP, WebP or TIFF files.
    """
    paths, failures = [], 0
    for path in options.paths:
        try:  # Path.is_dir raises an error if the name is too long
            paths += dataset.list_images(path) if os.path.isdir(path) else [path]  # noqa: PTH112
        except dataset.DatasetError as error:
            print_error(error)
            failures += 1
    if not paths:
        return 2
    reader = PlateReader(options.weights, options.backend, tta=options.tta)
    write_row = _row_writer(options)
    sources = (_standard_input() if path == "-" else path for path in paths)
    for path, reading in zip(paths, reader.stream(sources), strict=True):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            failures += 1
            continue
        row = {"file": str(path), "text": reading.text, "confidence": round(reading.confidence, 6)}
        row["rejected"] = reading.confidence < options.min_confidence
        write_row(row | {"digits": [digit._asdict() for digit in reading.digits]})
    return 1 if failures else 0


def _standard_input() -> io.BytesIO:
    file = io.BytesIO(sys.stdin.buffer.read())
    file.name = "standard input"  # for error messages
    return file


def _row_writer(options: Options) -> Callable[[dict], Any]:
    """The function that prints a row in the chosen layout."""
    if options.json:
        return lambda row: print(json.dumps(row))
    if options.csv:
        columns = ["file", "text", "confidence", "rejected"]
        table = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        return table.writerow
    return lambda row: print(
        f"{one_line(row['file'])}\t{row['text']}\t{row['confidence']:.4f}"
        + ("\trejected" if row["rejected"] else "")
    )


def _generate(options: Options) -> None:
    """Draw a dataset of simulated plates. Writes PNG files, metadata.jsonl and settings.json.

    Folders named train, validation, benchmark and test are splits without common plates; others
    need --start and --count. Needs the extra [draw].
    """
    records = dataset.generate_dataset(
        options.directory, start=options.start, count=options.count, digits=options.digits
    )
    print(f"{options.directory}: {len(records):,} plates")


def _validate(options: Options) -> int:
    """Find unreadable images and wrong labels of a dataset. Prints one line per problem.

    A label is the name of its file, or stands in metadata.jsonl or metadata.csv.
    """
    problems = dataset.validate_dataset(options.directory, options.digits)
    for line in problems or [f"{options.directory}: no problems found"]:
        print(one_line(line))
    return 1 if problems else 0


def _label(options: Options) -> int:
    """Propose labels of images. Writes metadata.csv, with the least confident reading first.

    Correct its column text, as text: a spreadsheet drops leading zeros of numbers.
    """
    check_unlabeled(options.directory)
    reader, rows, failures = PlateReader(options.weights, digits=options.digits), [], 0
    for path, reading in reader.read_folder(options.directory):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            failures += 1
        else:
            rows.append((path.name, reading.text, round(reading.confidence, 4)))
    if not rows:
        return 2
    path = write_proposals(options.directory, sorted(rows, key=itemgetter(2)))
    print(f"{path}: {len(rows):,} images")
    return 1 if failures else 0


def _draw_many(options: Options) -> None:
    """Draw any number of plates into Parquet. Needs the extra [ray].

    Ray runs on this machine, or on the cluster RAY_ADDRESS.
    """
    from plate_ocr.ray_data import draw_many  # imports Ray

    draw_many(options.output, options.start, options.count)
    print(f"{options.output}: {options.count:,} plates")


def _read_many(options: Options) -> int:
    """Read any number of images into Parquet, on Ray as draw-many. Needs the extra [ray]."""
    from plate_ocr.ray_data import read_many  # imports Ray

    unreadable = read_many(options.source, options.output, options.weights)
    print(f"{options.output}: {unreadable:,} images could not be read")
    return 1 if unreadable else 0


def _train(options: Options) -> int | None:
    """Train on a folder of plates, on one or several hosts. Needs the extra [train].

    An interrupted run resumes from its last epoch. Several hosts need the extra [hosts], and all
    run the same command.
    """
    if options.coordinator_address:
        os.environ["KERAS_BACKEND"] = "jax"  # the backend that trains on several hosts
        return run_in_subprocess(lambda: run_command(lambda: _train_here(options), *ERRORS))
    if (options.process_id, options.num_processes) != (0, 1):
        raise HostError("--process-id, --num-processes: need --coordinator-address")
    return _train_here(options)


def _train_here(options: Options) -> None:
    _import_keras()
    from plate_ocr.training.fit import best_dtype_policy, train
    from plate_ocr.training.saving import save_model

    config, host = CONFIGS[options.config], SINGLE_HOST
    if options.coordinator_address:
        host = connect(options.coordinator_address, options.num_processes, options.process_id)
    with host.session():
        plates = dataset.load_folder(options.directory)
        config = replace(config, plates=len(plates))
        held_out = dataset.held_out_range(config.val_plates)
        validation = dataset.render_plates(held_out, exclude_labels=plates.labels)
        if not len(validation):
            raise TrainingError(f"{options.directory}: leaves no numbers to validate with")
        if options.initial_weights:
            load_metadata(options.initial_weights)
        if host.is_first:
            check_writable(options.weights)  # after what may be wrong, because it makes the folder
        model, state = train(
            plates,
            validation,
            config,
            checkpoints=options.checkpoints or options.weights.with_suffix(".checkpoints"),
            precision=best_dtype_policy(),
            initial_weights=options.initial_weights,
            host=host,
        )
        with host.save_on_first_host(options.weights) as path:
            save_model(model, path)
    print(f"{options.weights}: epoch {state['best_epoch']}, loss {state['best_loss']:.6f}")


def _fine_tune(options: Options) -> int:
    """Teach the reader labeled images of your own. Needs the extra [train].

    Writes dr_model.h5 with its export, report.md and report.png. An interrupted run goes on.
    """
    digits = options.digits or load_metadata(options.initial_weights)["digits"]
    folders = filter(None, (options.directory, options.validation))
    problems = [line for folder in folders for line in dataset.validate_dataset(folder, digits)]
    for line in problems:
        print_error(line)
    if problems:
        return 2
    _import_keras()
    from plate_ocr.evaluation.fine_tuning import fine_tune_and_report, markdown

    report = fine_tune_and_report(
        options.directory,
        options.output,
        validation_folder=options.validation,
        minutes=options.minutes,
        digits=digits,
        initial_weights=options.initial_weights,
        config=FINE_TUNE,
    )
    print(f"\n{markdown(report)}\n{options.output}: holds the weights, report.md and report.png")
    return 0


def _calibrate(options: Options) -> None:
    """Calibrate the confidence of your own weights. Needs the extra [train].

    The more plates are read wrongly, the more the confidence may change.
    """
    from plate_ocr.training.calibrate import calibrate  # not needed for reading

    plates = dataset.load_folder(options.directory, load_metadata(options.weights)["digits"])
    print(f"{options.weights}: {calibrate(options.weights, plates)}")


def _export(options: Options) -> None:
    """Export weights as ONNX, NAME.onnx beside them. Needs the extra [train]."""
    _import_keras()
    from plate_ocr.training.export import export_weights

    print(export_weights(options.weights))


def _import_keras() -> None:
    """Import Keras, without what TensorFlow 2.21 logs then whatever its log level."""
    standard_error = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras  # noqa: F401
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def run_command(command: Callable[[], int | None], *errors: type[Exception]) -> int:
    """Run a command and return its exit code; these errors become one line on standard error."""
    _setup_console()
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has seen enough
        return 0
    except errors as error:
        print_error(error)
    except ImportError as error:
        print_error(missing_extra(error))
    except OSError as error:
        print_error(f"{error.filename or 'error'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # on a full disk, Python's end would show a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2


def _setup_console() -> None:
    """Print any file name, show a warning as one line, and silence libraries."""
    with suppress(AttributeError):  # a notebook's
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be valid text
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    warnings.filterwarnings("ignore", module="PIL")  # unreadable images are reported by us
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow


def print_error(error: object) -> None:
    """Print one line on standard error."""
    with suppress(OSError):  # nobody reads it, or its disk is full
        print(one_line(str(error)), file=sys.stderr)
