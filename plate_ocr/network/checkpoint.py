"""Weights on disk: `<name>.h5`, its metadata `<name>.json` and its export `<name>.onnx`."""

import hashlib
import json
import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from plate_ocr.plates.alphabet import DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import printable, processor_name, resource_path, write_text

if TYPE_CHECKING:
    import keras

DEFAULT_WEIGHTS = resource_path("dr_model.h5")
OUTDATED_EXPORT = "exported by another version of plate_ocr; export the weights again"


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and what is wrong."""


def load_metadata(weights: Path) -> dict:
    """Read `<name>.json` and verify the weights by it, before any parser opens them.

    Raises:
        WeightsError: either file is missing, unreadable or changed, or the weights are for another
            alphabet, image size or number of digits.
    """
    if not os.path.isfile(weights):  # noqa: PTH113 (false, too, for a name that is too long)
        raise WeightsError(f"{printable(str(weights))}: there is no such file")
    if weights.suffix != ".h5":
        raise WeightsError(f"{weights}: not weights; give the HDF5 file, {weights.stem}.h5")
    path = weights.with_suffix(".json")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        made_for = metadata["alphabet"], metadata["image"]
        digits, sha256 = metadata["digits"], metadata["sha256"][weights.name]
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}; {weights.name} needs it") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: not the metadata of {weights.name}") from error
    if made_for != (DIGITS, [PLATE_HEIGHT, PLATE_WIDTH]) or digits not in SUPPORTED_LENGTHS:
        raise WeightsError(f"{path}: not made for plates as here: {digits} digits of {made_for}")
    read_verified(weights, sha256)
    return metadata


def write_metadata(weights: Path, metadata: dict) -> None:
    """Write `<name>.json` beside the weights."""
    write_text(weights.with_suffix(".json"), json.dumps(metadata, indent=2) + "\n")


def origin(weights: Path | str) -> dict[str, str]:
    """What a result is measured with, and when; for the file of the result."""
    from plate_ocr import __version__  # set after this module is imported

    weights = Path(weights)
    return {
        "weights": load_metadata(weights)["sha256"][weights.name],
        "version": __version__,
        "machine": processor_name(),
        "date": date.today().isoformat(),
    }


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_verified(path: Path, sha256: str | None) -> bytes:
    """Read a file; raise WeightsError if it cannot be read, or has another SHA-256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(f"{path}: truncated or changed; its SHA-256 does not match")
    return content


def load_model(weights: Path, metadata: dict, use_cudnn: str | bool = "auto") -> "keras.Model":
    """Build the network and load weights that `load_metadata` has verified.

    Raises:
        WeightsError: the weights are of another network.
    """
    # Not at the top of the module: importing Keras takes seconds.
    from plate_ocr.network.crnn import architecture_hash, build_model

    model = build_model(use_cudnn)
    if metadata.get("network") != architecture_hash(model):
        raise WeightsError(f"{weights}: made for another network than this version builds")
    try:
        model.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{weights}: does not hold this network ({reason})") from error
    return model
