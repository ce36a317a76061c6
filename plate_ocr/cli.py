"""The command `plate-ocr`: every subcommand, its options and its handler."""

import argparse
import csv
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from plate_ocr import __version__
from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, WeightsError
from plate_ocr.plates.alphabet import NUM_DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.dataset import (
    DatasetError,
    generate_dataset,
    held_out_range,
    list_images,
    load_folder,
    mix_with_replay,
    render_plates,
    validate_dataset,
)
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.images import ImageError
from plate_ocr.plates.rendering import DEFAULT_SEED
from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.config import CONFIGS, TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, HostError, connect, run_in_subprocess
from plate_ocr.utils import check_writable, missing_extra, one_line

EXIT_CODES = (
    "Exit codes: 0 success; 1 some images could not be read, or problems were found; 2 invalid "
    "arguments, or nothing could be done; 130 interrupted."
)
ERRORS = (DatasetError, FontError, HostError, ImageError, TrainingError, WeightsError)
STANDARD_INPUT = "-"


def unit_interval(text: str) -> float:
    """An argument from 0 to 1."""
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text:.60}")


def non_negative_int(text: str) -> int:
    """An argument of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, not {text:.60}")
    return int(text)


def path_argument(text: str) -> Path:
    """An argument that names a file or folder; an empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, and is empty")
    return Path(text)


def weights_output(text: str) -> Path:
    """An argument that names weights to write; Keras chooses the file format by the suffix."""
    if Path(text).suffix != ".h5" or text.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(f"must end in .h5, not in .weights.h5: {text:.60}")
    return Path(text)


def add_reader_options(command: argparse.ArgumentParser, backend: str) -> None:
    """Add the options that `plate-ocr read` and `model_test.py` share."""
    command.add_argument(
        "--backend", choices=BACKENDS, default=backend, help="library; default: %(default)s"
    )
    command.add_argument(
        "--tta",
        action="store_true",
        help="read uncertain plates in augmented views as well (test-time augmentation)",
    )
    command.add_argument(
        "--min-confidence",
        type=unit_interval,
        default=0.0,
        metavar="P",
        help="mark readings below this, from 0 to 1, as rejected; default: %(default)s",
    )


