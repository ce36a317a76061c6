import keras
import numpy as np

from plate_ocr.network.spatial_transformer import (
    CELL,
    CELLS,
    CLOSEST,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    ROOM,
    UNIT,
    WIDENED,
    BilinearSampler,
    Frame,
    cover,
)
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH

BOXES = np.array([[40, 20, 71, 31], [0, 0, 128, 64], [60, 3, 128, 18], [2, 50, 90, 64]])


def place(shares):
    """Frames in pixels."""
    return keras.ops.convert_to_numpy(Frame()(shares)) / UNIT


def frames_of(boxes):
    return place(cover(np.array(boxes)))


def within(frames, boxes):
    """Boxes in the plate -> where they are in the frame: left, top, right, bottom."""
    step, start = frames[:, [0, 2, 0, 2]], frames[:, [1, 3, 1, 3]]
    return (boxes - 0.5 - start) / step + 0.5


def test_cells_are_covered_by_their_shares():
    shares = cover(np.array([[6, 10, 9, 64]]))[0]
    columns, rows = shares[: CELLS[0]], shares[CELLS[0] :]
    assert columns.sum() * CELL == 3 and rows.sum() * CELL == 54
    np.testing.assert_allclose(columns[[0, 1, 2, 3]], [0, 0.5, 0.25, 0])
    np.testing.assert_allclose(rows[[1, 2, 3, 15]], [0, 0.5, 1, 1])
    assert shares.dtype == np.float32


def test_digits_fill_the_frame():
    left, top, right, bottom = within(frames_of(BOXES), BOXES).T
    filled = np.maximum((right - left) / ROOM[0], (bottom - top) / ROOM[1])
    np.testing.assert_allclose(filled, 1, atol=0.02)
    assert (left >= 0).all() and (right <= FRAME_WIDTH).all()
    np.testing.assert_allclose(top + bottom, FRAME_HEIGHT, atol=0.3)


def test_the_smallest_digits_are_not_blown_up_without_end():
    frames = frames_of([[60, 30, 64, 32]])
    assert frames[0, 2] == round(CLOSEST * UNIT) / UNIT
    assert frames[0, 0] == round(CLOSEST * UNIT) // WIDENED / UNIT


def test_narrow_digits_are_widened_to_fill_their_columns_but_at_most_twice():
    heights = np.array([20, 32, 50, 60])
    boxes = np.array([[30, 2, 90, 2 + height] for height in heights])
    frames = frames_of(boxes)
    left, top, right, bottom = within(frames, boxes).T
    np.testing.assert_allclose((right - left)[0], ROOM[0], atol=0.1)
    np.testing.assert_allclose(bottom - top, ROOM[1], atol=0.1)
    np.testing.assert_allclose(frames[:, 2] / frames[:, 0], [1.44, 2, 2, 2], atol=0.01)


def test_what_stands_further_right_stands_further_right_in_the_frame():
    boxes = np.array([[x, 20, x + 60, 34] for x in range(0, 69, 4)])
    left, _, right, _ = within(frames_of(boxes), boxes).T
    assert (np.diff(left) > 0).all() and left[0] >= 4 and right[-1] <= FRAME_WIDTH - 4


def test_engines_that_round_otherwise_place_nearly_all_frames_alike():
    random = np.random.default_rng(0)
    shares = random.uniform(0, 1, (1_000, sum(CELLS))).astype(np.float32)
    noise = random.uniform(-1e-6, 1e-6, shares.shape).astype(np.float32)
    frames = [keras.ops.convert_to_numpy(Frame()(one)) for one in (shares, shares + noise)]
    assert frames[0].dtype == np.int32 and len(np.unique(frames[0], axis=0)) > 900
    assert (frames[0] == frames[1]).all(axis=1).mean() > 0.99


def test_without_digits_the_whole_plate_is_shown():
    nothing = np.full((1, sum(CELLS)), 0.2, np.float32)
    frames = place(nothing)
    plate = within(frames, np.array([[0, 0, PLATE_WIDTH, PLATE_HEIGHT]]))[0]
    assert (plate[:2] >= 0).all() and plate[2] <= FRAME_WIDTH and plate[3] <= FRAME_HEIGHT


def test_a_faint_cell_beside_the_digits_and_a_gap_between_them_count_little():
    shares = cover(np.array([[40, 20, 80, 36]]))
    shares[0, 15] = 0  # between digits
    shares[0, 3] = 0.1  # dirt
    found, expected = place(shares), frames_of([[40, 20, 80, 36]])
    np.testing.assert_allclose(found, expected, atol=0.6)


def cut(plates, frames):
    ink = 1 - plates[..., 0].astype(np.float32) / 255
    return keras.ops.convert_to_numpy(
        BilinearSampler()(ink, (np.array(frames) * UNIT).astype(np.int32))
    )


def test_a_frame_over_pixels_shows_those_pixels():
    plates = np.random.default_rng(0).integers(0, 256, (2, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    shown = cut(plates, [[1, 0, 1, 16], [1, 0, 1, 32]])
    assert shown.shape == (2, FRAME_HEIGHT, FRAME_WIDTH, 1)
    np.testing.assert_allclose(shown[0], 1 - plates[0, 16:48] / 255, atol=1e-6)
    np.testing.assert_allclose(shown[1], 1 - plates[1, 32:] / 255, atol=1e-6)


def test_a_frame_interpolates_and_goes_on_beyond_the_edges():
    ramp = np.tile(np.arange(PLATE_WIDTH, dtype=np.uint8)[:, None], (1, PLATE_HEIGHT, 1, 1))
    grey = 255 * (1 - cut(ramp, [[0.5, -10, 1, 0]])[0, 0, :, 0])
    np.testing.assert_allclose(grey, np.maximum(np.arange(FRAME_WIDTH) / 2 - 10, 0), atol=0.01)


def test_what_is_made_smaller_is_averaged_not_skipped():
    stripes = np.zeros((1, PLATE_HEIGHT, PLATE_WIDTH, 1), np.uint8)
    stripes[:, :, ::2] = 255
    shown = cut(stripes, [[2, 0.5, 2, 0.5]])[0, :, 1:60]
    np.testing.assert_allclose(shown, 0.5, atol=0.01)
