"""Training configurations: `TrainConfig` and the named ones."""

from dataclasses import dataclass


class TrainingError(RuntimeError):
    """Training cannot start or continue; the message names the file or the reason."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The hyperparameters of a run."""

    name: str
    # optimizer
    learning_rate: float  # of Adam, its maximum
    warmup_steps: int = 0  # linear warm-up, then cosine decay; 0 keeps the rate constant
    batch_size: int
    epochs: int  # maximum
    patience: int  # epochs without a lower training loss before early stopping
    localization_epochs: int = 5  # pre-training of the localization network
    # data
    plates: int  # training plates
    val_plates: int  # validation plates, read after every epoch (monitoring only)
    test_plates: int  # held-out plates, read at the end
    replay_plates: int = 0  # drawn plates mixed with own ones, against forgetting
    # regularization
    dropout: float = 0.0  # before the LSTM
    clean_epochs: int | None = None  # epochs before augmentation starts; None never augments
    font_interpolation_prob: float = 0.0  # of an augmented plate to get an interpolated font
    handwriting_prob: float = 0.0  # of an augmented plate to get synthetic handwriting
    seed: int = 2026  # of fresh weights, plate order, augmentation and dropout


CONFIGS = {
    config.name: config
    for config in (
        # dr_model.h5 (results/training_default.json). Half the batch size of the baseline: twice
        # the steps at half the cost. One clean epoch first: CTC aligns sooner.
        TrainConfig(
            name="default",
            learning_rate=1e-3,
            warmup_steps=600,
            batch_size=128,
            epochs=55,
            patience=5,
            plates=60_000,
            val_plates=2_000,
            test_plates=9_940,
            clean_epochs=1,
            font_interpolation_prob=0.35,
            handwriting_prob=0.2,
        ),
        # The run this project started from, known from a description. Without augmentation,
        # dropout keeps the network from memorising the plates.
        TrainConfig(
            name="baseline",
            learning_rate=3e-4,
            batch_size=256,
            epochs=55,
            patience=5,
            plates=60_000,
            val_plates=2_000,
            test_plates=9_940,
            dropout=0.5,
        ),
        # Own plates, from trained weights: they locate digits already, so low rates suffice.
        TrainConfig(
            name="fine_tuning",
            learning_rate=3e-4,
            batch_size=64,
            epochs=10,
            patience=10,
            localization_epochs=0,
            plates=2_000,
            val_plates=500,
            test_plates=9_940,
            replay_plates=2_000,
            clean_epochs=0,
        ),
        # A smoke test of minutes on a laptop, which still learns to read.
        TrainConfig(
            name="quick",
            learning_rate=2e-3,
            batch_size=64,
            epochs=12,
            patience=5,
            plates=6_000,
            val_plates=500,
            test_plates=1_000,
        ),
    )
}


def get_config(name: str) -> TrainConfig:
    """The configuration of this name.

    Raises:
        TrainingError: there is none.
    """
    if name not in CONFIGS:
        raise TrainingError(f"{name}: no such configuration; choose from {', '.join(CONFIGS)}")
    return CONFIGS[name]
