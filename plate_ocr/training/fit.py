"""Fit the network: shuffled batches, checkpoints to resume from, and the finished weights."""

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
from pathlib import Path
from typing import Any

import keras
import numpy as np

from plate_ocr.network.checkpoint import load_metadata, restore, write_metadata
from plate_ocr.network.crnn import (
    STEPS,
    architecture_hash,
    build_model,
    compile_model,
    localization_model,
)
from plate_ocr.network.spatial_transformer import cover
from plate_ocr.plates.alphabet import BLANK, DIGITS, NUM_DIGITS, encode
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading.ctc import greedy_decode
from plate_ocr.training import augmentation
from plate_ocr.training.augmentation import PlateAugmentation, bounding_box, normalize_background
from plate_ocr.training.config import TrainConfig, TrainingError, warmup_cosine
from plate_ocr.training.distributed import SINGLE_HOST, Host
from plate_ocr.training.synthetic_fonts import handwriting, interpolation
from plate_ocr.utils import (
    atomic_write,
    check_writable,
    checksum,
    cores,
    cpu_supports,
    processor_name,
    read_json,
    remove_leftovers,
    spawn_pool,
    write_text,
)

CORES = cores()
AugmentFn = Callable[
    [np.ndarray, Sequence[str], np.random.Generator], tuple[np.ndarray, np.ndarray]
]


