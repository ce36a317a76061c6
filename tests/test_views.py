import numpy as np
import pytest

from plate_ocr import PlateReader
from plate_ocr.dataset import draw_plates
from plate_ocr.decoding import Decoded, decode_plates
from plate_ocr.evaluation import load_benchmark
from plate_ocr.views import PLACES, agree, views_of


def decoded(texts, text_probability, place=0.5):
    count = len(texts)
    return Decoded(
        texts,
        [f"greedy {text}" for text in texts],
        np.full((count, 5), text_probability[0]),
        np.full((count, 5), place),
        np.array(text_probability),
        np.full(count, text_probability[0]),
    )


def centre(image):
    """Rows and columns of the middle of the ink."""
    ink = 255.0 - image[..., 0]
    rows, columns = np.indices(ink.shape)
    return (rows * ink).sum() / ink.sum(), (columns * ink).sum() / ink.sum()


def test_views_are_moved_and_made_smaller_and_tell_where_a_place_was():
    images = draw_plates(range(6)).images
    views = views_of(images)
    assert views.shape == (3, *images.shape) and views.dtype == np.uint8
    for view, (scale, offset) in zip(views, PLACES, strict=True):
        for image, seen in zip(images, view, strict=True):
            column = (centre(seen)[1] + 0.5) / 128 * scale + offset
            assert column * 128 - 0.5 == pytest.approx(centre(image)[1], abs=0.3)
    up, down = (centre(view[0])[0] - centre(images[0])[0] for view in views[:2])
    assert (up, down) == (pytest.approx(-2), pytest.approx(2))


def test_the_edge_of_the_paper_goes_on():
    grey = np.full((1, 64, 128, 1), 77, np.uint8)
    assert (views_of(grey) == 77).all()


def test_the_text_of_most_probability_over_all_views_wins():
    plain = decoded(["11111", "22222"], [0.5, 0.9])
    views = [
        decoded(["33333", "22222"], [0.4, 0.3], place=0.25),
        decoded(["33333", "44444"], [0.3, 0.7]),
        decoded(["55555", "22222"], [0.1, 0.3]),
    ]
    together = agree(plain, views)
    assert together.texts == ["33333", "22222"]
    assert together.greedy == ["greedy 11111", "greedy 22222"]  # of the plate as it is
    np.testing.assert_allclose(together.text_probability, [0.7 / 4, 1.5 / 4])
    np.testing.assert_allclose(together.length_probability, [1.3 / 4] * 2)
    # The digits are those of the surest view that reads the text, in the place they have there.
    np.testing.assert_allclose(together.digit_place[0], 0.25 + 2 / 128)
    np.testing.assert_allclose(together.digit_place[1], 0.5)
    np.testing.assert_allclose(together.digit_probability[0], 0.4)


def test_rows_are_taken_and_put_back():
    ours = decoded(["11111", "22222", "33333"], [0.1, 0.2, 0.3])
    rows = np.array([2, 0])
    taken = ours.rows(rows)
    assert taken.texts == ["33333", "11111"]
    put = ours.with_rows(rows, decoded(["44444", "55555"], [0.4, 0.5], place=0.1))
    assert put.texts == ["55555", "22222", "44444"]
    assert put.greedy == ["greedy 55555", "greedy 22222", "greedy 44444"]
    assert put.text_probability.tolist() == [0.5, 0.2, 0.4]
    assert put.digit_place[:, 0].tolist() == [0.1, 0.5, 0.1]
    assert ours.texts == ["11111", "22222", "33333"]  # as they were


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_careful_reader_changes_what_is_not_certain_and_reads_more_of_it(engine):
    plates = load_benchmark("tuning").sample(600)
    readers = [PlateReader(engine=engine, careful=careful) for careful in (False, True)]
    usual, careful = (reader.decode(plates.images) for reader in readers)
    certain = usual.text_probability >= 0.9
    for before, after, same in zip(usual.texts, careful.texts, certain, strict=True):
        assert before == after or not same
    right = [sum(map(str.__eq__, one.texts, plates.texts)) for one in (usual, careful)]
    assert right[1] > right[0]
    # `read` goes the same way.
    row = int(np.argmin(usual.text_probability))
    reading = readers[1].read(plates.images[row, :, :, 0])
    assert reading.text == careful.texts[row] and reading.greedy == usual.greedy[row]


def test_the_careful_reader_decodes_what_the_usual_one_does_where_all_is_certain(shipped):
    images = draw_plates(range(4)).images
    plain = decode_plates(shipped.logits(images))
    careful = PlateReader(careful=True).decode(images)
    assert careful.texts == plain.texts and min(plain.text_probability) > 0.9
