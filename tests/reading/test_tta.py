import numpy as np
import pytest

from plate_ocr import PlateReader
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.plates.alphabet import SUPPORTED_LENGTHS
from plate_ocr.plates.dataset import render_plates
from plate_ocr.plates.images import border_pixels
from plate_ocr.reading.ctc import decode_logits, softmax, text_probability
from plate_ocr.reading.reader import TTA_THRESHOLD
from plate_ocr.reading.tta import TEXT_AREA, VIEWS, make_views, merge_views, text_bbox


def text_logits(text, peak, first_step=2, step=5):
    """Logits (32, 11) that spell a text, a digit every few steps; a higher peak is more likely."""
    logits = np.zeros((32, 11))
    logits[:, 0] = peak
    for place, digit in enumerate(text):
        logits[first_step + step * place, [0, 1 + int(digit)]] = 0, peak
    return logits


def on_a_label(images):
    """White digits on black labels on light gray, the labels a little larger than the digits."""
    labels = np.full_like(images, 225)
    for image, label in zip(images[..., 0], labels[..., 0], strict=True):
        left, top, right, bottom = text_bbox(image)
        box = slice(max(top - 4, 0), bottom + 4), slice(max(left - 4, 0), right + 4)
        label[box] = 255 - image[box]
    return labels


def ink_center(image):
    """Column and row of the center of the ink."""
    ink = 255.0 - image[..., 0]
    rows, columns = np.indices(ink.shape)
    return np.array([(columns * ink).sum(), (rows * ink).sum()]) / ink.sum()


def test_views_show_the_plate_elsewhere_and_say_where():
    images = render_plates(range(6)).images
    views, affine = make_views(images)
    assert views.shape == (len(VIEWS), *images.shape) and views.dtype == np.uint8
    for name, view, maps in zip(VIEWS, views, affine, strict=True):
        for image, seen, (scale, offset) in zip(images, view, maps, strict=True):
            assert not np.array_equal(seen, image)
            column = (ink_center(seen)[0] + 0.5) / 128 * scale + offset
            assert column * 128 - 0.5 == pytest.approx(ink_center(image)[0], abs=0.5)
            if name == "shifted":
                assert ink_center(seen) == pytest.approx(ink_center(image) - 2, abs=0.2)


def test_the_crop_shows_dark_text_centered_in_its_size_on_a_light_background():
    images = render_plates(range(6)).images
    for plates in (images, 255 - images, on_a_label(images)):
        for crop in make_views(plates)[0][1, ..., 0]:
            left, top, right, bottom = text_bbox(crop)
            assert border_pixels(crop).min() > 250
            fill = max((right - left) / TEXT_AREA[0], (bottom - top) / TEXT_AREA[1])
            assert fill == pytest.approx(1, abs=0.15)
            assert (left + right) / 2 == pytest.approx(64, abs=1.5)
            assert (top + bottom) / 2 == pytest.approx(32, abs=1.5)


def test_the_text_is_all_that_differs_from_the_border_but_isolated_pixels():
    plate = np.full((64, 128), 200, np.uint8)
    assert text_bbox(plate) == (0, 0, 128, 64)
    assert (make_views(plate[None, ..., None])[0] == 200).all()
    plate[20:31, 40:71] = 60
    plate[5, 5] = plate[60, 120] = 0
    assert text_bbox(plate) == text_bbox(255 - plate) == (40, 20, 71, 31)


def test_the_text_with_the_highest_mean_probability_wins():
    logits = np.stack(
        [
            [text_logits("11111", 4.0), text_logits("22222", 9.0)],
            [text_logits("33333", 6.0), text_logits("22222", 3.0)],
            [text_logits("33333", 6.5, first_step=4), text_logits("44444", 7.0)],
        ]
    )
    affine = np.array([[(1, 0), (1, 0)], [(1, 0.1), (1, 0)], [(0.5, 0.2), (1, 0)]])
    merged = merge_views(logits, affine, digits=5)
    assert merged.texts == ["33333", "22222"]
    assert merged.greedy_texts == ["11111", "22222"]  # of the original plate
    for row, label in enumerate(([4] * 5, [3] * 5)):
        expected = text_probability(softmax(logits[:, row]), np.array([label] * 3)).mean()
        assert merged.text_probability[row] == pytest.approx(expected)
    # The digits are those of the most confident view with this text, in their place on the plate.
    views = [decode_logits(view) for view in logits]
    np.testing.assert_allclose(merged.digit_confidence[0], views[2].digit_confidence[0])
    np.testing.assert_allclose(merged.digit_position[0], views[2].digit_position[0] * 0.5 + 0.2)
    np.testing.assert_allclose(merged.digit_position[1], views[0].digit_position[1])


@pytest.mark.parametrize("digits", SUPPORTED_LENGTHS)
def test_views_of_plates_with_other_numbers_of_digits_are_merged(digits):
    texts = "1234567"[:digits], "7654321"[:digits]
    logits = np.stack([text_logits(text, 8.0, step=4) for text in (*texts, texts[1])])[:, None]
    merged = merge_views(logits, np.array([[(1, 0)], [(1, -0.5)], [(1, -0.5)]]), digits)
    assert merged.texts == [texts[1]] and merged.digit_confidence.shape == (1, digits)
    assert merged.digit_position.min() == 0  # positions are clipped to the plate


def test_tta_changes_low_confidence_plates_alone_and_reads_more_of_them():
    plates = load_benchmark("tuning")
    plain, tta = (PlateReader(tta=tta).predict(plates.images) for tta in (False, True))
    for row in np.flatnonzero(plain.text_probability >= TTA_THRESHOLD):
        assert tta.texts[row] == plain.texts[row]
        assert tta.text_probability[row] == plain.text_probability[row]
    correct = [sum(map(str.__eq__, found.texts, plates.labels)) for found in (plain, tta)]
    assert correct[1] > correct[0]
