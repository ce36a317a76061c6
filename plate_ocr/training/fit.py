"""Train the network: batches, resumable training, and the files of weights and results."""

import csv
import hashlib
import importlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from plate_ocr.network.checkpoint import load_metadata, load_model, origin, write_metadata
from plate_ocr.network.crnn import (
    NUM_TIME_STEPS,
    architecture_hash,
    build_model,
    compile_model,
    with_box,
)
from plate_ocr.plates.alphabet import BLANK, DIGITS, NUM_DIGITS, encode
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import PlateAugmentation, digit_boxes
from plate_ocr.training.config import TrainConfig, TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, Distributed
from plate_ocr.utils import (
    atomic_write,
    cores,
    cpu_supports,
    processor_name,
    read_json,
    spawn_pool,
    write_text,
)

logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises its own format at every save
logging.getLogger("tensorflow").setLevel(logging.ERROR)  # a graph for every model is no fault
MONITOR = "logits_loss"  # the CTC loss on the training plates
PROBE_STEPS = (0, 25, 50, 75, 100, 150, 200, 300, 400, 800, 1_600, 3_200)
# Settings of layers that Keras 3.15 writes and 3.13 refuses. Here they stand at their defaults.
NEWER_SETTINGS = ("input_axes", "output_axes", "renorm", "renorm_clipping", "renorm_momentum")
# HDF5 reports a full disk in many lines, so the room for a file is claimed first.
BYTES_PER_PARAMETER = 5  # of weights, with some for HDF5
CHECKPOINT_BYTES_PER_PARAMETER = 16  # the same with two moments of Adam
AugmentFn = Callable[
    [np.ndarray, Sequence[str], Sequence[Sequence[int]]], tuple[np.ndarray, np.ndarray]
]


class PlateBatches(keras.utils.PyDataset):
    """Shuffled batches: uint8 images (n, 64, 128, 1) and the targets of `with_box`.

    The order depends on seed and epoch alone, the augmentation of a plate on its row as well: so a
    resumed run sees the same plates as an uninterrupted one, and each of several hosts augments
    its own shard of a batch.
    """

    def __init__(
        self,
        plates: PlateDataset,
        batch_size: int,
        seed: int,
        augment: AugmentFn | None = None,
        host: Distributed = SINGLE_HOST,
    ):
        super().__init__(workers=max(cores(), 2) if augment else 1)
        self.images, self.texts = plates.images, np.array(plates.labels)
        self.labels = encode(plates.labels, plates.digits)
        self.batch_size, self.seed, self.augment, self.host = batch_size, seed, augment, host
        for size in {min(batch_size, len(plates)), len(plates) % batch_size}:
            if size % host.num_devices:
                raise TrainingError(f"{host.num_devices} devices cannot share {size} plates")
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        start = batch * self.batch_size
        rows = self.host.shard(self.order[start : start + self.batch_size])
        images = self.images[rows]
        if self.augment is None:
            boxes = digit_boxes(images)
        else:
            seeds = [(self.seed, self.epoch, row) for row in rows.tolist()]
            images, boxes = self.augment(images, self.texts[rows].tolist(), seeds)
        return images, make_targets(self.labels[rows], boxes)


