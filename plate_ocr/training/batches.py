"""Batches of training plates, augmented on the fly, with their targets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.plates.fonts import FONT_DIRECTORY
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import PlateAugmentation, digit_boxes
from plate_ocr.training.config import TrainConfig, TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, Distributed
from plate_ocr.utils import cores, spawn_pool

AugmentFn = Callable[
    [np.ndarray, Sequence[str], Sequence[Sequence[int]]], tuple[np.ndarray, np.ndarray]
]


class EpochBatches(keras.utils.PyDataset):
    """Batches in an order that seed and epoch decide, so that a run can resume."""

    seed: int
    batch_size: int
    labels: np.ndarray  # of all plates, int (n, digits)
    repeats = 1  # of every plate in an epoch

    def shuffle(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        orders = [rng.permutation(len(self.labels)) for _ in range(self.repeats)]
        self.order = np.concatenate(orders)


class PlateBatches(EpochBatches):
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
