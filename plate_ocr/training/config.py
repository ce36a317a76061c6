"""The hyperparameters: `TrainConfig` with the named ones, and `FineTuneConfig`."""

from dataclasses import dataclass, field
from typing import Any


class TrainingError(RuntimeError):
    """Training cannot start or continue; the message names the file or the reason."""


# Probability of an augmented plate to be drawn again in a style of training/styles.
DRAWN_STYLES = {
    "interpolated": 0.30,
    "handwriting": 0.18,
    "segments": 0.08,
    "counters": 0.10,
    "squared": 0.05,
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The hyperparameters of a run."""

    name: str
    # optimization
    learning_rate: float = 1e-3  # of Adam, its maximum
    warmup_steps: int = 300  # linear warm-up, then cosine decay; 0 keeps the rate constant
    batch_size: int = 128  # half of the described one: twice the steps at the same cost
    epochs: int = 55  # maximum
    patience: int = 5  # epochs without a better one before early stopping
    box_weight: float = 10.0  # of the box in the loss
    # plates
    plates: int = 60_000  # training plates
    val_plates: int = 2_000  # validation plates, for monitoring only
    test_plates: int = 9_940  # read once at the end
    # regularization
    augment: bool = False
    styles: dict[str, float] = field(default_factory=dict)  # if it augments
    surroundings_prob: float = 0.0  # of an augmented plate to get rules, textures, other marks
    dropout: float = 0.0  # before the LSTM
    seed: int = 2026  # of fresh weights, plate order, augmentation and dropout


# What several configurations share.
AUGMENTED: dict[str, Any] = {"augment": True, "styles": DRAWN_STYLES, "surroundings_prob": 0.25}
QUICK: dict[str, Any] = {
    "batch_size": 64,
    "epochs": 4,
    "plates": 6_000,
    "val_plates": 500,
    "test_plates": 1_000,
}

CONFIGS = {
    config.name: config
    for config in (
        # Part I: the run this project started from, known from a description. Without
        # augmentation, dropout keeps the network from memorizing the plates.
        TrainConfig(
            name="described", learning_rate=3e-4, warmup_steps=0, batch_size=256, dropout=0.5
        ),
        # Part II: goes on from Part I with everything drawn; made the weights of the repository.
        TrainConfig(name="robust", epochs=60, **AUGMENTED),
        # A smoke test that takes minutes on a laptop and still learns to read.
        TrainConfig(name="quick", warmup_steps=0, **QUICK),
        # The same for Part II; what it draws takes longer to learn than there is time for.
        TrainConfig(name="quick_robust", warmup_steps=50, **QUICK, **AUGMENTED),
    )
}


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """The hyperparameters of `fine_tune`, which starts from weights that read other digits."""

    # optimization
    learning_rate: float = 5e-4  # of Adam, its maximum
    warmup_steps: int = 30  # linear warm-up, then cosine decay
    batch_size: int = 64  # half own images, half drawn plates
    epochs: int = 12
    box_weight: float = 10.0  # of the box in the loss
    # images
    own_images: int = 2_000  # of an epoch, by repetition
    drawn_plates: int = 2_000  # mixed with them, against forgetting
    measured_plates: int = 300  # drawn ones that are read before and after
    styles: dict[str, float] = field(default_factory=lambda: DRAWN_STYLES)  # of the drawn plates
    surroundings_prob: float = 0.3  # of a drawn plate to get rules, textures, other marks
    seed: int = 2026  # of split, order and augmentation


FINE_TUNE = FineTuneConfig()
