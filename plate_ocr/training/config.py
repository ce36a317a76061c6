"""How a network is trained: `TrainConfig` and the named configurations."""

from dataclasses import dataclass

import keras


class TrainingError(RuntimeError):
    """Training cannot go on; the message names the file or the reason."""


def warmup_cosine(
    highest: float, steps: int, warmup_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A learning rate that rises over some of the steps, then falls as half a cosine."""
    return keras.optimizers.schedules.CosineDecay(
        highest / 10,
        decay_steps=max(steps - warmup_steps, 1),  # Keras counts them from the end of the rise
        alpha=0.01,  # of the highest, where it ends
        warmup_target=highest,
        warmup_steps=warmup_steps,
    )


@dataclass(frozen=True)
class TrainConfig:
    """How a run is trained."""

    name: str
    learning_rate: float  # of Adam, its highest
    batch_size: int
    epochs: int  # at most
    patience: int  # epochs without a lower training loss before stopping
    plates: int  # to train on
    val_plates: int  # read after every epoch, from position 90,000 on
    test_plates: int  # read at the end, from position 90,000 on
    localization_epochs: int = 5  # before, in which the network learns where digits stand
    warmup_steps: int = 0  # over which the learning rate rises; 0 keeps it constant throughout
    clean_epochs: int | None = None  # before plates are distorted; None never distorts them
    font_interpolation_prob: float = 0.0  # of the distorted plates, redrawn in blended faces first
    handwriting_prob: float = 0.0  # of the distorted plates, written with a pen first
    dropout: float = 0.0  # before the LSTM
    replay_plates: int = 0  # mixed with own ones, so that a network that knows others keeps them
    seed: int = 2026  # of fresh weights, of the order of plates and of their distortions

    def schedule(self, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
        """The learning rate: constant, or a rise and then half a cosine down over all epochs.

        Args:
            steps: batches an epoch.
        """
        if not self.warmup_steps:
            return self.learning_rate
        return warmup_cosine(self.learning_rate, self.epochs * steps, self.warmup_steps)


class Configs(dict[str, TrainConfig]):
    """Recipes by their names."""

    def __missing__(self, name: str) -> TrainConfig:
        raise TrainingError(f"{name}: no config; take one of {', '.join(self)}")


CONFIGS = Configs(
    (config.name, config)
    for config in [
        # What dr_model.h5 comes from (results/training_default.json). Batches of half the size told
        # are twice as many steps, and each costs half. The first epoch is plain: CTC aligns sooner.
        TrainConfig(
            *("default", 1e-3, 128, 55, 5, 60_000, 2_000, 9_940),
            warmup_steps=600,
            clean_epochs=1,
            font_interpolation_prob=0.35,
            handwriting_prob=0.2,
        ),
        # The run as it was described to us. Without distortions, dropout keeps it from learning
        # the plates by heart.
        TrainConfig("baseline", 3e-4, 256, 55, 5, 60_000, 2_000, 9_940, dropout=0.5),
        # For own plates, from weights that find digits and read others already.
        TrainConfig(
            *("fine_tuning", 3e-4, 64, 10, 10, 2_000, 500, 9_940),
            localization_epochs=0,
            clean_epochs=0,
            replay_plates=2_000,
        ),
        # Small enough for a laptop, large enough to read something: it proves the machinery.
        TrainConfig("quick", 2e-3, 64, 12, 5, 6_000, 500, 1_000),
    ]
)
