import numpy as np
import pytest

from plate_ocr import PlateReader
from plate_ocr.evaluation.benchmark import load_benchmark
from plate_ocr.plates.alphabet import SUPPORTED_LENGTHS
from plate_ocr.plates.dataset import render_plates
from plate_ocr.reading.ctc import Predictions, decode_logits, text_log_probability
from plate_ocr.reading.reader import CERTAIN
from plate_ocr.reading.tta import CUT_OUT, TURNED, USUAL, VIEWS, make_views, merge_views, text_bbox


def decoded(texts, text_probability, place=0.5):
    count = len(texts)
    return Predictions(
        texts,
        [f"greedy {text}" for text in texts],
        np.full((count, 5), text_probability[0]),
        np.full((count, 5), place),
        np.array(text_probability),
        np.full(count, text_probability[0]),
    )


def logits_of(text, peak, first_step=2, step=5):
    """Logits (32, 11) that spell a text, a digit every few steps, surer with a higher peak."""
    logits = np.zeros((32, 11))
    logits[:, 0] = peak
    for place, digit in enumerate(text):
        at = first_step + step * place
        logits[at, 0], logits[at, 1 + int(digit)] = 0, peak
    return logits


def on_a_label(images):
    """White digits on black labels on light grey, the labels a little larger than the digits."""
    labels = np.full_like(images, 225)
    for image, label in zip(images[..., 0], labels[..., 0], strict=True):
        left, top, right, bottom = text_bbox(image)
        box = slice(max(top - 4, 0), bottom + 4), slice(max(left - 4, 0), right + 4)
        label[box] = 255 - image[box]
    return labels


def centre(image):
    """Rows and columns of the middle of the ink."""
    ink = 255.0 - image[..., 0]
    rows, columns = np.indices(ink.shape)
    return (rows * ink).sum() / ink.sum(), (columns * ink).sum() / ink.sum()


def test_views_show_the_plate_elsewhere_and_tell_where():
    images = render_plates(range(6)).images
    views, places = make_views(images)
    assert views.shape == (len(VIEWS), *images.shape) and views.dtype == np.uint8
    assert places.shape == (5, 6, 2)
    # Turned about the middle of the frame, digits above and below it shift along by a few pixels.
    tolerances = (0.2, 2.5, 0.5, 0.5, 0.5)
    for view, shown_at, within in zip(views, places, tolerances, strict=True):
        assert not (view == images).all()
        for image, seen, (scale, offset) in zip(images, view, shown_at, strict=True):
            column = (centre(seen)[1] + 0.5) / 128 * scale + offset
            assert column * 128 - 0.5 == pytest.approx(centre(image)[1], abs=within)
    for image, seen in zip(images, views[0], strict=True):
        assert centre(seen) == pytest.approx(np.subtract(centre(image), 2), abs=0.2)


def test_one_view_is_turned():
    level = np.full((1, 64, 128, 1), 255, np.uint8)
    level[0, 30:34, 20:108] = 0
    turned = make_views(level)[0][VIEWS.index("turned"), 0]
    rows = [centre(turned[:, part])[0] for part in (slice(0, 64), slice(64, 128))]
    assert rows[0] - rows[1] == pytest.approx(44 * np.tan(np.deg2rad(TURNED)), abs=0.3)


def test_the_last_three_views_are_of_a_size_in_the_middle_and_dark_on_light():
    images = render_plates(range(6)).images
    for plates in (images, 255 - images):
        views, _ = make_views(plates)
        for view, (width, height) in zip(views[2:], (USUAL, *CUT_OUT), strict=True):
            for seen in view[..., 0]:
                left, top, right, bottom = text_bbox(seen)
                assert np.median(seen) > 200
                assert max((right - left) / width, (bottom - top) / height) == pytest.approx(
                    1, abs=0.15
                )
                assert (left + right) / 2 == pytest.approx(64, abs=1.5)
                assert (top + bottom) / 2 == pytest.approx(32, abs=1.5)


def test_a_label_is_cut_out_and_goes_on():
    images = render_plates(range(6)).images
    views, _ = make_views(on_a_label(images))
    for view in views[3:, ..., 0]:
        edges = np.concatenate([view[:, 0], view[:, -1], view[:, :, 0], view[:, :, -1]], axis=1)
        assert edges.min() > 250


def test_the_edge_of_the_paper_goes_on():
    grey = np.full((1, 64, 128, 1), 177, np.uint8)
    assert (make_views(grey)[0] == 177).all()


def test_ink_is_what_is_unlike_the_edge_but_no_single_grains():
    plate = np.full((64, 128), 200, np.uint8)
    assert text_bbox(plate) == (0, 0, 128, 64)
    plate[20:31, 40:71] = 60
    plate[5, 5] = plate[60, 120] = 0
    assert text_bbox(plate) == (40, 20, 71, 31)
    assert text_bbox(255 - plate) == (40, 20, 71, 31)