def make_targets(labels: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """What `with_box` should predict.

    Args:
        labels: classes 1 to 10, (n, digits).
        boxes: left, top, right and bottom in pixels, (n, 4); right and bottom are exclusive.

    Returns:
        "logits": the labels; "box": left, right, top and bottom in plate widths and heights,
        float32 (n, 4).
    """
    size = PLATE_WIDTH, PLATE_WIDTH, PLATE_HEIGHT, PLATE_HEIGHT
    return {"logits": labels, "box": (boxes[:, [0, 2, 1, 3]] / size).astype(np.float32)}


def make_augmentation(config: TrainConfig, fonts: Path | str = FONT_DIRECTORY) -> AugmentFn | None:
    """The augmentation of a configuration; its styles draw with these fonts."""
    if not config.augment:
        return None
    return PlateAugmentation(dict(config.styles), config.surroundings_prob, fonts)


@contextmanager
def in_process_pool(augment: AugmentFn | None, processes: int) -> Iterator[AugmentFn | None]:
    """Augment in several processes; on two cores, threads are as fast."""
    if augment is None or processes <= 2:
        yield augment
        return
    with spawn_pool(processes) as pool:
        yield lambda *batch: pool.submit(augment, *batch).result()


class ResumableCheckpoint(keras.callbacks.Callback):
    """Early stopping, with checkpoints from which a killed run resumes.

    The best epoch has the lowest `rank`; by default that is the CTC loss of training.

    After every epoch come the weights and the optimizer, then `state.json` with the history and
    the SHA-256 of the weights. Files are replaced atomically, so a kill at any moment leaves the
    state of a finished epoch. `run` is what determines the result; the directory of another run is
    refused. The first host writes; all read the same directory. (On resuming, Keras' EarlyStopping
    forgets its best epoch, and BackupAndRestore keeps none.)
    """

    def __init__(
        self,
        directory: Path | str,
        run: dict,
        patience: int,
        probe_images: np.ndarray | None = None,
        host: Distributed = SINGLE_HOST,
        rank: Callable[[dict], Any] = itemgetter(MONITOR),
    ):
        super().__init__()
        self.rank = rank
        self.directory = Path(directory)
        self.patience = patience
        self.probe_images = probe_images
        self.host = host
        try:
            self.state = read_json(self.directory / "state.json")
        except (FileNotFoundError, NotADirectoryError):
            self.state = {
                "run": run,
                "epoch": 0,  # finished epochs
                "stopped": False,  # by early stopping
                "history": [],
                "probes": [],  # steps and logits of the probe images
                "sha256": {},  # of the files of weights
            }
        except ValueError as error:
            raise TrainingError(f"{error}; delete {self.directory} to start again") from error
        if not isinstance(self.state, dict) or self.state.get("run") != run:
            raise TrainingError(
                f"{self.directory}: holds another run, of other plates or another configuration; "
                "choose another directory, or delete it to start again"
            )
        for name, sha256 in self.state["sha256"].items():
            if _sha256(path := self.directory / name) != sha256:
                raise TrainingError(f"{path}: damaged; delete {self.directory} to start again")
        # Fail now rather than after an epoch.
        with host.save_on_first_host(self.directory) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "state.json", json.dumps(self.state))

    def restore(self, model: keras.Model, epoch: int) -> None:
        """Load the weights, and the optimizer if `model` has one, as they were after an epoch."""
        model.load_weights(self.directory / _weights_name(epoch))

    def on_train_begin(self, logs=None):
        """Read the probe images before the first step."""
        if not self.state["epoch"]:
            self._probe(step=0)

    def on_train_batch_end(self, batch, logs=None):
        """Read the probe images after some steps."""
        self._probe(self.state["epoch"] * self.params["steps"] + batch + 1)

    def _probe(self, step: int) -> None:
        if self.probe_images is not None and step in PROBE_STEPS:
            logits = np.asarray(self.model.predict_on_batch(self.probe_images)["logits"])
            self.state["probes"].append({"step": step, "logits": logits.round(3).tolist()})

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Add the epoch to the history and write it."""
        state, loss = self.state, float(logs[MONITOR])
        if not np.isfinite(loss):
            raise TrainingError(f"the loss became {loss} in epoch {epoch + 1}")
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in logs.items()},
            "seconds": round(time.perf_counter() - self._start, 2),
            "device": device_name(),  # may change when a run is resumed
        }
        state["history"].append(row)
        best = min(state["history"], key=self.rank)
        state |= {"epoch": epoch + 1, "best_epoch": best["epoch"], "best_loss": best[MONITOR]}
        state["stopped"] = state["epoch"] - state["best_epoch"] >= self.patience
        self.model.stop_training = state["stopped"]
        self._write_epoch()

    def _write_epoch(self) -> None:
        """Write the weights, then the state that names them; then remove older weights."""
        state, last = self.state, _weights_name(self.state["epoch"])
        kept = {last, _weights_name(state["best_epoch"])}
        with self.host.save_on_first_host(self.directory) as folder:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / last) as temporary:
                room = CHECKPOINT_BYTES_PER_PARAMETER * self.model.count_params()
                temporary.write_bytes(bytes(room))
                self.model.save_weights(temporary)
                state["sha256"][last] = _sha256(temporary)
            state["sha256"] = {name: state["sha256"][name] for name in sorted(kept)}
            write_text(folder / "state.json", json.dumps(state))
            for path in folder.glob("*.weights.h5"):
                if path.name not in kept:
                    path.unlink()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights_name(epoch: int) -> str:
    return f"epoch-{epoch:03d}.weights.h5"


def train(
    plates: PlateDataset,
    validation: PlateDataset,
    config: TrainConfig,
    checkpoints: Path | str,
    probe_images: np.ndarray | None = None,
    precision: str = "float32",
    initial_weights: Path | str | None = None,
    host: Distributed = SINGLE_HOST,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train a network, or resume the interrupted run of the same arguments.

    Args:
        plates: training plates.
        validation: plates of other numbers, for monitoring only.
        config: the hyperparameters.
        checkpoints: a directory for this run alone.
        probe_images: a few images, uint8 (n, 64, 128, 1), read after `PROBE_STEPS`.
        precision: a Keras dtype policy, see `best_dtype_policy`; weights are float32 in any.
        initial_weights: trained weights to start from; by default fresh ones.
        host: this host, of several.

    Returns:
        The network of the epoch with the lowest training loss, and `ResumableCheckpoint.state`.

    Raises:
        TrainingError: plates, configuration or checkpoints cannot be used, or the loss diverged.
        WeightsError: the initial weights cannot be used.
        OSError: the checkpoints cannot be written.
    """
    if not (len(plates) and len(validation)):
        raise TrainingError(f"{len(plates)} training and {len(validation)} validation plates")
    if shared := set(plates.labels) & set(validation.labels):
        raise TrainingError(f"{len(shared)} validation numbers are trained on, as {min(shared)}")
    targets = make_targets(encode(validation.labels, plates.digits), digit_boxes(validation.images))
    model, run = _prepare(plates, config, precision, initial_weights)
    checkpoint = ResumableCheckpoint(checkpoints, run, config.patience, probe_images, host)
    with in_process_pool(make_augmentation(config), cores()) as augment:
        batches = PlateBatches(plates, config.batch_size, config.seed, augment, host)
        steps = config.epochs * len(batches)
        trained = with_box(model)
        rate = warmup_cosine(config.learning_rate, steps, config.warmup_steps)
        compile_model(trained, rate, config.box_weight)
        fit_epochs(trained, batches, config.epochs, checkpoint, (validation.images, targets))
    checkpoint.restore(trained, checkpoint.state["best_epoch"])
    return model, checkpoint.state


