"""Readings against truth: how many are right, on what, where they fail, and how sure they are."""

import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from plate_ocr.alphabet import DIGITS
from plate_ocr.calibration import (
    Calibration,
    area_under_roc,
    coverage_at_precision,
    expected_calibration_error,
    fit_calibration,
)
from plate_ocr.dataset import DatasetError, PlateSet, load_folder
from plate_ocr.decoding import Decoded
from plate_ocr.fonts import load_fonts
from plate_ocr.reader import PlateReader
from plate_ocr.rendering import SIZES, draw_glyphs
from plate_ocr.weights import check_weights, write_description

BENCHMARK = Path("data/benchmark")
# The sets and their files. `tuning` serves every choice; data/benchmark/README.md tells of two
# that others served.
SETS = {
    "unseen_fonts": ("unseen_fonts",),
    "conditions": tuple(f"conditions_{kind}" for kind in ("noise", "blur", "light", "damage")),
    "layout": ("layout",),
    "another_generator": ("another_generator",),
    "captcha": ("captcha",),
    "no_plate": ("no_plate",),
    "tuning": ("tuning",),
}
POOLED = ("unseen_fonts", "conditions", "layout", "another_generator")  # for calibration figures
PRECISION = 0.999  # at which coverage is told
FEWEST = 200  # plates to calibrate with
RAREST = 10  # of them read right, and wrong; from fewer mistakes the slopes came out 0.5 to 12
SHAPE_SIZE = 24  # pixels, of a digit stretched to a square


class BenchmarkError(ValueError):
    """A benchmark file cannot be used; the message names it."""


@dataclass(frozen=True)
class BenchmarkSet:
    """Plates that were drawn once to measure on."""

    images: np.ndarray  # uint8 (n, 64, 128, 1)
    texts: list[str]
    tags: dict[str, np.ndarray]  # font, kind, corruption, severity, layout, height: (n,) each

    @classmethod
    def of(cls, plates: PlateSet, *tags: str) -> "BenchmarkSet":
        """Drawn plates, or those of a folder, with some fields of their records as tags."""
        columns = {tag: np.array([record[tag] for record in plates.records]) for tag in tags}
        return cls(plates.images, plates.texts, columns)

    def sample(self, most: int) -> "BenchmarkSet":
        """At most so many plates, evenly from the whole set."""
        rows = np.unique(np.linspace(0, len(self.texts) - 1, most).astype(int))
        tags = {name: tag[rows] for name, tag in self.tags.items()}
        return BenchmarkSet(self.images[rows], [self.texts[row] for row in rows], tags)


@dataclass(frozen=True)
class Evaluated:
    """How the plates of a set were read; arrays have shape (n,)."""

    truths: list[str]
    texts: list[str]
    greedy: list[str]
    right: np.ndarray  # bool: all five digits
    text_probability: np.ndarray
    length_probability: np.ndarray
    tags: Mapping[str, np.ndarray]

    def where(self, chosen: np.ndarray) -> "Evaluated":
        """The plates at which `chosen`, bool (n,), is true."""
        rows = np.flatnonzero(chosen)
        return Evaluated(
            [self.truths[row] for row in rows],
            [self.texts[row] for row in rows],
            [self.greedy[row] for row in rows],
            self.right[rows],
            self.text_probability[rows],
            self.length_probability[rows],
            {name: tag[rows] for name, tag in self.tags.items()},
        )

    def confidence(self, calibration: Calibration) -> np.ndarray:
        """Calibrated confidences."""
        return calibration(self.text_probability, self.length_probability)

    def figures(self) -> dict[str, float]:
        """Rates are fractions of 0 to 1."""
        return {
            "images": len(self.truths),
            "exact": int(self.right.sum()),
            "exact_match": float(self.right.mean()),
            "exact_match_greedy": exact_match_rate(self.truths, self.greedy),
            "character_error_rate": character_error_rate(self.truths, self.texts),
        }


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


def evaluate(decode: Callable[[np.ndarray], Decoded], plates: BenchmarkSet) -> Evaluated:
    """Read a set.

    Args:
        decode: images to what they say, such as `PlateReader.decode`.
        plates: what to read.
    """
    decoded = decode(plates.images)
    right = np.array(list(map(str.__eq__, decoded.texts, plates.texts)))
    return Evaluated(
        plates.texts,
        decoded.texts,
        decoded.greedy,
        right,
        decoded.text_probability,
        decoded.length_probability,
        plates.tags,
    )


def calibrate(weights: Path | str, directory: Path | str) -> Calibration:
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
    read = evaluate(reader.decode, BenchmarkSet.of(plates))
    right, wrong = np.count_nonzero(read.right), np.count_nonzero(~read.right)
    if min(right, wrong) < RAREST:
        raise DatasetError(
            f"{directory}: {right} read right and {wrong} wrong; calibrating takes {RAREST} of each"
        )
    calibration = fit_calibration(read.text_probability, read.length_probability, read.right)
    write_calibration(weights, calibration)
    return calibration


def write_calibration(weights: Path | str, calibration: Calibration) -> None:
    """Put the calibration into the description of the weights, from where readers take it.

    Raises:
        WeightsError: the weights cannot be used.
    """
    weights = Path(weights)
    description = check_weights(weights) | {"calibration": asdict(calibration)}
    write_description(weights, description)


def pool(sets: Sequence[Evaluated]) -> Evaluated:
    """Several sets as one, without their tags."""
    return Evaluated(
        [truth for one in sets for truth in one.truths],
        [text for one in sets for text in one.texts],
        [text for one in sets for text in one.greedy],
        np.concatenate([one.right for one in sets]),
        np.concatenate([one.text_probability for one in sets]),
        np.concatenate([one.length_probability for one in sets]),
        {},
    )


