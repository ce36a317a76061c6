"""PlateReader: weights and any image -> five digits and how sure they are."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plate_ocr import resources
from plate_ocr.alphabet import DIGITS, encode
from plate_ocr.decoding import five_digit_decode, greedy_decode, text_log_probability
from plate_ocr.images import ImageSource, load_plate
from plate_ocr.rendering import PLATE_HEIGHT, PLATE_WIDTH

WEIGHTS = resources.find("dr_model.h5")
BATCH = 64


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Reading:
    """What the network reads on one plate."""

    text: str  # exactly five digits
    confidence: float  # P(text | image) under CTC, 0 to 1
    greedy: str  # plain greedy decoding, any number of digits


class PlateReader:
    """Reads plates with the weights of `dr_model.h5`.

    Args:
        weights: the HDF5 file; `<name>.json` beside it holds its hash and what it was made for.

    Raises:
        WeightsError: a file is missing, damaged, changed, or made for another network.

    """

    def __init__(self, weights: Path | str = WEIGHTS, engine: str = "keras"):
        weights = Path(weights)
        check_weights(weights)
        # Not at the top of the module: the checks above answer without the slow import.
        from plate_ocr.model import build_model

        self.model = build_model()
        try:
            self.model.load_weights(weights)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{weights}: does not hold this network ({reason})") from error

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Run the network: uint8 (n, 64, 128, 1) -> float32 logits (n, 32, 11)."""
        return np.asarray(self.model.predict(images, batch_size=BATCH, verbose=0))

    def read(self, source: ImageSource | Sequence[ImageSource]) -> Reading | list[Reading]:
        """Read one image, or a list of images.

        Args:
            source: what `images.load_plate` takes, or a list or tuple of such.

        Returns:
            One reading, or a list of them in the same order.

        Raises:
            UnreadableImage: an image cannot be read; it is named.

        """
        if not isinstance(source, list | tuple):
            return self.read([source])[0]
        readings: list[Reading] = []
        for group in batched_sources(source, BATCH):
            images = np.stack([load_plate(one) for one in group])
            readings += readings_from_logits(self.logits(images[..., None]))
        return readings


def batched_sources(sources: Sequence[ImageSource], size: int) -> Iterator[Sequence[ImageSource]]:
    """Slices of at most `size` sources."""
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def readings_from_logits(logits: np.ndarray) -> list[Reading]:
    """Logits (n, 32, 11) -> n readings."""
    texts, _ = five_digit_decode(logits)
    confidences = np.exp(text_log_probability(logits, encode(texts)))
    return [
        Reading(text, float(confidence), greedy)
        for text, confidence, greedy in zip(texts, confidences, greedy_decode(logits), strict=True)
    ]


def check_weights(weights: Path) -> dict:
    """Compare a weights file with its description before any parser opens it.

    Returns:
        The description, `<name>.json`.

    Raises:
        WeightsError: either file is missing or unreadable, the weights differ from the hash, or
            were made for another alphabet or image size.

    """
    path = weights.with_suffix(".json")
    try:
        content = weights.read_bytes()
        description = json.loads(path.read_text(encoding="utf-8"))
        expected = description["sha256"][weights.name]
        made_for = (description["alphabet"], list(description["image"]))
    except OSError as error:
        raise WeightsError(f"{error.filename}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: does not describe {weights.name}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise WeightsError(f"{weights}: truncated or changed, its SHA-256 is not that of {path}")
    if made_for != (DIGITS, [PLATE_HEIGHT, PLATE_WIDTH]):
        raise WeightsError(f"{path}: made for another alphabet or image size: {made_for}")
    return description
