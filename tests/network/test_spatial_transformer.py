import keras
import numpy as np

from plate_ocr.network.spatial_transformer import (
    CROP_HEIGHT,
    CROP_WIDTH,
    FIXED_POINT_ONE,
    MIN_SCALE,
    NUM_CELLS,
    STRIDE,
    TARGET_SIZE,
    BilinearSampler,
    CropWindow,
    coverage_targets,
)
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH


def place(coverage):
    """Windows in pixels: scale x, offset x, scale y, offset y."""
    return keras.ops.convert_to_numpy(CropWindow()(coverage)) / FIXED_POINT_ONE


def windows_of(boxes):
    return place(coverage_targets(np.array(boxes)))


def in_crop(windows, boxes):
    """Boxes in the plate -> left, top, right, bottom in the crop."""
    return (boxes - 0.5 - windows[:, [1, 3, 1, 3]]) / windows[:, [0, 2, 0, 2]] + 0.5


def crop(plates, windows):
    ink = 1 - plates[..., 0].astype(np.float32) / 255
    windows = (np.array(windows) * FIXED_POINT_ONE).astype(np.int32)
    return keras.ops.convert_to_numpy(BilinearSampler()(ink, windows))


def test_coverage_targets_are_fractions_of_cells():
    coverage = coverage_targets(np.array([[6, 10, 9, 64]]))[0]
    columns, rows = coverage[: NUM_CELLS[0]], coverage[NUM_CELLS[0] :]
    assert columns.sum() * STRIDE == 3 and rows.sum() * STRIDE == 54
    np.testing.assert_allclose(columns[[0, 1, 2, 3]], [0, 0.5, 0.25, 0])
    np.testing.assert_allclose(rows[[1, 2, 3, 15]], [0, 0.5, 1, 1])
    assert coverage.dtype == np.float32


def test_digits_fill_the_crop():
    boxes = np.array([[40, 20, 71, 31], [0, 0, 128, 64], [60, 3, 128, 18], [2, 50, 90, 64]])
    left, top, right, bottom = in_crop(windows_of(boxes), boxes).T
    filled = np.maximum((right - left) / TARGET_SIZE[0], (bottom - top) / TARGET_SIZE[1])
    np.testing.assert_allclose(filled, 1, atol=0.02)
    assert (left >= 0).all() and (right <= CROP_WIDTH).all()
    np.testing.assert_allclose(top + bottom, CROP_HEIGHT, atol=0.3)


def test_the_smallest_digits_are_enlarged_up_to_a_limit():
    windows = windows_of([[60, 30, 64, 32]])
    np.testing.assert_allclose(windows[0, [0, 2]], [MIN_SCALE / 2, MIN_SCALE], atol=1e-3)


def test_narrow_digits_are_stretched_at_most_twice():
    boxes = np.array([[30, 2, 90, 2 + height] for height in (20, 32, 50, 60)])
    windows = windows_of(boxes)
    left, top, right, bottom = in_crop(windows, boxes).T
    np.testing.assert_allclose((right - left)[0], TARGET_SIZE[0], atol=0.1)
    np.testing.assert_allclose(bottom - top, TARGET_SIZE[1], atol=0.1)
    np.testing.assert_allclose(windows[:, 2] / windows[:, 0], [1.44, 2, 2, 2], atol=0.01)


def test_without_digits_the_whole_plate_is_shown():
    windows = place(np.full((1, sum(NUM_CELLS)), 0.2, np.float32))
    plate = in_crop(windows, np.array([[0, 0, PLATE_WIDTH, PLATE_HEIGHT]]))[0]
    assert (plate[:2] >= 0).all() and plate[2] <= CROP_WIDTH and plate[3] <= CROP_HEIGHT


def test_dirt_beside_the_digits_and_a_gap_between_them_hardly_count():
    coverage = coverage_targets(np.array([[40, 20, 80, 36]]))
    expected = place(coverage)
    coverage[0, 15] = 0  # between digits
    coverage[0, 3] = 0.1  # dirt
    np.testing.assert_allclose(place(coverage), expected, atol=0.6)


def test_a_window_at_scale_one_shows_the_pixels_of_the_plate():
    plates = np.random.default_rng(0).integers(0, 256, (2, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    crops = crop(plates, [[1, 0, 1, 16], [1, 0, 1, 32]])
    assert crops.shape == (2, CROP_HEIGHT, CROP_WIDTH, 1)
    np.testing.assert_allclose(crops[0], 1 - plates[0, 16:48] / 255, atol=1e-6)
    np.testing.assert_allclose(crops[1], 1 - plates[1, 32:] / 255, atol=1e-6)


def test_sampling_interpolates_and_repeats_the_edges():
    ramp = np.tile(np.arange(PLATE_WIDTH, dtype=np.uint8)[:, None], (1, PLATE_HEIGHT, 1, 1))
    gray = 255 * (1 - crop(ramp, [[0.5, -10, 1, 0]])[0, 0, :, 0])
    np.testing.assert_allclose(gray, np.maximum(np.arange(CROP_WIDTH) / 2 - 10, 0), atol=0.01)


def test_sampling_averages_where_the_crop_is_smaller():
    stripes = np.zeros((1, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    stripes[:, :, ::2] = 255
    sampled = crop(stripes, [[2, 0.5, 2, 0.5]])[0, :, 1:60]
    np.testing.assert_allclose(sampled, 0.5, atol=0.01)
