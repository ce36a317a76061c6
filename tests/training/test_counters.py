import numpy as np
import pytest

from plate_ocr.plates.rendering import MARGIN
from plate_ocr.training.styles.counters import HALF_TURN, CounterRenderer
from plate_ocr.training.styles.interpolation import FontInterpolator
from plate_ocr.training.styles.row import INK_THRESHOLD


@pytest.fixture(scope="module")
def render(fonts):
    whole = [font for font in fonts if "stencil" not in font.kind]  # digits of one piece
    return CounterRenderer(FontInterpolator(whole[::4]).interpolate).render


@pytest.fixture(scope="module")
def drawings(render):
    rng = np.random.default_rng(0)
    return [render("88888", rng) for _ in range(200)]


def digit_slices(ink):
    """The columns of every digit."""
    columns = (ink < INK_THRESHOLD).any(axis=0).astype(int)
    edges = np.flatnonzero(np.diff(columns, prepend=0, append=0)).reshape(-1, 2)
    return [slice(start, end) for start, end in edges]


def test_ink_holds_five_separate_digits_inside_the_margins(drawings):
    for plate, ink, has_surroundings in drawings:
        assert has_surroundings and plate.dtype == ink.dtype == np.uint8
        assert plate.shape == ink.shape == (64, 128) and ink.max() == 255
        edge = MARGIN - 1
        assert (ink < INK_THRESHOLD).sum() == (ink < INK_THRESHOLD)[edge:-edge, edge:-edge].sum()
        assert len(digit_slices(ink)) == 5


def test_digits_stand_out_on_their_wheels(drawings):
    contrasts = []
    for plate, ink, _ in drawings:
        for columns in digit_slices(ink):
            digit, on = plate[:, columns].astype(int), ink[:, columns]
            paper = (on == 255) & (on < INK_THRESHOLD).any(axis=1)[:, None]  # holes and corners
            strokes = on < 64
            if paper.any() and strokes.any():
                contrasts.append(abs(np.median(digit[strokes]) - np.median(digit[paper])))
    assert len(contrasts) > 900 and min(contrasts) > 80


def test_a_turning_wheel_shows_most_of_its_digit(drawings):
    shown = []  # of the last digit, relative to the others
    for _, ink, _ in drawings:
        *others, last = (
            (ink[:, columns] < INK_THRESHOLD).any(axis=1).sum() for columns in digit_slices(ink)
        )
        shown.append(last / np.median(others))
    assert min(shown) > 0.45 - HALF_TURN
    assert np.mean(np.less(shown, 0.95)) > 0.05  # some wheels do stand between two digits


def test_from_nine_to_zero_the_wheel_before_turns_too(render):
    def followers(text):
        """How often the wheel before turns as far as the last one."""
        rng = np.random.default_rng(1)
        follows = []
        for _ in range(150):
            ink = render(text, rng).ink
            third, fourth, fifth = (
                np.flatnonzero((ink[:, columns] < INK_THRESHOLD).any(axis=1)).mean()
                for columns in digit_slices(ink)[2:]
            )
            if abs(fifth - third) > 5:
                follows.append(abs(fifth - fourth) < 1.5)
        return np.mean(follows)

    assert followers("55550") > 0.25  # the other half turns from 0 to 1
    assert followers("55558") < 0.1
