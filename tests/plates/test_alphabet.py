import numpy as np
import pytest

from plate_ocr.plates.alphabet import SUPPORTED_LENGTHS, decode, encode, is_valid_label


def test_decoding_inverts_encoding():
    texts = [f"{number:05d}" for number in range(100_000)]
    labels = encode(texts)
    assert labels.shape == (100_000, 5) and labels.dtype == np.int32
    assert labels.min() == 1 and labels.max() == 10  # the blank is class 0
    assert decode(labels) == texts


@pytest.mark.parametrize(
    "text", ["1234", "123456", "12a45", "", "１２３４５", "12 45", None, 12345]
)
def test_malformed_labels_are_refused(text):
    assert not is_valid_label(text)
    with pytest.raises(ValueError, match="5 digits"):
        encode([text])


@pytest.mark.parametrize("digits", SUPPORTED_LENGTHS)
def test_labels_of_other_lengths(digits):
    text = "0012345"[:digits]
    assert [other for other in SUPPORTED_LENGTHS if is_valid_label(text, other)] == [digits]
    assert decode(encode([text, text[::-1]], digits)) == [text, text[::-1]]
