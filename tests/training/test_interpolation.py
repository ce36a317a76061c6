import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.synthetic_fonts.interpolation import FontInterpolator, _keep_ink


@pytest.fixture(scope="module")
def blender(fonts):
    return FontInterpolator(fonts[::5])


def test_a_plate_depends_on_its_generator_alone(blender):
    one, again, other = (blender.draw("01234", np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.shape == (64, 128) and one.dtype == np.uint8
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("written", [False, True])
def test_five_dark_digits_inside_the_frame(blender, written):
    random = np.random.default_rng(0)
    separate = 0
    for _ in range(300):
        plate = blender.draw(f"{random.integers(100_000):05d}", random, written)
        assert plate.max() == 255 and plate.min() < 100
        inked = plate < 200
        edge = MARGIN - 1
        assert not inked[:edge].any() and not inked[-edge:].any()
        assert not inked[:, :edge].any() and not inked[:, -edge:].any()
        columns = np.diff(inked.any(axis=0).astype(int), prepend=0, append=0)
        separate += (columns == 1).sum() >= 5
    assert separate > 0.7 * 300  # slanted and close digits share columns


def test_keeping_the_ink_of_a_face_leaves_its_digits_as_they_are(blender):
    kept = _keep_ink(blender.fields[3], blender.inked[3])
    assert np.abs(kept - blender.fields[3]).max() < 0.05


def test_a_share_is_redrawn_and_the_rest_left_alone(blender):
    images = np.full((400, 64, 128, 1), 7, np.uint8)
    redrawn = blender.redraw(images, ["12345"] * 400, 0.3, 0.1, np.random.default_rng(0))
    same = (redrawn == 7).all(axis=(1, 2, 3))
    assert same.mean() == pytest.approx(0.6, abs=0.08) and (images == 7).all()
