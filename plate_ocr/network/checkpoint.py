"""Files of weights: the HDF5 file, its description `<name>.json` and its export beside it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from plate_ocr.plates.alphabet import DIGITS, SUPPORTED_LENGTHS
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.utils import checksum, resource_path, shown, write_text

if TYPE_CHECKING:
    import keras

DEFAULT_WEIGHTS = resource_path("dr_model.h5")
DEFAULT_EXPORT = DEFAULT_WEIGHTS.with_suffix(".onnx")
OUTDATED = "exported by another version of plate_ocr; export the weights again"


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file and what is wrong."""


def load_metadata(weights: Path) -> dict:
    """Compare a weights file with its description before any parser opens it.

    Returns:
        The description, `<name>.json`.

    Raises:
        WeightsError: either file is missing or unreadable, the weights differ from the hash, or
            were made for another alphabet, image size or count of digits.
    """
    try:
        found = weights.is_file()
    except OSError as error:  # such as of a name that is too long
        raise WeightsError(f"{shown(str(weights))}: {error.strerror or error}") from error
    if not found:
        raise WeightsError(f"{weights}: there is no such file")
    if weights.suffix != ".h5":
        raise WeightsError(f"{weights}: not weights; give the HDF5 file, {weights.stem}.h5")
    path = weights.with_suffix(".json")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        made_for = (description["alphabet"], list(description["image"]))
        digits = description["digits"]
        described = description["sha256"][weights.name]
        intact = description["checksum"] == checksum(description)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file; {weights.name} needs it") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: does not describe {weights.name}") from error
    if not intact:
        raise WeightsError(f"{path}: changed; its checksum is another")
    if made_for != (DIGITS, [PLATE_HEIGHT, PLATE_WIDTH]):
        raise WeightsError(f"{path}: made for another alphabet or image size: {made_for}")
    if digits not in SUPPORTED_LENGTHS:
        raise WeightsError(f"{path}: made for {digits} digits, which we do not read")
    checked(weights, described)
    return description


def write_metadata(weights: Path, description: dict) -> None:
    """Write `<name>.json` beside the weights, with a checksum of itself."""
    description = description | {"checksum": checksum(description)}
    write_text(weights.with_suffix(".json"), json.dumps(description, indent=2) + "\n")


def checked(path: Path, described: str | None) -> bytes:
    """The bytes of a file, if they are those described."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != described:
        raise WeightsError(f"{path}: truncated or changed; its SHA-256 is not the one described")
    return content


def restore(weights: Path, description: dict, use_cudnn: str | bool = "auto") -> "keras.Model":
    """Rebuild the network and load an HDF5 file, whose hash has been checked.

    Args:
        weights: the file.
        description: of the weights, from `check_weights`.
        use_cudnn: passed to `build_model`.

    Raises:
        WeightsError: the weights are of another network.
    """
    # Not at the top of the module: importing Keras takes seconds.
    from plate_ocr.network.crnn import architecture_hash, build_model

    model = build_model(use_cudnn)
    if description.get("network") != architecture_hash(model):
        raise WeightsError(f"{weights}: made for another network than this version builds")
    try:
        model.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{weights}: does not hold this network ({reason})") from error
    return model
