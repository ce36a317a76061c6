"""Training configurations: `TrainConfig` and the named ones."""

from dataclasses import dataclass


class TrainingError(RuntimeError):
    """Training cannot start or continue; the message names the file or the reason."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The hyperparameters of a run; the defaults trained dr_model.h5."""

    name: str = "default"
    # optimization
    learning_rate: float = 1e-3  # of Adam, its maximum
    warmup_steps: int = 600  # linear warm-up, then cosine decay; 0 keeps the rate constant
    batch_size: int = 128  # half of the baseline's: twice the steps at half the cost
    epochs: int = 55  # maximum
    patience: int = 5  # epochs without a lower training loss before early stopping
    localization_epochs: int = 5  # pre-training of the localization network
    # plates
    plates: int = 60_000  # training plates
    val_plates: int = 2_000  # read after every epoch, for monitoring only
    test_plates: int = 9_940  # read once at the end
    replay_plates: int = 0  # drawn plates mixed with one's own, against forgetting
    # regularization
    clean_epochs: int | None = 1  # before augmentation starts; None never augments
    font_interpolation_prob: float = 0.35  # of an augmented plate to get an interpolated font
    handwriting_prob: float = 0.2  # of an augmented plate to get synthetic handwriting
    dropout: float = 0.0  # before the LSTM
    seed: int = 2026  # of fresh weights, plate order, augmentation and dropout


CONFIGS = {
    config.name: config
    for config in (
        # The weights of the repository (results/training_default.json).
        TrainConfig(name="default"),
        # The run this project started from, known from a description. Without augmentation,
        # dropout keeps the network from memorising the plates.
        TrainConfig(
            name="baseline",
            learning_rate=3e-4,
            warmup_steps=0,
            batch_size=256,
            epochs=55,
            patience=5,
            clean_epochs=None,
            dropout=0.5,
        ),
        # Plates of one's own, from weights that locate and read other digits already.
        TrainConfig(
            name="fine_tuning",
            learning_rate=3e-4,
            warmup_steps=0,
            batch_size=64,
            epochs=10,
            patience=10,
            localization_epochs=0,
            plates=2_000,
            val_plates=500,
            replay_plates=2_000,
            clean_epochs=0,
            font_interpolation_prob=0.0,
            handwriting_prob=0.0,
        ),
        # A smoke test that takes minutes on a laptop and still learns to read.
        TrainConfig(
            name="quick",
            learning_rate=2e-3,
            warmup_steps=0,
            batch_size=64,
            epochs=12,
            plates=6_000,
            val_plates=500,
            test_plates=1_000,
            clean_epochs=None,
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
