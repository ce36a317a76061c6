"""Fine-tuning: a few labelled images of your own -> weights that read such images, in minutes.

Half of every batch is your images and half is drawn plates. Replaying what the network has learned
keeps it from forgetting (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").
"""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from plate_ocr.network.crnn import with_box
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import AugmentFn, augment
from plate_ocr.training.fit import make_targets
from plate_ocr.training.styles.row import Drawing


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
        self.size, self.repeats, self.seed = batch_size // 2, repeats, seed
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
