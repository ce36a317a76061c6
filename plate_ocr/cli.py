"""The command `plate-ocr`: read plates, draw them, validate them; train, export, calibrate."""

import argparse
import csv
import io
import json
import os
import stat
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
    generate,
    held_out,
    list_images,
    load_folder,
    mix,
    render_plates,
    validate_dataset,
)
from plate_ocr.plates.fonts import FontError
from plate_ocr.plates.images import ImageError
from plate_ocr.plates.rendering import DEFAULT_SEED
from plate_ocr.reading.backends import BACKENDS
from plate_ocr.reading.reader import PlateReader
from plate_ocr.training.distributed import SINGLE_HOST, HostError, in_own_process, join
from plate_ocr.utils import missing_extra, one_line, try_to_write

# The only place that lists them; `--help` of every command ends with it.
EXIT_CODES = (
    "Exit codes: 0 all done, also where the reader of the output closed it; 1 some images could "
    "not be read, or problems were found; 2 nothing could be done, or arguments are unusable; "
    "130 interrupted."
)


def run_command(command: Callable[[], int | None], *refusals: type[Exception]) -> int:
    """Run a command to its exit code; what it cannot do ends it with one line on standard error.

    Args:
        command: what to run; it returns an exit code, or None for 0.
        refusals: errors whose message is that line.

    Returns:
        One of `EXIT_CODES`.
    """
    prepare_console()
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output has seen enough
        return 0
    except refusals as error:
        print_error(error)
    except ImportError as error:
        print_error(missing_extra(error))
    except OSError as error:
        print_error(f"{error.filename or 'error'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130
    finally:
        _drop_unwritable_output()
    return 2


def _drop_unwritable_output() -> None:
    """Empty the buffers, so that Python finds nothing to complain about when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_error(error: object) -> None:
    """Print a line on standard error, where somebody reads it."""
    with suppress(OSError):
        print(one_line(str(error)), file=sys.stderr)


def prepare_console() -> None:
    """Let standard streams be there, take any file name and show a warning as one line.

    Notes of libraries are kept off them.
    """
    # Closed when we start: Python has None there, and `print` would write errors among the output.
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"  # without a line of code
    warnings.filterwarnings("ignore", module="PIL")  # an image that is unreadable gets its line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's notes on this machine


def share(text: str) -> float:
    """An argument of 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be 0 to 1, not {text:.60}")
    return value


def non_negative_int(text: str) -> int:
    """An argument of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 or more, not {text:.60}")
    return int(text)


def path(text: str) -> Path:
    """An argument that names a file or folder; an empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, and is empty")
    return Path(text)


def output_file(text: str) -> Path:
    """An argument that names a file to write; refused before the work whose result it takes."""
    name = path(text)
    if not name.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {name.parent}")
    try:
        try_to_write(name)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror or error}") from error
    return name


def weights_output(text: str) -> Path:
    """An argument that names weights to write: Keras takes other endings for other formats."""
    if Path(text).suffix != ".h5" or text.endswith(".weights.h5"):
        raise argparse.ArgumentTypeError(f"must end in .h5, not in .weights.h5: {text:.60}")
    return Path(text)


