import numpy as np
import pytest

from plate_ocr.plates.alphabet import decode, encode
from plate_ocr.plates.dataset import render_plates
from plate_ocr.training.batches import (
    PlateBatches,
    in_process_pool,
    make_augmentation,
    make_targets,
)
from plate_ocr.training.config import CONFIGS, TrainingError
from plate_ocr.training.distributed import Distributed


@pytest.fixture(scope="module")
def plates():
    return render_plates(range(48))


def test_every_epoch_takes_every_plate_once_in_its_own_order(plates):
    batches = PlateBatches(plates, 20, seed=1)

    def plates_of(epoch):
        batches.shuffle(epoch)
        loaded = [batches[batch] for batch in range(len(batches))]
        assert [len(targets["logits"]) for _, targets in loaded] == [20, 20, 8]
        return [
            (image.tobytes(), label)
            for images, targets in loaded
            for image, label in zip(images, decode(targets["logits"]), strict=True)
        ]

    first, second = plates_of(0), plates_of(1)
    assert first != second == plates_of(1)
    expected = zip(map(np.ndarray.tobytes, plates.images), plates.labels, strict=True)
    assert sorted(first) == sorted(second) == sorted(expected)


def test_targets_are_labels_and_edges_in_plate_widths_and_heights():
    labels = encode(["00123", "98765"])
    targets = make_targets(labels, np.array([[0, 16, 128, 48], [32, 0, 64, 64]]))
    assert targets["logits"] is labels and targets["box"].dtype == np.float32
    assert targets["box"].tolist() == [[0, 1, 0.25, 0.75], [0.25, 0.5, 0, 1]]


def assert_equal_batches(actual, expected):
    assert np.array_equal(actual[0], expected[0]) and actual[1].keys() == expected[1].keys()
    for name, target in actual[1].items():
        assert np.array_equal(target, expected[1][name])


def test_processes_augment_as_threads_do(plates):
    augment = make_augmentation(CONFIGS["robust"])
    with in_process_pool(augment, processes=3) as in_processes:
        assert in_processes is not augment
        assert_equal_batches(*(PlateBatches(plates, 20, 1, a)[2] for a in (augment, in_processes)))


def test_every_host_takes_its_own_shard_of_a_batch(plates):
    augment = make_augmentation(CONFIGS["robust"])
    images, targets = PlateBatches(plates, 12, 1, augment)[0]
    shards = [
        PlateBatches(plates, 12, 1, augment, Distributed(index, 3, 3))[0] for index in range(3)
    ]
    joined = {name: np.concatenate([shard[1][name] for shard in shards]) for name in targets}
    assert_equal_batches(
        (np.concatenate([shard[0] for shard in shards]), joined), (images, targets)
    )
    with pytest.raises(TrainingError, match="5 devices"):
        PlateBatches(plates, 12, 0, host=Distributed(0, 5, 5))