def certainty_of(
    plates: Evaluated, no_plate: Evaluated, calibration: Calibration
) -> dict[str, float]:
    """How honest and how useful the confidence is: see `calibration` for the measures.

    Args:
        plates: readings of plates.
        no_plate: readings of pictures that should be refused.
        calibration: what makes their confidences.
    """
    confidence, right = plates.confidence(calibration), plates.right
    coverage, least = coverage_at_precision(confidence, right, PRECISION)
    refused = no_plate.confidence(calibration)
    return {
        "plates": len(confidence),
        "calibration_error": expected_calibration_error(confidence, right),
        "calibration_error_of_text_probability": expected_calibration_error(
            plates.text_probability, right
        ),
        "area_right_against_wrong": area_under_roc(confidence[right], confidence[~right]),
        "coverage_at_99.9_precision": coverage,
        "least_confidence_at_99.9_precision": least,
        "area_plate_against_no_plate": area_under_roc(confidence, refused),
    }


def right_by(one: Evaluated, *tags: str) -> dict[Hashable, tuple[int, int]]:
    """Right readings and plates of every tag, or combination of tags, the worst first."""
    columns = [one.tags[tag].tolist() for tag in tags]
    keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    groups: dict[Hashable, tuple[int, int]] = {}
    for key, is_right in zip(keys, one.right.tolist(), strict=True):
        hits, plates = groups.get(key, (0, 0))
        groups[key] = (hits + is_right, plates + 1)
    return dict(sorted(groups.items(), key=lambda item: item[1][0] / item[1][1]))


def digit_confusion(truths: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """How often a digit (row) was read as another (column), place by place: int (10, 10)."""
    counts = np.zeros((len(DIGITS), len(DIGITS)), dtype=int)
    for truth, text in zip(truths, texts, strict=True):
        if len(truth) == len(text):
            np.add.at(counts, ([int(c) for c in truth], [int(c) for c in text]), 1)
    return counts


def digit_shapes(images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The mean shape of every digit on clean plates, each digit stretched to a square.

    Plates whose digits overlap or break into parts across the columns are left out.

    Args:
        images: plates with dark ink on white, uint8 (n, 64, 128) or (n, 64, 128, 1).
        texts: what they show.

    Returns:
        float32 (10, 24, 24), ink 0 to 1; NaN for a digit that no plate shows.
    """
    total = np.zeros((len(DIGITS), SHAPE_SIZE, SHAPE_SIZE), np.float32)
    count = np.zeros(len(DIGITS))
    for image, text in zip(images, texts, strict=True):
        ink = 255 - image.reshape(image.shape[:2])
        columns = np.diff((ink > 100).any(axis=0).astype(np.int8), prepend=0, append=0)
        edges = np.flatnonzero(columns)
        if len(edges) != 2 * len(text):
            continue
        for digit, left, right in zip(map(int, text), edges[::2], edges[1::2], strict=True):
            rows = np.flatnonzero((ink[:, left:right] > 100).any(axis=1))
            glyph = ink[rows[0] : rows[-1] + 1, left:right]
            total[digit] += _stretch(glyph)
            count[digit] += 1
    with np.errstate(invalid="ignore"):
        return total / count[:, None, None]


def training_shapes() -> list[np.ndarray]:
    """The shapes of every instance of the training fonts, as `digit_shapes` gives them."""
    size = SIZES[-1]
    shapes = []
    for font in load_fonts():
        for axes in font.instances:
            glyphs = draw_glyphs(font.path, axes, size)
            shapes.append(np.stack([_stretch(glyph.ink) for glyph in glyphs]))
    return shapes


def _stretch(ink: np.ndarray) -> np.ndarray:
    import cv2  # only here: model_test.py starts without it

    square = (SHAPE_SIZE, SHAPE_SIZE)
    return cv2.resize(ink, square, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def shape_distance(shapes: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """How far a font's digits are from those of the nearest of other fonts.

    Args:
        shapes: as `digit_shapes` gives them.
        others: the same of every other font.

    Returns:
        Mean absolute difference of ink, 0 to 1, over digits that both fonts show.
    """
    return min(float(np.nanmean(np.abs(shapes - other))) for other in others)


def correlation_of(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's, of the pairs that are finite; `None` where either is the same in all."""
    pairs = np.array([first, second])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if (pairs == pairs[:, :1]).all(axis=1).any():
        return None
    return float(np.corrcoef(pairs)[0, 1])


def edit_distance(truth: str, text: str) -> int:
    """Fewest insertions, deletions and substitutions between two texts (Levenshtein 1966).

    >>> edit_distance("12345", "1345"), edit_distance("12345", "21345")
    (1, 2)
    """
    previous = list(range(len(text) + 1))
    for row, character in enumerate(truth, start=1):
        current = [row]
        for column, other in enumerate(text, start=1):
            current.append(
                min(
                    previous[column] + 1,
                    current[-1] + 1,
                    previous[column - 1] + (character != other),
                )
            )
        previous = current
    return previous[-1]


def exact_match_rate(truths: Sequence[str], texts: Sequence[str]) -> float:
    """The share of texts equal to the truth."""
    return sum(map(str.__eq__, truths, texts)) / len(truths)


def character_error_rate(truths: Sequence[str], texts: Sequence[str]) -> float:
    """Edit distance over the number of true characters, all plates together."""
    errors = sum(map(edit_distance, truths, texts))
    return errors / sum(map(len, truths))