STANDARD_INPUT = "-"
REFUSALS = (DatasetError, FontError, HostError, ImageError, WeightsError)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def command() -> int:
        options = _parser().parse_args(arguments)
        return options.run(options)

    return run_command(command, *REFUSALS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plate-ocr",
        description="Read plates, draw them, check them; train, export, calibrate.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    read = _add(
        *(commands, "read", "read images: path, text and confidence a line"),
        "Images are PNG, JPEG, BMP, WebP or TIFF files. Tabs separate the columns, unless another "
        "layout is asked for.",
    )
    read.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image, folder of images, or - for standard input",
    )
    layout = read.add_mutually_exclusive_group()
    layout.add_argument("--json", action="store_true", help="one JSON object a line")
    layout.add_argument("--csv", action="store_true", help="CSV with a header")
    _add_weights(read)
    read.add_argument(
        "--backend",
        choices=BACKENDS,
        default="onnx",
        help="what runs the network; default: %(default)s",
    )
    read.add_argument(
        "--num-threads",
        type=non_negative_int,
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
        "--tta",
        action="store_true",
        help="read what is not certain in five augmented views, too (test-time augmentation)",
    )
    read.set_defaults(run=_read)

    draw = _add(
        *(commands, "generate", "draw a folder of plates"),
        "It holds PNG files, metadata.jsonl and settings.json. Needs the extra [draw].",
    )
    draw.add_argument(
        "directory",
        type=path,
        help="where to write; train, validation, benchmark and test have plates of their own, "
        "another name needs --start and --count",
    )
    draw.add_argument(
        "--start",
        type=int,
        help="first position in the shuffled list of all numbers",
    )
    draw.add_argument("--count", type=int, help="number of plates; by default all of the name")
    _add_seed(draw)
    _add_digits(draw, NUM_DIGITS, "on a plate; more are drawn smaller; default: %(default)s")
    draw.set_defaults(run=_generate)

    draw_many = _add(
        *(commands, "draw-many", "draw any number on Ray, into Parquet"),
        "RAY_ADDRESS names the cluster, where it is not this machine. Needs the extra [ray].",
    )
    draw_many.add_argument("output", type=path, help="a new folder")
    draw_many.add_argument("--start", type=int, default=0, help="first plate; default: %(default)s")
    draw_many.add_argument("--count", type=int, required=True, help="number of plates")
    _add_seed(draw_many)
    draw_many.set_defaults(run=_draw_many)

    read_many = _add(
        *(commands, "read-many", "read any number on Ray, into Parquet"),
        "RAY_ADDRESS names the cluster, where it is not this machine. Needs the extra [ray].",
    )
    read_many.add_argument("source", type=path, help="folder of images, or what draw-many writes")
    read_many.add_argument("output", type=path, help="a new folder")
    _add_weights(read_many)
    read_many.set_defaults(run=_read_many)

    check = _add(
        *(commands, "check", "check every image and record of a folder"),
        "A label is the name of its file, or stands in metadata.jsonl or metadata.csv. One line a "
        "problem.",
    )
    check.add_argument("directory", type=path, help="folder of labelled images")
    _add_digits(check, None, "on a plate; by default what the folder was drawn with, else 5")
    check.set_defaults(run=_check)

    train = _add(
        *(commands, "train", "train on a folder of plates, on one or many hosts"),
        "Interrupted, it goes on from the last epoch. Needs the extra [train], and JAX for many.",
    )
    train.add_argument("directory", type=path, help="labelled plates, the same on every host")
    train.add_argument("weights", type=weights_output, help="the HDF5 file to write")
    train.add_argument(
        "--config",
        default="default",
        help="shipped, described, quick, or fine_tuned for own plates; default: %(default)s",
    )
    train.add_argument("--initial-weights", type=path, help="of a reader, to go on from")
    train.add_argument(
        "--checkpoints",
        type=path,
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

    export = _add(
        *(commands, "export", "write the weights as ONNX, or for phones"),
        "The file lies beside the weights: NAME.onnx or NAME.tflite. Needs the extra [train].",
    )
    _add_weights(export)
    export.add_argument(
        "--format",
        choices=("onnx", "litert"),
        default="onnx",
        help="to write; default: %(default)s",
    )
    export.set_defaults(run=_export)

    calibrate = _add(
        *(commands, "calibrate", "calibrate the confidence of own weights"),
        "The plates are 200 at least, of which 10 are read right and 10 are not. Needs the extra "
        "[train].",
    )
    calibrate.add_argument("weights", type=path, help="the HDF5 file, its export beside it")
    calibrate.add_argument("directory", type=path, help="labelled plates it was not trained on")
    calibrate.set_defaults(run=_calibrate)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    details: str,
) -> argparse.ArgumentParser:
    """Add a command; `what` it does stands in the list of all, `details` in its own help."""
    description = f"{what[0].upper()}{what[1:]}. {details}"
    return commands.add_parser(name, help=what, description=description, epilog=EXIT_CODES)


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights", type=path, default=DEFAULT_WEIGHTS, help="HDF5 file; by default dr_model.h5"
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=non_negative_int,
        default=DEFAULT_SEED,
        help="shuffles the list, and decides how every plate looks; default: %(default)s",
    )


def _add_digits(command: argparse.ArgumentParser, default: int | None, help: str) -> None:
    command.add_argument(
        "--digits", type=int, choices=SUPPORTED_LENGTHS, default=default, help=help
    )