# Options of several commands.
WEIGHTS: dict[str, Any] = {
    "type": path_argument,
    "default": DEFAULT_WEIGHTS,
    "help": "HDF5 file of trained weights; default: dr_model.h5",
}
SEED: dict[str, Any] = {
    "type": non_negative_int,
    "default": DEFAULT_SEED,
    "help": "of the order of numbers and of every plate; default: %(default)s",
}
DIGITS: dict[str, Any] = {"type": int, "choices": SUPPORTED_LENGTHS}
Add = Callable[..., argparse.ArgumentParser]  # see `build_parser`
Options = argparse.Namespace


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def command() -> int:
        options = build_parser().parse_args(arguments)
        return options.run(options)

    return run_command(command, *ERRORS)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the options of each hold its handler as `run`."""
    parser = argparse.ArgumentParser(
        prog="plate-ocr",
        description="Read number plates; draw and validate datasets; train, calibrate, export.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable, text: str) -> argparse.ArgumentParser:
        summary = text.partition(". ")[0]
        command = commands.add_parser(name, help=summary, description=text, epilog=EXIT_CODES)
        command.set_defaults(run=run)
        return command

    _add_read(add)
    _add_generate_and_validate(add)
    _add_train_and_fine_tune(add)
    _add_calibrate_and_export(add)
    _add_ray_commands(add)
    return parser


def _add_read(add: Add) -> None:
    command = add(
        "read",
        _read,
        "Read images. Prints path, text and confidence of each, separated by tabs. Images are "
        "PNG, JPEG, BMP, WebP or TIFF files.",
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="image, folder, or - for stdin")
    layout = command.add_mutually_exclusive_group()
    layout.add_argument("--json", action="store_true", help="print one JSON object per line")
    layout.add_argument("--csv", action="store_true", help="print CSV with a header")
    command.add_argument("--weights", **WEIGHTS)
    add_reader_options(command, backend="onnx")
    command.add_argument(
        "--num-threads",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="batches read in parallel, not with keras; default: one per core",
    )


def _read(options: Options) -> int:
    names: list[str] = []
    failures = 0
    for name in options.paths:
        try:
            if name != STANDARD_INPUT:
                os.stat(name)  # noqa: PTH116 (an empty Path is the current folder)
            names += map(str, list_images(name)) if os.path.isdir(name) else [name]  # noqa: PTH112
        except (DatasetError, OSError) as error:
            print_error(f"{name}: {error.strerror}" if isinstance(error, OSError) else error)
            failures += 1
    if not names:
        return 2
    reader = PlateReader(options.weights, options.backend, options.num_threads, options.tta)
    readings = reader.stream(
        _standard_input() if name == STANDARD_INPUT else name for name in names
    )
    write_row = _row_writer(options)
    for name, reading in zip(names, _with_progress(readings, len(names)), strict=True):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            failures += 1
            continue
        row = {"file": name, "text": reading.text, "confidence": round(reading.confidence, 6)}
        row["rejected"] = reading.confidence < options.min_confidence
        write_row(row | {"digits": [digit._asdict() for digit in reading.digits]})
    return 1 if failures else 0


def _standard_input() -> BytesIO:
    file = BytesIO(sys.stdin.buffer.read())
    file.name = "standard input"  # for error messages
    return file


def _with_progress(readings: Iterable[Any], total: int) -> Iterable[Any]:
    """Show a progress bar, if standard error is a terminal and the output goes elsewhere."""
    if sys.stderr.isatty() and not sys.stdout.isatty():
        with suppress(ModuleNotFoundError):  # optional for reading
            from tqdm import tqdm

            return tqdm(readings, total=total, unit=" plates", file=sys.stderr)
    return readings


def _row_writer(options: Options) -> Callable[[dict], None]:
    """The function that prints a row in the chosen layout."""
    if options.json:
        return lambda row: print(json.dumps(row))
    if options.csv:
        columns = ["file", "text", "confidence", "rejected"]
        table = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        return lambda row: table.writerow(row | {"confidence": f"{row['confidence']:.6f}"})
    return lambda row: print(
        f"{one_line(row['file'])}\t{row['text']}\t{row['confidence']:.4f}"
        + ("\trejected" if row["rejected"] else "")
    )


def _add_generate_and_validate(add: Add) -> None:
    command = add(
        "generate",
        _generate,
        "Draw a dataset of simulated plates. Writes PNG files, metadata.jsonl and settings.json. "
        "Needs the extra [draw].",
    )
    command.add_argument(
        "directory",
        type=path_argument,
        help="folder to write; train, validation, benchmark and test are splits without common "
        "plates, other names need --start and --count",
    )
    command.add_argument("--start", type=int, help="first position in the shuffled numbers")
    command.add_argument("--count", type=int, help="number of plates; default: the whole split")
    command.add_argument("--seed", **SEED)
    command.add_argument("--digits", default=NUM_DIGITS, **DIGITS, help="default: %(default)s")

    command = add(
        "validate",
        _validate,
        "Find unreadable images and wrong labels of a dataset. A label is the name of its file, "
        "or stands in metadata.jsonl or metadata.csv. Prints one line per problem.",
    )
    command.add_argument("directory", type=path_argument, help="folder of labelled images")
    command.add_argument("--digits", **DIGITS, help="default: as in settings.json, or 5")


def _generate(options: Options) -> int:
    records = generate_dataset(
        options.directory,
        start=options.start,
        count=options.count,
        seed=options.seed,
        digits=options.digits,
    )
    print(f"{options.directory}: {len(records):,} plates")
    return 0


def _validate(options: Options) -> int:
    problems = validate_dataset(options.directory, options.digits)
    for line in problems or [f"{options.directory}: no problems found"]:
        print(one_line(line))
    return 1 if problems else 0


def _add_train_and_fine_tune(add: Add) -> None:
    train = add(
        "train",
        _train,
        "Train on a folder of plates, on one or several hosts. An interrupted run resumes from "
        "its last epoch. Needs the extra [train], and [hosts] for several hosts, each of which "
        "runs the same command.",
    )
    fine_tune = add(
        "fine-tune",
        _fine_tune,
        "Adapt the shipped weights to your own plates. Trains with the configuration fine_tune, "
        "then exports, so that `plate-ocr read --weights` takes the new weights. Needs the extra "
        "[train].",
    )
    for command in (train, fine_tune):
        command.add_argument("directory", type=path_argument, help="folder of labelled plates")
        command.add_argument("weights", type=weights_output, help="HDF5 file to write")
    train.add_argument("--config", choices=CONFIGS, default="robust", help="default: %(default)s")
    train.add_argument(
        "--checkpoints",
        type=path_argument,
        metavar="DIRECTORY",
        help="where to resume from; all hosts share it; default: WEIGHTS with .checkpoints",
    )
    train.add_argument(
        "--initial-weights",
        type=path_argument,
        metavar="WEIGHTS",
        help="HDF5 file to go on from; default: fresh weights",
    )
    train.add_argument("--coordinator-address", metavar="HOST:PORT", help="of process 0")
    train.add_argument("--num-processes", type=int, default=1, metavar="N", help="hosts")
    train.add_argument("--process-id", type=int, default=0, metavar="I", help="this host, from 0")
    fine_tune.add_argument("--initial-weights", metavar="WEIGHTS", **WEIGHTS)
    fine_tune.set_defaults(
        config="fine_tune", checkpoints=None, coordinator_address=None, format="onnx"
    )


def _train(options: Options) -> int:
    if options.coordinator_address:
        os.environ["KERAS_BACKEND"] = "jax"  # the backend that trains on several hosts
        return run_in_subprocess(partial(run_command, partial(_train_here, options), *ERRORS))
    if (options.process_id, options.num_processes) != (0, 1):
        raise HostError("--process-id, --num-processes: need --coordinator-address")
    return _train_here(options)


def _train_here(options: Options) -> int:
    from plate_ocr.training.fit import best_dtype_policy, save_model, train  # imports Keras

    config, host = CONFIGS[options.config], SINGLE_HOST
    if options.coordinator_address:
        host = connect(options.coordinator_address, options.num_processes, options.process_id)
    with host.session():
        if host.is_first:
            check_writable(options.weights)
        plates = load_folder(options.directory)
        config = replace(config, plates=len(plates))
        if config.replay_plates:
            plates = mix_with_replay(plates, render_plates(range(config.replay_plates)))
        validation = render_plates(held_out_range(config.val_plates), exclude_labels=plates.labels)
        if not len(validation):
            raise TrainingError(f"{options.directory}: leaves no numbers to validate with")
        model, state = train(
            plates,
            validation,
            config,
            checkpoints=options.checkpoints or options.weights.with_suffix(".checkpoints"),
            probe_images=validation.images[:8],
            precision=best_dtype_policy(),
            initial_weights=options.initial_weights,
            host=host,
        )
        with host.save_on_first_host(options.weights) as temporary:
            save_model(model, temporary)
    print(f"{options.weights}: epoch {state['best_epoch']}, loss {state['best_loss']:.6f}")
    return 0


def _fine_tune(options: Options) -> int:
    _train_here(options)
    _export(options)
    shutil.rmtree(options.weights.with_suffix(".checkpoints"))  # a new folder is another run
    return 0


def _add_calibrate_and_export(add: Add) -> None:
    command = add(
        "calibrate",
        _calibrate,
        "Calibrate the confidence of your own weights. Takes at least 200 plates, of which 10 are "
        "read correctly and 10 are not. Needs the extra [train].",
    )
    command.add_argument("weights", type=path_argument, help="HDF5 file, its export beside it")
    command.add_argument("directory", type=path_argument, help="labelled plates, not trained on")

    command = add(
        "export",
        _export,
        "Export weights as ONNX, or as LiteRT for phones. Writes NAME.onnx or NAME.tflite beside "
        "the weights. Needs the extra [train].",
    )
    command.add_argument("--weights", **WEIGHTS)
    command.add_argument(
        "--format", choices=("onnx", "litert"), default="onnx", help="default: %(default)s"
    )


def _calibrate(options: Options) -> int:
    from plate_ocr.evaluation.benchmark import calibrate  # not needed for reading

    print(f"{options.weights}: {calibrate(options.weights, options.directory)}")
    return 0


def _export(options: Options) -> int:
    from plate_ocr.training.export import export_weights  # imports Keras

    print(export_weights(options.weights, options.format))
    return 0


def _add_ray_commands(add: Add) -> None:
    ray = "Ray runs on this machine, or on the cluster RAY_ADDRESS. Needs the extra [ray]."
    command = add("draw-many", _draw_many, f"Draw any number of plates into Parquet. {ray}")
    command.add_argument("output", type=path_argument, help="new folder")
    command.add_argument("--start", type=int, default=0, help="first plate; default: %(default)s")
    command.add_argument("--count", type=int, required=True, help="number of plates")
    command.add_argument("--seed", **SEED)

    command = add("read-many", _read_many, f"Read any number of images into Parquet. {ray}")
    command.add_argument("source", type=path_argument, help="folder of images, or of draw-many")
    command.add_argument("output", type=path_argument, help="new folder")
    command.add_argument("--weights", **WEIGHTS)


def _draw_many(options: Options) -> int:
    from plate_ocr.ray_data import draw_many  # imports Ray

    draw_many(options.output, options.start, options.count, options.seed)
    print(f"{options.output}: {options.count:,} plates")
    return 0


def _read_many(options: Options) -> int:
    from plate_ocr.ray_data import read_many  # imports Ray

    unreadable = read_many(options.source, options.output, options.weights)
    print(f"{options.output}: {unreadable:,} images could not be read")
    return 1 if unreadable else 0


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
        for stream in (sys.stdout, sys.stderr):  # on a full disk, Python's end shows a traceback
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 2


def _setup_console() -> None:
    """Replace closed standard streams, print any file name, and show a warning as one line."""
    # Python has None for a stream that was closed when it started.
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    warnings.filterwarnings("ignore", module="PIL")  # unreadable images are reported by us
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log lines of TensorFlow


def print_error(error: object) -> None:
    """Print one line on standard error."""
    with suppress(OSError):  # nobody reads it, or its disk is full
        print(one_line(str(error)), file=sys.stderr)
