from functools import partial

import numpy as np
import pytest

from plate_ocr.training.styles.counters import HALF_TURN, render_counter
from plate_ocr.training.styles.interpolation import FontInterpolator
from plate_ocr.training.styles.row import INK_THRESHOLD


@pytest.fixture(scope="module")
def render(fonts):
    whole = [font for font in fonts if "stencil" not in font.kind]  # digits of one piece
    return partial(render_counter, FontInterpolator(whole[::4]).interpolate)


def digit_slices(ink):
    """The columns of every digit."""
    columns = (ink < INK_THRESHOLD).any(axis=0).astype(int)
    edges = np.flatnonzero(np.diff(columns, prepend=0, append=0)).reshape(-1, 2)
    return [slice(start, end) for start, end in edges]


def test_a_turning_wheel_shows_about_half_of_its_digit_or_more(render):
    rng, shown = np.random.default_rng(0), []  # of the last digit, relative to the others
    for _ in range(200):
        ink = render("88888", rng).ink
        *others, last = (
            (ink[:, columns] < INK_THRESHOLD).any(axis=1).sum() for columns in digit_slices(ink)
        )
        assert len(others) == 4
        shown.append(last / np.median(others))
    assert min(shown) > 0.45 - HALF_TURN
    assert np.mean(np.less(shown, 0.95)) > 0.05  # some wheels do stand between two digits