def _read(options: argparse.Namespace) -> int:
    names: list[str] = []
    empty = []
    for name in options.paths:
        try:
            names += _expand(name)
        except DatasetError as error:
            print_error(error)
            empty.append(name)
    if not names:
        return 2
    reader = PlateReader(options.weights, options.backend, options.num_threads, options.tta)
    piped = _standard_input() if STANDARD_INPUT in names else None  # a stream has another thread
    sources = (piped if name == STANDARD_INPUT else name for name in names)
    write = _writer(options)
    unreadable = 0
    for name, reading in zip(
        names, _with_progress(reader.stream(sources), len(names)), strict=True
    ):
        if isinstance(reading, ImageError):
            print_error(f"unreadable: {reading}")
            unreadable += 1
            continue
        row = {"file": name, "text": reading.text, "confidence": round(reading.confidence, 6)}
        row["refused"] = reading.confidence < options.min_confidence
        write(row | {"digits": [digit._asdict() for digit in reading.digits]})
    return 1 if unreadable or empty else 0


def _standard_input() -> BytesIO:
    """All of it, under a name that an error can give."""
    file = BytesIO(sys.stdin.buffer.read())
    file.name = "standard input"
    return file


def _expand(name: str) -> list[str]:
    """The images of a folder, or the name of a file itself."""
    if name == STANDARD_INPUT:
        return [name]
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (an empty Path is the current folder)
    except OSError as error:
        raise DatasetError(f"{name}: {error.strerror}") from error
    return [*map(str, list_images(name))] if stat.S_ISDIR(mode) else [name]


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
    print(f"{one_line(row['file'])}\t{row['text']}\t{row['confidence']:.4f}{mark}")


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
    from plate_ocr.ray_data import draw_many  # imports Ray

    draw_many(options.output, options.start, options.count, options.seed)
    print(f"{options.output}: {options.count:,} plates")
    return 0


def _read_many(options: argparse.Namespace) -> int:
    from plate_ocr.ray_data import read_many  # imports Ray

    unreadable = read_many(options.source, options.output, options.weights)
    print(f"{options.output}: {unreadable:,} images could not be read")
    return 1 if unreadable else 0


def _check(options: argparse.Namespace) -> int:
    problems = validate_dataset(options.directory, options.digits)
    for line in problems or [f"{options.directory}: no problems found"]:
        print(one_line(line))
    return 1 if problems else 0


def _train(options: argparse.Namespace) -> int:
    if options.coordinator:
        os.environ["KERAS_BACKEND"] = "jax"  # the backend that trains on several hosts
        return in_own_process(partial(run_command, partial(_train_here, options), *REFUSALS))
    if (options.host, options.hosts) != (0, 1):
        raise HostError("--host, --hosts: no --coordinator, where they meet")
    return _train_here(options)


def _train_here(options: argparse.Namespace) -> int:
    from plate_ocr.training.config import TrainingError, get_config
    from plate_ocr.training.fit import best_dtype_policy, save_model, train

    try:
        config = get_config(options.config)
        host = SINGLE_HOST
        if options.coordinator:
            host = join(options.coordinator, options.host, options.hosts)
        with host.together():
            if host.index == 0:
                try_to_write(options.weights)
            plates = load_folder(options.directory)
            config = replace(config, plates=len(plates))
            if config.replay_plates:
                plates = mix(plates, render_plates(range(config.replay_plates)))
            validation = render_plates(held_out(config.val_plates), without=plates.labels)
            if not len(validation):
                raise TrainingError(f"{options.directory}: leaves no numbers to validate with")
            checkpoints = options.checkpoints or Path("checkpoints", config.name)
            model, state = train(
                *(plates, validation, config, checkpoints, validation.images[:8]),
                precision=best_dtype_policy(),
                initial_weights=options.initial_weights,
                host=host,
            )
            with host.saving(options.weights) as temporary:
                save_model(model, temporary)
        print(f"{options.weights}: epoch {state['best_epoch']}, loss {state['best_loss']:.6f}")
    except TrainingError as error:
        print_error(error)
        return 2
    return 0


def _export(options: argparse.Namespace) -> int:
    from plate_ocr.training.export import export_litert, export_onnx  # imports Keras

    export = export_litert if options.format == "litert" else export_onnx
    print(export(options.weights))
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    from plate_ocr.evaluation.benchmark import calibrate  # not needed for reading

    print(f"{options.weights}: {calibrate(options.weights, options.directory)}")
    return 0