def _prepare(
    plates: PlateDataset, config: TrainConfig, precision: str, initial_weights: Path | str | None
) -> tuple[keras.Model, dict[str, Any]]:
    """Build the network, and state what determines the result of its training."""
    keras.utils.set_random_seed(config.seed)
    default_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)  # layers take it when they are built
    model = build_model(dropout=config.dropout)
    keras.config.set_dtype_policy(default_policy)
    labels = encode(plates.labels, plates.digits)
    run = {
        "config": asdict(config),
        "plates": hashlib.sha256(plates.images.tobytes() + labels.tobytes()).hexdigest(),
        "precision": precision,
        "network": architecture_hash(model),
    }
    if initial_weights is not None:
        path = Path(initial_weights)
        metadata = load_metadata(path)
        model.set_weights(load_model(path, metadata).get_weights())
        run["initial_weights"] = metadata["sha256"][path.name]
    return model, run


def warmup_cosine(
    maximum: float, steps: int, warmup_steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from a tenth of the maximum, then cosine decay to a hundredth of it.

    Without warm-up the learning rate is constant.
    """
    if not warmup_steps:
        return maximum
    return keras.optimizers.schedules.CosineDecay(
        maximum / 10,
        decay_steps=max(steps - warmup_steps, 1),  # Keras counts them from the end of the warm-up
        alpha=0.01,
        warmup_target=maximum,
        warmup_steps=warmup_steps,
    )


def fit_epochs(
    model: keras.Model,
    batches: PlateBatches,
    epochs: int,
    checkpoint: ResumableCheckpoint | None = None,
    validation_data: tuple[np.ndarray, Any] | None = None,
    line: Callable[[dict], str] | None = None,
) -> None:
    """Fit a compiled model; with a checkpoint, from the epoch that it has reached.

    Prints a `line` per epoch, by default `epoch_line`.
    """
    line = line or epoch_line

    def seed_epoch(epoch: int, logs: dict) -> None:
        batches.shuffle(epoch)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):  # no checkpoint holds its state
                layer.seed_generator.state.assign([batches.seed, epoch])

    callbacks: list = [keras.callbacks.LambdaCallback(on_epoch_begin=seed_epoch)]
    start = 0
    if checkpoint:
        start, history = checkpoint.state["epoch"], checkpoint.state["history"]
        print_epoch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: print(line(history[-1]), flush=True)
        )
        callbacks += [checkpoint, print_epoch]
    if checkpoint and start:
        model.optimizer.build(model.trainable_variables)  # to restore its state as well
        checkpoint.restore(model, start)
        print(*map(line, history), sep="\n")
        if checkpoint.state["stopped"] or start >= epochs:
            return
    model.fit(
        batches,
        shuffle=False,  # or Keras shuffles the batches once more, not reproducibly
        initial_epoch=start,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0 if checkpoint else 2,  # a checkpoint prints a line per epoch
        validation_data=validation_data,
        validation_batch_size=batches.batch_size,
    )


def epoch_line(row: dict) -> str:
    """One line on an epoch of `ResumableCheckpoint.state`."""
    return (
        f"epoch {row['epoch']:2}: loss {row['loss']:.4f}, CTC {row['logits_loss']:.4f}, "
        f"exact match {row['logits_exact_match']:.2%}; validation CTC {row['val_logits_loss']:.4f},"
        f" exact match {row['val_logits_exact_match']:.2%}; {row['seconds']:.0f} s"
    )


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
            "sha256": {path.name: _sha256(temporary)},
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


def best_dtype_policy() -> str:
    """The fastest Keras dtype policy that is safe: mixed bfloat16 where the processor supports it.

    With AMX, a step takes three fifths of the time of float32. GPUs may lack bfloat16, and on JAX
    it was not tried.
    """
    on_cpu = keras.backend.backend() == "tensorflow" and "GPU" not in device_name()
    return "mixed_bfloat16" if on_cpu and cpu_supports("amx_bf16", "avx512_bf16") else "float32"


def save_run(
    config: TrainConfig, state: dict, weights: Path, measured: dict, directory: Path | str
) -> dict:
    """Write a run's epochs to `training_<config>.csv`, the rest to `.json`; return the latter."""
    path = Path(directory, f"training_{config.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    history = state["history"]
    columns = [name for name in history[0] if name != "device"]
    lines = [columns, *([f"{row[name]:.6g}" for name in columns] for row in history)]
    write_text(path.with_suffix(".csv"), "".join(",".join(line) + "\n" for line in lines))
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
    }
    write_text(path, json.dumps(result, indent=2) + "\n")
    return result


def load_runs(directory: Path | str) -> dict[str, tuple[dict, list[dict]]]:
    """All runs in a folder of results: name of the configuration -> (result, history)."""
    runs = {}
    for path in sorted(Path(directory).glob("training_*.csv")):
        result = read_json(path.with_suffix(".json"))
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        history = [{name: float(value) for name, value in row.items()} for row in rows]
        runs[result["config"]["name"]] = (result, history)
    return runs
