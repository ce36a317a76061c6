"""Fine-tuning: a few labeled images of your own -> weights that read such images, in minutes.

Half of every batch is your images and half is drawn plates. Replaying what the network has learned
keeps it from forgetting (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").
The new weights are a mean of the fine-tuned and the initial ones, which keeps more (Wortsman et al.
2022, "Robust fine-tuning of zero-shot models").
"""

import hashlib
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, load_metadata, load_model
from plate_ocr.network.crnn import compile_model
from plate_ocr.network.spatial_transformer import with_box
from plate_ocr.plates.alphabet import SUPPORTED_LENGTHS, encode
from plate_ocr.plates.dataset import DatasetError, PlateDataset, load_folder, render_plates
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import PlateAugmentation, augment
from plate_ocr.training.batches import EpochBatches, make_targets
from plate_ocr.training.callbacks import ResumableCheckpoint
from plate_ocr.training.config import FINE_TUNE, FineTuneConfig, TrainingError
from plate_ocr.training.fit import fit_epochs, warmup_cosine
from plate_ocr.training.saving import save_model
from plate_ocr.training.styles.row import Drawing

MIN_IMAGES = 10
VALIDATION_PERCENT = 20  # where no folder is given
INITIAL_SHARE = 0.25  # of the initial weights in the new ones
MIN_BOX = 20, 8  # columns and rows; five digits are larger
WEIGHTS_NAME = "dr_model.h5"
CHECKPOINTS = "checkpoints"  # folder in the output, until everything is written
MAX_EPOCHS = 1_000  # however many minutes are given
MEASURED_STEPS = 30  # to learn how long one takes; the first half finds batches that are ready


@dataclass(frozen=True)
class FineTuned:
    """New weights, and the images that made them."""

    weights: Path  # exported by `fine_tune_and_report` only
    own: PlateDataset  # trained on
    validation: PlateDataset  # not trained on; they chose the epoch
    history: list[dict]  # an epoch each, as in `ResumableCheckpoint.state`
    best_epoch: int  # from 1

    @property
    def images(self) -> PlateDataset:
        """All labeled images, the validation ones first."""
        parts = self.validation, self.own
        return PlateDataset(
            np.concatenate([part.images for part in parts]),
            [label for part in parts for label in part.labels],
            [record for part in parts for record in part.records],
        )


def fine_tune(
    folder: Path | str,
    output: Path | str,
    *,
    validation_folder: Path | str | None = None,
    minutes: float | None = None,
    digits: int | None = None,
    initial_weights: Path | str = DEFAULT_WEIGHTS,
    config: FineTuneConfig = FINE_TUNE,
) -> FineTuned:
    """Teach the reader labeled images of your own; an interrupted run goes on.

    Keeps the epoch with the highest exact match on the validation images, by greedy decoding, and
    averages its weights with the initial ones. Call `remove_checkpoints` at the end. Only
    `export_weights` makes what ONNX Runtime reads.

    Args:
        folder: labeled images, as `load_folder` takes them; at least `MIN_IMAGES`.
        output: a new folder for dr_model.h5 and its metadata.
        validation_folder: labeled images that choose the epoch; by default a fifth of `folder`.
        minutes: about how long to train; by default `config.epochs`.
        digits: on an image, 4 to 7; by default as many as the initial weights read.
        initial_weights: the HDF5 file to start from.

    Raises:
        DatasetError, ImageError: the images or their labels cannot be used.
        TrainingError: the output folder holds something else, or `digits` is not supported.
    """
    initial_weights, output = Path(initial_weights), Path(output)
    check_output(output)
    metadata = load_metadata(initial_weights)
    digits = metadata["digits"] if digits is None else digits
    if digits not in SUPPORTED_LENGTHS:
        raise TrainingError(f"{digits} digits: there must be 4 to 7 on an image")
    own, validation = split_images(folder, validation_folder, digits, config.seed)
    model = load_model(initial_weights, metadata)
    initial = model.get_weights()
    run = {"config": asdict(config), "minutes": minutes, "own": digest(own)}
    run |= {"validation": digest(validation), "weights": metadata["sha256"][initial_weights.name]}
    checkpoint = ResumableCheckpoint(output / CHECKPOINTS, run, rank=validation_error)
    fit_own(model, own, validation, checkpoint, config, minutes)
    average_weights(model, initial)
    save_model(model, output / WEIGHTS_NAME, digits)
    history, best_epoch = checkpoint.state["history"], checkpoint.state["best_epoch"]
    return FineTuned(output / WEIGHTS_NAME, own, validation, history, best_epoch)