class PlateBatches(keras.utils.PyDataset):
    """Batches of plates, uint8 images (n, 64, 128, 1) and int32 labels (n, digits).

    Order and distortions depend on seed, epoch and batch alone, so a resumed run takes the plates
    as an uninterrupted one does. Keras also iterates before the first epoch, to build the model,
    so `Checkpoints` calls `shuffle` and there is no `on_epoch_end`.

    Args:
        plates: the training plates; images stay uint8 in memory.
        batch_size: plates a batch; the last batch of an epoch may be smaller.
        seed: of order and distortions.
        augment: (images, texts, generator) -> distorted images and boxes of their digits; `None`
            leaves plates as they are.
        plain_epochs: epochs before plates are distorted.
        host: takes its share of every batch, which all hosts make whole: so they distort alike.
    """

    def __init__(
        self,
        plates: PlateDataset,
        batch_size: int,
        seed: int,
        augment: AugmentFn | None = None,
        clean_epochs: int = 0,
        host: Host = SINGLE_HOST,
    ):
        super().__init__(workers=1 if augment is None else max(CORES, 2))
        self.images = plates.images
        self.texts = plates.labels
        self.labels = encode(plates.labels, plates.digits)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.clean_epochs = clean_epochs
        self.host = host
        for size in {min(batch_size, len(plates)), len(plates) % batch_size}:
            if size % host.devices:
                raise TrainingError(f"{host.devices} devices cannot share a batch of {size} plates")
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0."""
        self.epoch = epoch
        random = np.random.default_rng([self.seed, epoch])
        self.order = random.permutation(len(self.labels))

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows(batch)
        images = self.images[rows]
        if self.augment is not None and self.epoch >= self.clean_epochs:
            images, _ = self._distorted(batch)
        return self.host.share(images), self.host.share(self.labels[rows])

    def _rows(self, batch: int) -> np.ndarray:
        return self.order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _distorted(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows(batch)
        texts = [self.texts[row] for row in rows]
        random = np.random.default_rng([self.seed, self.epoch, batch])
        return self.augment(self.images[rows], texts, random)


class CoverageBatches(PlateBatches):
    """The same plates, distorted from the first epoch on, and what their digits cover.

    Batches are uint8 images (n, 64, 128, 1) and float32 shares (n, 48), see `framing.cover`.
    """

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        if self.augment is not None:
            images, boxes = self._distorted(batch)
        else:
            images = self.images[self._rows(batch)]
            boxes = np.array(
                [bounding_box(normalize_background(image)) for image in images[..., 0]]
            )
        return self.host.share(images), self.host.share(cover(boxes))


def make_augmentation(config: TrainConfig, fonts: Path | str = FONT_DIRECTORY) -> AugmentFn | None:
    """What a config does to its batches after the plain epochs; it blends faces of these fonts."""
    if config.clean_epochs is None:
        return None
    return PlateAugmentation(config.font_interpolation_prob, config.handwriting_prob, fonts)


@contextmanager
def in_process_pool(augment: AugmentFn | None, cores: int = CORES) -> Iterator[AugmentFn | None]:
    """The same distortions, by a process on every core; two cores are as fast with threads."""
    if augment is None or cores <= 2:
        yield augment
        return
    with spawn_pool(cores) as pool:
        yield lambda images, texts, random: pool.submit(augment, images, texts, random).result()


class ResumableCheckpoint(keras.callbacks.Callback):
    """Early stopping on the training loss that survives being killed.

    After every epoch the weights with the optimizer's state are written, then `state.json`, which
    names them, with their SHA-256, and holds the history: it is replaced in one step, so a kill at
    any moment leaves the state of a finished epoch. The best epoch's weights are kept and restored
    at the end.
    (`keras.callbacks.EarlyStopping` forgets its best on resuming, `BackupAndRestore` keeps none.)

    Args:
        directory: where to write; belongs to this run alone.
        run: what decides the result; a directory of another run is refused.
        batches: the training plates, shuffled anew before every epoch.
        patience: epochs without a lower training loss before stopping.
        watched: images, uint8 (n, 64, 128, 1), read by greedy decoding after every epoch.
        host: the first writes; all see the same directory.

    Raises:
        TrainingError: the directory holds another run, or a state or weights that are damaged.
    """

    def __init__(
        self,
        directory: Path | str,
        run: dict,
        batches: PlateBatches,
        patience: int,
        probe_images: np.ndarray | None = None,
        host: Host = SINGLE_HOST,
    ):
        super().__init__()
        self.host = host
        self.batches = batches
        self.directory = Path(directory)
        self.patience = patience
        self.probe_images = probe_images
        found = self._read()
        if found and found["run"] != run:
            raise TrainingError(
                f"{self.directory}: holds another run, of other plates, settings or code; "
                "choose another directory, or delete it to start again"
            )
        self.state: dict[str, Any] = found or {
            "run": run,
            "epoch": 0,  # epochs finished
            "best_epoch": 0,
            "best_loss": None,
            "stopped": False,
            "history": [],
            "sha256": {},  # of the weights that are kept
        }
        if found:
            for name in self.state["sha256"]:
                self._check(self.directory / name)
            if host.index == 0:
                self._tidy(self.directory)

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.state["epoch"]

    @property
    def finished(self) -> bool:
        """Whether early stopping has ended the run."""
        return self.state["stopped"]

    def try_to_write(self, model: keras.Model, epochs: int = 3) -> None:
        """Refuse a directory without room for the weights and Adam's moments of some epochs.

        There are three at most: the best, the last, and the one that is written.
        """
        if self.host.index == 0:
            try:
                check_writable(self.directory / "state.json", epochs * 12 * model.count_params())
            except OSError as error:
                raise TrainingError(f"{error.filename}: {error.strerror or error}") from error

    def restore(self, model: keras.Model, epoch: int) -> None:
        """Load the weights, and the optimizer's state, as they were after an epoch."""
        path = _weights(self.directory, epoch)
        self._check(path)
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise TrainingError(f"{path}: cannot be restored ({error})") from error

    def tell(self) -> None:
        """Print what the finished epochs brought, as `fit` did when it ran them."""
        for row in self.state["history"]:
            figures = [
                f"{name}: {row[name]:.4f}" for name in row if name.endswith(("loss", "match"))
            ]
            print(f"Epoch {row['epoch']}: {row['seconds']:.0f}s -", " - ".join(figures))

    def on_epoch_begin(self, epoch, logs=None):
        """Shuffle the plates, seed the dropout, whose state no checkpoint holds; take the time."""
        self.batches.shuffle(epoch)
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([self.batches.seed, epoch])
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write the epoch's weights, then the state that names them."""
        state = self.state
        row = {
            "epoch": epoch + 1,
            **{name: float(value) for name, value in logs.items()},
            "seconds": round(time.perf_counter() - self._begun, 2),
            "device": device_name(),  # another one may finish the run
        }
        if self.probe_images is not None:
            logits = self.model.predict_on_batch(self.probe_images)
            row["probe_texts"] = greedy_decode(np.asarray(logits))
        state["epoch"] = epoch + 1
        state["history"].append(row)
        if not np.isfinite(logs["loss"]):
            raise TrainingError(f"the loss became {logs['loss']} in epoch {epoch + 1}")
        if state["best_loss"] is None or logs["loss"] < state["best_loss"]:
            state["best_loss"], state["best_epoch"] = float(logs["loss"]), epoch + 1
        state["stopped"] = state["epoch"] - state["best_epoch"] >= self.patience
        self.model.stop_training = state["stopped"]
        self.try_to_write(self.model, epochs=1)  # HDF5 reports a full disk in many lines
        with self.host.saving(self.directory) as directory:
            directory.mkdir(parents=True, exist_ok=True)
            path = _weights(directory, self.epoch)
            with atomic_write(path) as temporary:
                self.model.save_weights(temporary)
                state["sha256"][path.name] = _digest(temporary)
            kept = {one.name for one in self._kept(directory)}
            state["sha256"] = {name: state["sha256"][name] for name in sorted(kept)}
            state["checksum"] = checksum(state)
            write_text(directory / "state.json", json.dumps(state))
            self._tidy(directory)

    def _read(self) -> dict[str, Any] | None:
        """The state in the directory; `None` where there is none."""
        path = self.directory / "state.json"
        remedy = f"delete {self.directory} to start again"
        try:
            found = read_json(path)
            intact = found["checksum"] == checksum(found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise TrainingError(f"{error}; {remedy}") from error
        except (LookupError, TypeError, AttributeError, RecursionError):
            intact = False
        if not intact:
            raise TrainingError(f"{path}: damaged, or of another version; {remedy}")
        return found

    def _check(self, path: Path) -> None:
        """Compare weights with their hash before any parser opens them."""
        try:
            intact = _digest(path) == self.state["sha256"].get(path.name)
        except OSError as error:
            raise TrainingError(f"{path}: {error.strerror or error}") from error
        if not intact and self.host.index == 0:  # others hashed what they threw away
            raise TrainingError(
                f"{path}: truncated, changed or of another run; "
                f"delete {self.directory} to start again"
            )

    def _kept(self, directory: Path) -> set[Path]:
        """The weights of the last epoch and of the best."""
        return {_weights(directory, self.state[name]) for name in ("epoch", "best_epoch")}

    def _tidy(self, directory: Path) -> None:
        """Remove the weights of all other epochs, and what killed runs left."""
        remove_leftovers(directory)
        for path in directory.glob("*.weights.h5"):
            if path not in self._kept(directory):
                path.unlink()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(directory: Path, epoch: int) -> Path:
    return directory / f"epoch-{epoch:03d}.weights.h5"


def train(
    plates: PlateDataset,
    validation: PlateDataset,
    config: TrainConfig,
    checkpoints: Path | str,
    probe_images: np.ndarray,
    precision: str = "float32",
    initial_weights: Path | str | None = None,
    verbose: int = 2,
    host: Host = SINGLE_HOST,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train a network, or go on where an interrupted run of the same config stopped.

    Args:
        plates: plates to train on.
        validation: plates of other numbers, read after every epoch; they decide nothing.
        config: how to train.
        checkpoints: a directory of this run's own.
        watched: a few images, uint8 (n, 64, 128, 1), read after every epoch.
        precision: a Keras dtype policy, see `fastest_precision`; weights are float32 in any.
        initial_weights: of a reader, to start from; by default they are fresh.
        verbose: as in `keras.Model.fit`.
        host: this host among several, as `hosts.join` tells it.

    Returns:
        The network with the weights of the epoch with the lowest training loss, and the state:
        `history` (a dict an epoch), `best_epoch`, `best_loss`, `stopped`.

    Raises:
        TrainingError: training and validation share a number, the config goes on from initial
            weights and there are none, the checkpoints cannot be used, or the loss is not finite.
        WeightsError: the initial weights cannot be used.
    """
    _check_plates(plates, validation)
    if initial_weights is None and not config.localization_epochs:
        raise TrainingError(f"{config.name}: goes on from initial weights; give some")
    keras.utils.set_random_seed(config.seed)
    model = _network(config, precision)
    described = {"precision": precision, "network": architecture_hash(model)}
    if initial_weights is not None:
        path = Path(initial_weights)
        description = load_metadata(path)
        described["initial_weights"] = description["sha256"][path.name]
        model.set_weights(restore(path, description).get_weights())
    augment = make_augmentation(config)
    run = _describe(plates, config, augment) | described
    with in_process_pool(augment) as augment:
        shuffled = (plates, config.batch_size, config.seed, augment)
        batches = PlateBatches(*shuffled, config.clean_epochs or 0, host)
        callback = ResumableCheckpoint(
            checkpoints, run, batches, config.patience, probe_images, host
        )
        if callback.epoch < config.epochs and not callback.finished:
            callback.try_to_write(model)
        if initial_weights is None and not callback.epoch:
            covered = CoverageBatches(*shuffled, host=host)
            finding = ResumableCheckpoint(
                callback.directory / "finding",
                run | {"part": "finding"},
                covered,
                config.localization_epochs,
                host=host,
            )
            train_localization(model, covered, config.localization_epochs, finding, verbose)
        localization_model(model).trainable = False
        compile_model(model, config.schedule(len(batches)))
        _fit(
            model,
            config.epochs,
            callback,
            verbose,
            validation_data=(validation.images, encode(validation.labels, plates.digits)),
            validation_batch_size=config.batch_size,
        )
    callback.restore(model, callback.state["best_epoch"])
    return model, callback.state


def _check_plates(plates: PlateDataset, validation: PlateDataset) -> None:
    for name, some in (("train on", plates), ("validate with", validation)):
        if not len(some):
            raise TrainingError(f"no plates to {name}")
    if plates.digits != validation.digits:
        raise TrainingError(
            f"training plates show {plates.digits} digits, validation plates {validation.digits}"
        )
    shared = set(plates.labels) & set(validation.labels)
    if shared:
        raise TrainingError(f"{len(shared)} validation numbers are trained on, {min(shared)} first")


def _network(config: TrainConfig, precision: str) -> keras.Model:
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)  # layers take it when they are built
    try:
        return build_model(dropout=config.dropout)
    finally:
        keras.config.set_dtype_policy(usual)


def _describe(
    plates: PlateDataset, config: TrainConfig, augment: AugmentFn | None
) -> dict[str, Any]:
    """What decides the result of a run, but for the network."""
    labels = encode(plates.labels, plates.digits)
    return {
        "config": asdict(config),
        "plates": hashlib.sha256(plates.images.tobytes() + labels.tobytes()).hexdigest(),
        "distortions": _distortions() if augment else None,
    }


def _fit(
    model: keras.Model,
    epochs: int,
    checkpoints: ResumableCheckpoint,
    verbose: int,
    **validation: Any,
) -> None:
    """Fit a compiled network for the epochs that are left, from where the last one ended."""
    model.optimizer.build(model.trainable_variables)
    if checkpoints.epoch:
        checkpoints.restore(model, checkpoints.epoch)
        if verbose:
            checkpoints.tell()
    if not checkpoints.finished and checkpoints.epoch < epochs:
        model.fit(
            checkpoints.batches,
            shuffle=False,  # else Keras shuffles the batches once more, unrepeatably
            initial_epoch=checkpoints.epoch,
            epochs=epochs,
            callbacks=[checkpoints],
            verbose=verbose,
            **validation,
        )


def train_localization(
    model: keras.Model,
    plates: CoverageBatches,
    epochs: int,
    checkpoints: ResumableCheckpoint,
    verbose: int = 2,
) -> None:
    """Fit the half of the network that finds the digits, before the other learns to read them."""
    finder = localization_model(model)
    steps = epochs * len(plates)
    rate = warmup_cosine(3e-3, steps, warmup_steps=min(100, steps // 4))
    finder.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy")
    _fit(finder, epochs, checkpoints, verbose)


def _distortions() -> str:
    """A hash of the modules that distort plates."""
    sources = [
        Path(module.__file__).read_bytes() for module in (augmentation, interpolation, handwriting)
    ]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def save_model(model: keras.Model, path: Path | str, digits: int = NUM_DIGITS) -> None:
    """Write the trained network as a whole-model HDF5 file, and `<name>.json` beside it.

    `digits` says there how many a plate shows; the network itself would read any count.

    The description goes first: a kill between the two leaves weights that are refused, and
    running the notebook again mends it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    network = build_model()  # without the optimizer's state
    network.set_weights(model.get_weights())
    with atomic_write(path) as temporary:
        _save_hdf5(network, temporary)
        description = {
            "alphabet": DIGITS,
            "blank": BLANK,
            "image": [PLATE_HEIGHT, PLATE_WIDTH],
            "steps": STEPS,
            "digits": digits,
            "network": architecture_hash(network),
            "sha256": {path.name: _digest(temporary)},
            "versions": versions(),
        }
        write_metadata(path, description)


def _save_hdf5(network: keras.Model, path: Path) -> None:
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # Keras advises its own format; the project promises HDF5
    try:
        network.save(path)
    finally:
        logger.setLevel(level)


def versions() -> dict[str, str]:
    """What a run depends on."""
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
        "numpy": np.__version__,
    }


def device_name() -> str:
    """The device that trains, in words: the GPU if Keras' backend sees one, else the processor."""
    gpus: Sequence[object] = ()
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        gpus = [
            tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tensorflow.config.list_physical_devices("GPU")
        ]
    elif keras.backend.backend() == "jax":
        import jax

        gpus = [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    if gpus:
        return f"{len(gpus)} GPU ({gpus[0]})"
    return f"CPU ({processor_name()}, {cores()} cores)"


def best_dtype_policy() -> str:
    """The Keras dtype policy to train in: mixed bfloat16 where the processor multiplies in it.

    With Intel's AMX a step takes three fifths of the time of float32 (results/training_step.json),
    with AVX-512's bfloat16 no more; elsewhere, on GPUs that lack bfloat16, and on JAX, where it was
    not tried, float32 is safe.
    """
    on_processor = keras.backend.backend() == "tensorflow" and "GPU" not in device_name()
    fast = on_processor and cpu_supports("amx_bf16", "avx512_bf16")
    return "mixed_bfloat16" if fast else "float32"


def save_run(config: TrainConfig, state: dict, measured: dict, directory: Path | str) -> dict:
    """Write `training_<config>.json` (the run and what was measured) and `.csv` (its epochs).

    Returns:
        What the first holds.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    history = state["history"]
    names = [name for name in history[0] if name not in ("probe_texts", "device")]
    table = [",".join(names)]
    table += [",".join(f"{row[name]:.6g}" for name in names) for row in history]
    write_text(directory / f"training_{config.name}.csv", "\n".join(table) + "\n")
    result = {
        "config": asdict(config),
        "precision": state["run"]["precision"],
        "epochs": state["epoch"],
        "stopped_early": state["stopped"],
        "best_epoch": state["best_epoch"],
        "best_training_loss": state["best_loss"],
        "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
        "device": " and ".join(dict.fromkeys(row["device"] for row in history)),
        "versions": versions(),
        "measured": measured,
    }
    write_text(directory / f"training_{config.name}.json", json.dumps(result, indent=2) + "\n")
    return result


def load_runs(directory: Path | str) -> dict[str, tuple[dict, list[dict]]]:
    """Every run in a folder of results: name of the config -> (result, history)."""
    runs = {}
    for path in sorted(Path(directory).glob("training_*.csv")):
        result = read_json(path.with_suffix(".json"))
        with path.open(encoding="utf-8", newline="") as table:
            history = [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(table)
            ]
        runs[result["config"]["name"]] = (result, history)
    return runs
