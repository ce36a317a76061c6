"""Readings against truth: exact match, character error rate, accuracy by group, mistakes."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from plate_ocr.reader import Reading


@dataclass(frozen=True)
class Summary:
    """How a set of labelled plates was read; rates are fractions of 0 to 1."""

    images: int
    exact: int  # images with all five digits right
    exact_match: float  # the same as a rate
    character_error_rate: float  # edit distance over the number of true digits
    mean_confidence: float


def edit_distance(truth: str, text: str) -> int:
    """Fewest insertions, deletions and substitutions between two texts (Levenshtein 1966)."""
    previous = list(range(len(text) + 1))
    for row, character in enumerate(truth, start=1):
        current = [row]
        for column, other in enumerate(text, start=1):
            current.append(
                min(
                    previous[column] + 1,
                    current[-1] + 1,
                    previous[column - 1] + (character != other),
                )
            )
        previous = current
    return previous[-1]


def exact_match_rate(truths: Sequence[str], texts: Sequence[str]) -> float:
    """The share of texts equal to the truth."""
    return sum(map(str.__eq__, truths, texts)) / len(truths)


def character_error_rate(truths: Sequence[str], texts: Sequence[str]) -> float:
    """Edit distance over the number of true characters, all plates together."""
    errors = sum(map(edit_distance, truths, texts))
    return errors / sum(map(len, truths))


def summarise(truths: Sequence[str], readings: Sequence[Reading]) -> Summary:
    """The summary of a non-empty set of readings."""
    texts = [reading.text for reading in readings]
    return Summary(
        images=len(truths),
        exact=sum(map(str.__eq__, truths, texts)),
        exact_match=exact_match_rate(truths, texts),
        character_error_rate=character_error_rate(truths, texts),
        mean_confidence=sum(reading.confidence for reading in readings) / len(readings),
    )


def exact_match_by(
    key: Callable[[dict], Hashable],
    records: Sequence[dict],
    truths: Sequence[str],
    readings: Sequence[Reading],
) -> dict[Hashable, tuple[int, int]]:
    """Right readings and plates of each group of records, worst group first.

    Args:
        key: the group of a record, for example `operator.itemgetter("font")`.
    """
    groups: dict[Hashable, tuple[int, int]] = {}
    for record, truth, reading in zip(records, truths, readings, strict=True):
        right, plates = groups.get(key(record), (0, 0))
        groups[key(record)] = (right + (reading.text == truth), plates + 1)
    return dict(sorted(groups.items(), key=lambda item: item[1][0] / item[1][1]))


def mistakes(truths: Sequence[str], readings: Sequence[Reading]) -> list[int]:
    """Positions of the wrong readings, the most confident first."""
    wrong = [row for row, truth in enumerate(truths) if readings[row].text != truth]
    return sorted(wrong, key=lambda row: -readings[row].confidence)