def check_output(output: Path) -> None:
    """Refuse a folder that holds anything but an interrupted run."""
    checkpoints = output / CHECKPOINTS
    if (checkpoints / "state.json").exists():
        return  # which `ResumableCheckpoint` compares with this run
    found = [path for path in output.glob("[!.]*") if path != checkpoints]
    if found or any(checkpoints.glob("[!.]*")):
        name = found[0].name if found else CHECKPOINTS
        raise TrainingError(f"{output}: holds {name} already; choose a new folder")


def remove_checkpoints(output: Path | str) -> None:
    """Remove the checkpoints of a run whose results are all written."""
    done = Path(output, f".{CHECKPOINTS}")
    shutil.rmtree(done, ignore_errors=True)
    Path(output, CHECKPOINTS).rename(done)  # at once, because with half of them no run goes on
    shutil.rmtree(done, ignore_errors=True)


def split_images(
    folder: Path | str, validation_folder: Path | str | None, digits: int, seed: int
) -> tuple[PlateDataset, PlateDataset]:
    """Load the images to train on and those for validation.

    Without a folder for them, they are a seeded fifth or slightly more. Images of equal labels stay
    together: they may show the same object.

    Raises:
        DatasetError: too few images, equal labels only, or an image in both folders.
    """
    own = load_folder(folder, digits)
    if len(own) < MIN_IMAGES:
        raise DatasetError(f"{folder}: {len(own)} images; fine-tuning takes {MIN_IMAGES} or more")
    if len(set(own.labels)) == 1:
        raise DatasetError(f"{folder}: every image has the label {own.labels[0]}")
    if validation_folder is not None:
        validation = load_folder(validation_folder, digits)
        known = {image.tobytes() for image in own.images}
        shared = sum(image.tobytes() in known for image in validation.images)
        if shared:
            raise DatasetError(f"{validation_folder}: {shared} of its images are also in {folder}")
        return own, validation
    labels, counts = np.unique(own.labels, return_counts=True)
    fifth, taken, chosen = len(own) * VALIDATION_PERCENT // 100, 0, []
    for row in np.random.default_rng(seed).permutation(len(labels)):
        if taken < fifth and taken + counts[row] <= 2 * fifth:
            taken += counts[row]
            chosen.append(row)
    chosen = chosen or [counts.argmin()]  # every label has too many images
    validation = np.isin(own.labels, labels[chosen])
    return own.take(np.flatnonzero(~validation)), own.take(np.flatnonzero(validation))


def digest(plates: PlateDataset) -> str:
    """SHA-256 of images and labels."""
    return hashlib.sha256(plates.images.tobytes() + "".join(plates.labels).encode()).hexdigest()


def fit_own(
    model: keras.Model,
    own: PlateDataset,
    validation: PlateDataset,
    checkpoint: ResumableCheckpoint,
    config: FineTuneConfig,
    minutes: float | None = None,
) -> None:
    """Train a network on images of your own, and give it the weights of the best epoch."""
    trained, state = with_box(model), checkpoint.state
    boxes = predict_boxes(trained, np.concatenate([own.images, validation.images]))
    batches = OwnAndDrawnBatches(own, boxes[: len(own)], config)
    targets = make_targets(encode(validation.labels, validation.digits), boxes[len(own) :])
    if "epochs" not in state:  # a resumed run keeps its number
        state["epochs"] = config.epochs
        if minutes is not None:
            seconds = seconds_per_epoch(trained, batches, (validation.images, targets), config)
            state["epochs"] = int(np.clip(60 * minutes / seconds, 1, MAX_EPOCHS))
    epochs = state["epochs"]
    rate = warmup_cosine(config.learning_rate, epochs * len(batches), config.warmup_steps)
    compile_model(trained, rate, config.box_weight)

    def line(row: dict) -> str:
        left = (epochs - row["epoch"]) * row["seconds"] / 60
        return (
            f"epoch {row['epoch']} of {epochs}: loss {row['loss']:.3f}, exact match on validation "
            f"images {row['val_logits_exact_match']:.1%}, {left:.1f} minutes left"
        )

    counts = f"{len(own):,} images to train on, {len(validation):,} for validation"
    print(f"{counts}; {epochs} epochs", flush=True)
    fit_epochs(trained, batches, epochs, checkpoint, (validation.images, targets), line)
    checkpoint.restore(trained, state["best_epoch"])


