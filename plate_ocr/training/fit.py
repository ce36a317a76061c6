"""Train the network; an interrupted run resumes."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from plate_ocr.network.checkpoint import load_metadata, load_model
from plate_ocr.network.crnn import architecture_hash, build_model, compile_model
from plate_ocr.network.spatial_transformer import with_box
from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.dataset import PlateDataset
from plate_ocr.training.augmentation import digit_boxes
from plate_ocr.training.batches import (
    EpochBatches,
    PlateBatches,
    in_process_pool,
    make_augmentation,
    make_targets,
)
from plate_ocr.training.callbacks import ResumableCheckpoint
from plate_ocr.training.config import TrainConfig, TrainingError
from plate_ocr.training.distributed import SINGLE_HOST, Distributed
from plate_ocr.training.saving import device_name
from plate_ocr.utils import cores, cpu_supports

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # a graph for every model is no fault


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
        validation_data = validation.images, targets
        fit_epochs(trained, batches, config.epochs, checkpoint, validation_data, epoch_line)
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
    batches: EpochBatches,
    epochs: int,
    checkpoint: ResumableCheckpoint,
    validation_data: tuple[np.ndarray, Any],
    line: Callable[[dict], str],
) -> None:
    """Fit a compiled model from the epoch that the checkpoint has reached, with a line for each."""
    start, history = checkpoint.state["epoch"], checkpoint.state["history"]

    def seed_epoch(epoch: int, logs: dict) -> None:
        batches.shuffle(epoch)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):  # no checkpoint holds its state
                layer.seed_generator.state.assign([batches.seed, epoch])

    def print_epoch(epoch: int, logs: dict) -> None:
        print(line(history[-1]), flush=True)

    if start:
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
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=seed_epoch),
            checkpoint,
            keras.callbacks.LambdaCallback(on_epoch_end=print_epoch),
        ],
        verbose=0,
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


def best_dtype_policy() -> str:
    """The fastest Keras dtype policy that is safe: mixed bfloat16 where the processor supports it.

    With AMX, a step takes three fifths of the time of float32. GPUs may lack bfloat16, and on JAX
    it was not tried.
    """
    on_cpu = keras.backend.backend() == "tensorflow" and "GPU" not in device_name()
    return "mixed_bfloat16" if on_cpu and cpu_supports("amx_bf16", "avx512_bf16") else "float32"
