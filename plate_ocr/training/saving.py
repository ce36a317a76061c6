"""What a training leaves: the files of weights and the results of the run."""

import importlib
import json
import logging
import platform
from dataclasses import asdict
from pathlib import Path

import h5py
import keras

from plate_ocr.network.checkpoint import file_sha256, origin, write_metadata
from plate_ocr.network.crnn import NUM_TIME_STEPS, architecture_hash, build_model
from plate_ocr.plates.alphabet import BLANK, DIGITS, NUM_DIGITS
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.config import TrainConfig
from plate_ocr.utils import atomic_write, cores, processor_name, write_text

logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises its own format at every save
# Settings of layers that Keras 3.15 writes and 3.13 refuses. Here they stand at their defaults.
NEWER_SETTINGS = ("input_axes", "output_axes", "renorm", "renorm_clipping", "renorm_momentum")
# HDF5 reports a full disk in many lines, so the room for a file is claimed first.
BYTES_PER_PARAMETER = 5  # of weights, with some for HDF5


def save_model(model: keras.Model, path: Path | str, digits: int = NUM_DIGITS) -> None:
    """Write a trained network as a whole-model HDF5 file, with metadata in `<name>.json`.

    `keras.models.load_model` restores it without this package, from Keras 3.13 on. The number of
    digits on the plates is for the metadata alone: the network could read any.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    network = build_model()  # without the state of the optimizer
    network.set_weights(model.get_weights())
    with atomic_write(path) as temporary:
        temporary.write_bytes(bytes(BYTES_PER_PARAMETER * network.count_params()))
        network.save(temporary)
        _drop_newer_settings(temporary)
        metadata = {
            "alphabet": DIGITS,
            "blank": BLANK,
            "image": [PLATE_HEIGHT, PLATE_WIDTH],
            "steps": NUM_TIME_STEPS,
            "digits": digits,
            "network": architecture_hash(network),
            "sha256": {path.name: file_sha256(temporary)},
            "versions": versions(),
        }
        write_metadata(path, metadata)  # first: after a kill the old weights do not match it


def _drop_newer_settings(path: Path) -> None:
    """Let older versions of Keras load a saved model."""

    def drop(settings: dict) -> dict:
        return {name: value for name, value in settings.items() if name not in NEWER_SETTINGS}

    with h5py.File(path, "r+") as file:
        layers = json.loads(file.attrs["model_config"], object_hook=drop)
        file.attrs["model_config"] = json.dumps(layers).encode()


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide a run."""
    libraries = ("keras", keras.backend.backend(), "numpy")
    versions = {name: importlib.import_module(name).__version__ for name in libraries}
    return {"python": platform.python_version(), **versions}


def device_name() -> str:
    """The GPUs that Keras' backend sees, or else the processor."""
    gpus: list[str] = []
    if keras.backend.backend() == "tensorflow":
        from tensorflow import config

        details = map(config.experimental.get_device_details, config.list_physical_devices("GPU"))
        gpus = [device.get("device_name", "GPU") for device in details]
    elif keras.backend.backend() == "jax":
        import jax

        gpus = [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    return f"{len(gpus)} GPU ({gpus[0]})" if gpus else f"CPU ({processor_name()}, {cores()} cores)"


def save_run(
    config: TrainConfig, state: dict, weights: Path, measured: dict, directory: Path | str
) -> dict:
    """Write what a run has measured, and its epochs, to `training_<config>.json`; return that."""
    path = Path(directory, f"training_{config.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    history = state["history"]
    result = {
        "config": asdict(config),
        "precision": state["run"]["precision"],
        "epochs": state["epoch"],
        "stopped_early": state["stopped"],
        "best_epoch": state["best_epoch"],
        "best_training_loss": state["best_loss"],
        "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
        "device": " and ".join(dict.fromkeys(row["device"] for row in history)),
        "origin": origin(weights),
        "initial_weights": state["run"].get("initial_weights"),
        "versions": versions(),
        "measured": measured,
        "history": history,
    }
    write_text(path, json.dumps(result, indent=2) + "\n")
    return result