def average_weights(model: keras.Model, initial: list[np.ndarray]) -> None:
    """Give a fine-tuned network the weighted mean of its weights and the initial ones."""
    pairs = zip(model.get_weights(), initial, strict=True)
    model.set_weights([tuned + INITIAL_SHARE * (first - tuned) for tuned, first in pairs])


def validation_error(row: dict) -> tuple[float, float]:
    """Ranks epochs by the exact match on validation images, then by their loss; least is best."""
    return -row["val_logits_exact_match"], row["val_logits_loss"]


def seconds_per_epoch(
    model: keras.Model,
    batches: "OwnAndDrawnBatches",
    validation: tuple[np.ndarray, dict[str, np.ndarray]],
    config: FineTuneConfig,
) -> float:
    """The time of an epoch and its validation; the weights stay as they are."""
    weights, times = model.get_weights(), [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: times.append(time.perf_counter())
    )
    compile_model(model, config.learning_rate, config.box_weight)
    steps = min(MEASURED_STEPS, len(batches))
    model.fit(batches, shuffle=False, steps_per_epoch=steps, callbacks=[clock], verbose=0)
    model.set_weights(weights)
    training = len(batches) * float(np.median(np.diff(times)[steps // 2 :]))
    start = time.perf_counter()
    model.evaluate(*validation, batch_size=config.batch_size, verbose=0)
    return training + time.perf_counter() - start


class OwnAndDrawnBatches(EpochBatches):
    """Batches of augmented images, half own and half drawn, and the targets of `with_box`.

    An epoch takes every own image equally often. Order and augmentation depend on seed, epoch and
    batch alone, so a resumed run sees the same images as an uninterrupted one.

    The boxes of the own digits are left, top, right and bottom in pixels, int (n, 4).
    """

    def __init__(self, own: PlateDataset, boxes: np.ndarray, config: FineTuneConfig):
        super().__init__(workers=2)
        self.drawings = list(map(drawing_with_box, own.images[..., 0], boxes))
        self.labels, self.digits = encode(own.labels, own.digits), own.digits
        self.drawn = render_plates(range(config.drawn_plates), digits=own.digits)
        self.drawn_labels = encode(self.drawn.labels, own.digits)
        self.augment_drawn = PlateAugmentation(config.styles, config.surroundings_prob)
        self.seed, self.batch_size = config.seed, config.batch_size
        self.size = config.batch_size // 2  # own images of a batch, and as many drawn plates
        self.repeats = max(1, round(config.own_images / len(own)))
        self.shuffle(epoch=0)

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch, batch])
        rows = self.order[batch * self.size : (batch + 1) * self.size]
        pairs = [augment(self.drawings[row], rng, self.digits) for row in rows]
        images, boxes = map(np.stack, zip(*pairs, strict=True))
        chosen = rng.integers(len(self.drawn), size=len(rows))
        texts = [self.drawn.labels[row] for row in chosen]
        seeds = rng.integers(2**32, size=len(rows))
        drawn, drawn_boxes = self.augment_drawn(self.drawn.images[chosen], texts, seeds)
        labels = np.concatenate([self.labels[rows], self.drawn_labels[chosen]])
        targets = make_targets(labels, np.concatenate([boxes, drawn_boxes]))
        return np.concatenate([images[..., None], drawn]), targets


def drawing_with_box(image: np.ndarray, box: np.ndarray) -> Drawing:
    """An image, uint8 (64, 128), whose digits are somewhere in a box, in pixels."""
    left, top, right, bottom = box
    ink = np.full_like(image, 255)
    ink[top:bottom, left:right] = 0
    return Drawing(image, ink, has_surroundings=True)


def predict_boxes(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Where a network `with_box` finds digits: left, top, right, bottom in pixels, int (n, 4).

    A box smaller than `MIN_BOX` is a miss; the whole plate stands in for it.
    """
    left, right, top, bottom = model.predict(images, verbose=0)["box"].T
    starts = np.floor([left * PLATE_WIDTH, top * PLATE_HEIGHT]).astype(int)
    ends = np.ceil([right * PLATE_WIDTH, bottom * PLATE_HEIGHT]).astype(int)
    sizes = np.array([[PLATE_WIDTH], [PLATE_HEIGHT]])
    starts, ends = starts.clip(0, sizes), ends.clip(0, sizes)
    missed = (ends - starts < np.array(MIN_BOX)[:, None]).any(axis=0)
    return np.concatenate([np.where(missed, 0, starts), np.where(missed, sizes, ends)]).T
