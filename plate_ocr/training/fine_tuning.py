"""Fine-tuning: a few labelled images of your own -> weights that read such images, in minutes.

Half of every batch is your images and half is drawn plates. Replaying what the network has learned
keeps it from forgetting (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from plate_ocr.network.checkpoint import DEFAULT_WEIGHTS, load_metadata, load_model
from plate_ocr.network.crnn import compile_model, freeze_localization, with_box
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import (
    DatasetError,
    PlateDataset,
    load_folder,
    render_plates,
)
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import augment
from plate_ocr.training.config import CONFIGS, TrainConfig
from plate_ocr.training.fit import (
    AugmentFn,
    ResumableCheckpoint,
    fit_epochs,
    make_augmentation,
    make_targets,
    warmup_cosine,
)
from plate_ocr.training.styles.row import Drawing

MIN_IMAGES = 10
HELD_OUT_PERCENT = 20  # of the images, where no test folder is given
NUM_DOUBTFUL = 10  # readings to look at again
MIN_CONTRADICTION = 0.9  # confidence with which a reading contradicts a label


@dataclass(frozen=True)
class FineTuned:
    """What a fine-tuning has brought."""

    weights: Path
    own: PlateDataset  # trained on
    held_out: PlateDataset  # measured on
    before: list  # readings of the held-out images by the initial weights
    after: list  # and by the new ones
    history: list[dict]
    seconds: float
    drawn: dict[str, tuple[int, int]]  # correct before and after, of `DRAWN_PLATES`


def fine_tune(
    folder: Path | str,
    output: Path | str,
    *,
    test: Path | str | None = None,
    initial_weights: Path | str = DEFAULT_WEIGHTS,
    config: TrainConfig = CONFIGS["fine_tune"],
) -> tuple[keras.Model, ResumableCheckpoint, PlateDataset, PlateDataset]:
    """Teach the reader labelled images of your own; an interrupted run goes on.

    Args:
        folder: labelled images, as `load_folder` takes them; at least `MIN_IMAGES`.
        output: a new folder for dr_model.h5, its metadata and export.
        test: labelled images to measure on; by default some of `folder` are held back.
        initial_weights: the HDF5 file to start from.
        config: the hyperparameters.

    Raises:
        DatasetError: the images or their labels cannot be used.
        TrainingError: the output folder holds another run.
        WeightsError: the initial weights cannot be used.
    """
    initial_weights, output = Path(initial_weights), Path(output)
    metadata = load_metadata(initial_weights)
    own, held_out = split_images(folder, test, metadata["digits"], config.seed)
    keras.utils.set_random_seed(config.seed)
    model = load_model(initial_weights, metadata)
    batches = OwnAndDrawnBatches(
        own,
        boxes=predict_boxes(model, own.images),
        drawn=render_plates(range(config.replay_plates), digits=metadata["digits"]),
        augment_drawn=make_augmentation(CONFIGS["robust"]),
        batch_size=config.batch_size,
        repeats=max(1, round(config.plates / len(own))),
        seed=config.seed,
    )
    run = {
        "config": asdict(config),
        "images": digest(own),
        "initial_weights": metadata["sha256"][initial_weights.name],
    }
    checkpoint = ResumableCheckpoint(
        output / "checkpoints", run, config.patience, rank=held_out_error
    )
    if not config.box_weight:
        freeze_localization(model)
    trained = with_box(model)
    rate = warmup_cosine(config.learning_rate, config.epochs * len(batches), config.warmup_steps)
    compile_model(trained, rate, config.box_weight)
    targets = make_targets(
        encode(held_out.labels, held_out.digits), predict_boxes(model, held_out.images)
    )
    fit_epochs(trained, batches, config.epochs, checkpoint, (held_out.images, targets))
    checkpoint.restore(trained, checkpoint.state["best_epoch"])
    return model, checkpoint, own, held_out


def held_out_error(row: dict) -> tuple[float, float]:
    """Ranks epochs by the held-out images that are read wrongly, then by their loss."""
    return -row["val_logits_exact_match"], row["val_logits_loss"]


def digest(plates: PlateDataset) -> str:
    """SHA-256 of images and labels."""
    return hashlib.sha256(plates.images.tobytes() + "".join(plates.labels).encode()).hexdigest()


def split_images(
    folder: Path | str, test: Path | str | None, digits: int, seed: int
) -> tuple[PlateDataset, PlateDataset]:
    """Load the images to train on and those to measure on.

    Raises:
        DatasetError: too few images, equal labels only, or an image in both folders.
    """
    own = load_folder(folder, digits)
    if len(own) < MIN_IMAGES:
        raise DatasetError(f"{folder}: {len(own)} images; fine-tuning takes {MIN_IMAGES}")
    if len(set(own.labels)) == 1:
        raise DatasetError(f"{folder}: every image has the label {own.labels[0]}")
    if test is not None:
        held_out = load_folder(test, digits)
        known = {image.tobytes() for image in own.images}
        shared = sum(image.tobytes() in known for image in held_out.images)
        if shared:
            raise DatasetError(f"{test}: {shared} of its images are also in {folder}")
        return own, held_out
    order = np.random.default_rng(seed).permutation(len(own))
    count = max(2, len(own) * HELD_OUT_PERCENT // 100)
    return own.take(np.sort(order[count:])), own.take(np.sort(order[:count]))


class OwnAndDrawnBatches(keras.utils.PyDataset):
    """Batches of augmented images, half own and half drawn, and the targets of `with_box`.

    Every epoch takes every own image `repeats` times. Order and augmentation depend on seed, epoch
    and batch alone, so a resumed run sees the same images as an uninterrupted one.
    """

    def __init__(
        self,
        own: PlateDataset,
        boxes: np.ndarray,
        drawn: PlateDataset,
        augment_drawn: AugmentFn,
        batch_size: int,
        repeats: int,
        seed: int,
    ):
        super().__init__(workers=2)
        self.drawings = [photograph(*pair) for pair in zip(own.images[..., 0], boxes, strict=True)]
        self.labels = encode(own.labels, own.digits)
        self.drawn, self.augment_drawn = drawn, augment_drawn
        self.drawn_labels = encode(drawn.labels, drawn.digits)
        self.batch_size, self.repeats, self.seed = batch_size, repeats, seed
        self.size = batch_size // 2  # own images of a batch, and as many drawn plates
        self.shuffle(epoch=0)

    def shuffle(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        count = len(self.labels)
        self.order = np.concatenate([rng.permutation(count) for _ in range(self.repeats)])

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, self.epoch, batch])
        rows = self.order[batch * self.size : (batch + 1) * self.size]
        pairs = [augment(self.drawings[row], rng) for row in rows]
        images, boxes = map(np.stack, zip(*pairs, strict=True))
        chosen = rng.integers(len(self.drawn), size=len(rows))
        texts = [self.drawn.labels[row] for row in chosen]
        drawn, drawn_boxes = self.augment_drawn(self.drawn.images[chosen], texts, rng)
        labels = np.concatenate([self.labels[rows], self.drawn_labels[chosen]])
        targets = make_targets(labels, np.concatenate([boxes, drawn_boxes]))
        return np.concatenate([images[..., None], drawn]), targets


def photograph(image: np.ndarray, box: np.ndarray) -> Drawing:
    """An image, uint8 (64, 128), whose digits are somewhere in a box, in pixels."""
    left, top, right, bottom = box
    ink = np.full_like(image, 255)
    ink[top:bottom, left:right] = 0
    return Drawing(image, ink, has_surroundings=True)


def predict_boxes(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Where the network finds digits: left, top, right and bottom in pixels, int (n, 4)."""
    left, right, top, bottom = with_box(model).predict(images, verbose=0)["box"].T
    starts = np.floor([left * PLATE_WIDTH, top * PLATE_HEIGHT]).astype(int)
    ends = np.ceil([right * PLATE_WIDTH, bottom * PLATE_HEIGHT]).astype(int)
    sizes = np.array([[PLATE_WIDTH], [PLATE_HEIGHT]])
    starts = starts.clip(0, sizes - 2)
    return np.concatenate([starts, np.maximum(ends.clip(0, sizes), starts + 2)]).T
