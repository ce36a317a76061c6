import keras
import numpy as np
import pytest

from plate_ocr.network.crnn import build_model
from plate_ocr.network.spatial_transformer import CROP_HEIGHT, CROP_WIDTH, MIN_SCALE, TEXT_SIZE
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.training.augmentation import digit_boxes
from plate_ocr.training.batches import make_targets

BOXES = np.array([[40, 20, 91, 40], [3, 3, 125, 61], [60, 3, 125, 18], [20, 50, 90, 61]])


@pytest.fixture(scope="module")
def sample():
    """The network from the edges of the digits to the crop: plates and boxes -> crops."""
    model = build_model()
    edges = [model.get_layer(f"{axis}_edges").output for axis in ("columns", "rows")]
    sampler = keras.Model([model.input, *edges], model.get_layer("crop").output)

    def run(plates, boxes):
        box = make_targets(None, boxes)["box"]
        return sampler.predict([plates, box[:, :2], box[:, 2:]], verbose=0)

    return run


def fill(boxes):
    """Plates with black boxes on white."""
    plates = np.full((len(boxes), PLATE_HEIGHT, PLATE_WIDTH, 1), 255, np.uint8)
    for plate, (left, top, right, bottom) in zip(plates, boxes, strict=True):
        plate[top:bottom, left:right] = 0
    return plates


def test_the_crop_shows_the_box_at_one_size_in_the_middle(sample):
    crops = sample(fill(BOXES), BOXES)
    assert crops.shape == (len(BOXES), CROP_HEIGHT, CROP_WIDTH, 1)
    left, top, right, bottom = digit_boxes(np.uint8(255 * (crops < 0.5))).T
    for found, expected in ((right - left, TEXT_SIZE[0]), (bottom - top, TEXT_SIZE[1])):
        np.testing.assert_allclose(found, expected, atol=2)
    for found, expected in ((left + right, CROP_WIDTH), (top + bottom, CROP_HEIGHT)):
        np.testing.assert_allclose(found, expected, atol=2)


def test_the_smallest_digits_are_enlarged_up_to_a_limit(sample):
    boxes = np.array([[60, 30, 64, 32]])
    crops = sample(fill(boxes), boxes)
    left, top, right, bottom = digit_boxes(np.uint8(255 * (crops < 0.5)))[0]
    np.testing.assert_allclose([right - left, bottom - top], [4 / MIN_SCALE, 2 / MIN_SCALE], atol=2)
    np.testing.assert_allclose([left + right, top + bottom], [CROP_WIDTH, CROP_HEIGHT], atol=2)