def test_the_text_of_most_probability_over_all_looks_wins():
    looks = np.stack(
        [
            [logits_of("11111", 4.0), logits_of("22222", 9.0)],
            [logits_of("33333", 6.0), logits_of("22222", 3.0)],
            [logits_of("33333", 6.5, first_step=4), logits_of("44444", 7.0)],
        ]
    )
    places = np.array([[(1, 0), (1, 0)], [(1, 0.1), (1, 0)], [(0.5, 0.2), (1, 0)]])
    together = merge_views(looks, places, digits=5)
    assert together.texts == ["33333", "22222"]
    assert together.greedy_texts == ["11111", "22222"]  # of the plate as it is
    for row, label in enumerate(([4] * 5, [3] * 5)):
        of_looks = np.exp([text_log_probability(look[[row]], [label])[0] for look in looks])
        assert together.text_probability[row] == pytest.approx(of_looks.mean())
    each = [decode_logits(look) for look in looks]
    np.testing.assert_allclose(
        together.length_probability, np.mean([one.length_probability for one in each], axis=0)
    )
    # The digits are those of the surest look that reads the text, in the place they have there.
    np.testing.assert_allclose(together.digit_confidence[0], each[2].digit_confidence[0])
    np.testing.assert_allclose(together.digit_position[0], each[2].digit_position[0] * 0.5 + 0.2)
    np.testing.assert_allclose(together.digit_position[1], each[0].digit_position[1])


def test_a_text_that_another_look_finds_possible_has_that_counted_too():
    """Two looks read 8 where the third reads 3, which the two find nearly as likely."""
    either = logits_of("12845", 8.0)
    either[12, 4] = 7.9  # 3
    three = logits_of("12345", 8.0)
    looks = np.stack([either, either, three])[:, None]
    together = merge_views(looks, np.ones((3, 1, 2)), digits=5)
    assert together.texts == ["12345"]


def test_a_look_without_finite_logits_costs_no_other_look_its_say():
    looks = np.stack([logits_of("12345", 8.0), logits_of("12345", 7.0)])[:, None]
    looks = np.repeat(looks, 2, axis=1)
    looks[0, 1, 3, 2] = np.nan
    together = merge_views(looks, np.tile([1.0, 0.0], (2, 2, 1)), digits=5)
    assert together.texts == ["12345", "12345"]
    assert 0.4 < together.text_probability[1] / together.text_probability[0] < 0.6


@pytest.mark.parametrize("digits", SUPPORTED_LENGTHS)
def test_plates_of_any_count_of_digits_are_looked_at_again(digits):
    texts = "1234567"[:digits], "7654321"[:digits]
    looks = np.stack([logits_of(text, 8.0, step=4) for text in (*texts, texts[1])])[:, None]
    together = merge_views(looks, np.array([[(1, 0)], [(1, -0.5)], [(1, -0.5)]]), digits)
    assert together.texts == [texts[1]] and len(together.digit_confidence[0]) == digits
    place = together.digit_position[0]
    assert place.min() == 0 and place.max() < 0.5  # no place lies outside of the plate


def test_what_is_read_again_in_float32_is_looked_at_in_it_too(shipped):
    """Where the engine rounds, the exact one gives the logits of the unsure plate and its views."""
    plates = load_benchmark("tuning")
    rows = np.flatnonzero(shipped.predict(plates.images).text_probability < 0.5)[:3]
    reader = PlateReader(tta=True)
    usual, seen = reader.backend, []

    def exact(images):
        seen.append(len(images))
        return usual(images)

    reader.exact = exact
    reader.backend = lambda images: usual(images) if not seen else pytest.fail("rounded")
    reader.predict(plates.images[rows])
    assert seen == [3, 3 * len(VIEWS)]


def test_many_plates_are_looked_at_again_in_parts(shipped):
    plates = load_benchmark("no_plate").sample(140)
    reader = PlateReader(tta=True)
    whole = reader.predict(plates.images)
    for start in (0, 70):
        part = reader.predict(plates.images[start : start + 70])
        assert part.texts == whole.texts[start : start + 70]


def test_rows_are_put_back():
    ours = decoded(["11111", "22222", "33333"], [0.1, 0.2, 0.3])
    put = ours.with_rows(np.array([2, 0]), decoded(["44444", "55555"], [0.4, 0.5], place=0.1))
    assert put.texts == ["55555", "22222", "44444"]
    assert put.greedy_texts == ["greedy 55555", "greedy 22222", "greedy 44444"]
    assert put.text_probability.tolist() == [0.5, 0.2, 0.4]
    assert put.digit_position[:, 0].tolist() == [0.1, 0.5, 0.1]
    assert ours.texts == ["11111", "22222", "33333"]  # as they were


def test_the_careful_reader_reads_labels():
    plates = render_plates(range(95_000, 95_400))
    labels = on_a_label(plates.images)
    once, tta = (PlateReader(tta=tta).predict(labels) for tta in (False, True))
    right = [sum(map(str.__eq__, one.texts, plates.labels)) for one in (once, tta)]
    assert right[1] >= 395 > right[0]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_careful_reader_changes_what_is_not_certain_and_reads_more_of_it(backend):
    plates = load_benchmark("tuning").sample(600)
    readers = [PlateReader(backend=backend, tta=tta) for tta in (False, True)]
    usual, tta = (reader.predict(plates.images) for reader in readers)
    certain = usual.text_probability >= CERTAIN
    for before, after, same in zip(usual.texts, tta.texts, certain, strict=True):
        assert before == after or not same
    right = [sum(map(str.__eq__, one.texts, plates.labels)) for one in (usual, tta)]
    assert right[1] > right[0]
    # `read` goes the same way.
    row = int(np.argmin(usual.text_probability))
    reading = readers[1].read(plates.images[row, :, :, 0])
    assert reading.text == tta.texts[row] and reading.greedy_text == usual.greedy_texts[row]


def test_the_careful_reader_decodes_what_the_usual_one_does_where_all_is_certain(shipped):
    images = render_plates(range(4)).images
    plain = decode_logits(shipped.logits(images))
    tta = PlateReader(tta=True).predict(images)
    assert tta.texts == plain.texts and min(plain.text_probability) > CERTAIN
