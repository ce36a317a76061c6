"""The benchmark sets, and what weights read on them."""

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from plate_ocr.evaluation.metrics import EvaluationResult
from plate_ocr.network.checkpoint import load_metadata, write_metadata
from plate_ocr.plates.dataset import DatasetError, PlateDataset, load_folder
from plate_ocr.reading.calibration import PlattScaling, fit_platt_scaling
from plate_ocr.reading.ctc import Predictions
from plate_ocr.reading.reader import PlateReader

BENCHMARK = Path("data/benchmark")
# The sets and their files. `tuning` serves every choice; data/benchmark/README.md tells of two
# that others served.
SETS = {
    "held_out_fonts": ("held_out_fonts",),
    "corruptions": tuple(f"corruptions_{kind}" for kind in ("noise", "blur", "light", "damage")),
    "layout": ("layout",),
    "cross_generator": ("cross_generator",),
    "captcha": ("captcha",),
    "no_plate": ("no_plate",),
    "tuning": ("tuning",),
}
POOLED = ("held_out_fonts", "corruptions", "layout", "cross_generator")  # for calibration figures
FEWEST = 200  # plates to calibrate with
RAREST = 10  # of them read right, and wrong; from fewer mistakes the slopes came out 0.5 to 12


class BenchmarkError(ValueError):
    """A benchmark file cannot be used; the message names it."""


@dataclass(frozen=True)
class BenchmarkSet:
    """Plates that were drawn once to measure on."""

    images: np.ndarray  # uint8 (n, 64, 128, 1)
    labels: list[str]
    tags: dict[str, np.ndarray]  # font, kind, corruption, severity, layout, height: (n,) each

    @classmethod
    def of(cls, plates: PlateDataset, *tags: str) -> "BenchmarkSet":
        """Drawn plates, or those of a folder, with some fields of their records as tags."""
        columns = {tag: np.array([record[tag] for record in plates.records]) for tag in tags}
        return cls(plates.images, plates.labels, columns)

    def sample(self, most: int) -> "BenchmarkSet":
        """At most so many plates, evenly from the whole set."""
        rows = np.unique(np.linspace(0, len(self.labels) - 1, most).astype(int))
        tags = {name: tag[rows] for name, tag in self.tags.items()}
        return BenchmarkSet(self.images[rows], [self.labels[row] for row in rows], tags)


def load_benchmark(name: str, directory: Path | str = BENCHMARK) -> BenchmarkSet:
    """Load one of `SETS`; of several files only tags that all have are kept.

    Raises:
        BenchmarkError: a file is missing or damaged.
    """
    files = []
    for stem in SETS[name]:
        path = Path(directory) / f"{stem}.npz"
        try:
            with np.load(path) as file:
                files.append({key: file[key] for key in file.files})
        except FileNotFoundError as error:
            raise BenchmarkError(f"{path}: there is no such file") from error
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            raise BenchmarkError(f"{path}: not a benchmark set ({error})") from error
        if not {"images", "texts"} <= files[-1].keys():
            raise BenchmarkError(f"{path}: not a benchmark set (has no images or no texts)")
    shared = set.intersection(*map(set, files))
    arrays = {key: np.concatenate([file[key] for file in files]) for key in sorted(shared)}
    images, texts = arrays.pop("images"), arrays.pop("texts")
    return BenchmarkSet(images[..., None], [str(text) for text in texts], arrays)


def evaluate(decode: Callable[[np.ndarray], Predictions], plates: BenchmarkSet) -> EvaluationResult:
    """Read a set.

    Args:
        decode: images to what they say, such as `PlateReader.decode`.
        plates: what to read.
    """
    decoded = decode(plates.images)
    right = np.array(list(map(str.__eq__, decoded.texts, plates.labels)))
    return EvaluationResult(
        plates.labels,
        decoded.texts,
        decoded.greedy_texts,
        right,
        decoded.text_probability,
        plates.tags,
    )


def calibrate(weights: Path | str, directory: Path | str) -> PlattScaling:
    """Make the confidence of weights honest for plates like those of a folder.

    Args:
        weights: the HDF5 file, its export beside it; its description takes the calibration.
        directory: labelled plates that it was not trained on.

    Raises:
        DatasetError: the plates are too few, too few of them are read right, or wrong; or as
            `load_folder`.
        UnreadableImage: as `load_folder`.
        WeightsError: the weights cannot be used.
    """
    reader = PlateReader(weights)
    plates = load_folder(directory, reader.digits)
    if len(plates) < FEWEST:
        raise DatasetError(f"{directory}: {len(plates)} plates; calibrating takes {FEWEST}")
    read = evaluate(reader.predict, BenchmarkSet.of(plates))
    right, wrong = np.count_nonzero(read.correct), np.count_nonzero(~read.correct)
    if min(right, wrong) < RAREST:
        raise DatasetError(
            f"{directory}: {right} read right and {wrong} wrong; calibrating takes {RAREST} of each"
        )
    calibration = fit_platt_scaling(read.text_probability, read.correct)
    write_calibration(weights, calibration)
    return calibration


def write_calibration(weights: Path | str, calibration: PlattScaling) -> None:
    """Put the calibration into the description of the weights, from where readers take it.

    Raises:
        WeightsError: the weights cannot be used.
    """
    weights = Path(weights)
    description = load_metadata(weights) | {"calibration": asdict(calibration)}
    write_metadata(weights, description)
