"""Plates: digits at the font's own advances plus a spacing, set somewhere in the frame."""

from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.datasets.fonts import Face, Glyph, draw_glyph, open_font, rise

HEIGHT, WIDTH = 64, 128
DARK = 100  # ink from here on counts as seen when touching digits are told from free ones
LAYOUTS = ("fill", "small", "edge", "tight", "wide")


class Plate(NamedTuple):
    """A plate, uint8 (64, 128) with black ink on 255, and the height of its digits in pixels."""

    image: np.ndarray
    height: int


def _touch(one: Glyph, x: int, other: Glyph, other_x: int) -> bool:
    """Whether seen ink of two glyphs meets, corners included."""
    if x + one.left + one.ink.shape[1] < other_x + other.left:
        return False  # an empty column lies between them
    canvas = np.zeros((2, 300, 400), np.uint8)
    for layer, (glyph, pen) in zip(canvas, ((one, x), (other, other_x)), strict=True):
        row, column = 150 + glyph.top, 100 + pen - x + glyph.left
        rows, columns = glyph.ink.shape
        layer[row : row + rows, column : column + columns] = glyph.ink >= DARK
    return bool((cv2.dilate(canvas[0], np.ones((3, 3), np.uint8)) & canvas[1]).any())


def _seen_columns(glyph: Glyph) -> tuple[int, int]:
    columns = np.flatnonzero((glyph.ink >= DARK).any(0))
    if columns.size == 0:  # a hairline
        return glyph.left, glyph.left + glyph.ink.shape[1] - 1
    return glyph.left + int(columns[0]), glyph.left + int(columns[-1])


def set_row(face: Face, text: str, size: float, spacing: float, gap: int | None) -> np.ndarray:
    """Set characters on one line and crop to the ink.

    Args:
        face: the font.
        text: the characters.
        size: pixels per em.
        spacing: pixels added to every advance of the font.
        gap: where given, the empty columns between neighbours, whatever the advances say.

    Returns:
        Ink, uint8: 255 is black. No two neighbours touch.
    """
    font = open_font(face, size)
    placed: list[tuple[Glyph, int]] = []
    pen = 0.0
    for character in text:
        glyph = draw_glyph(face, size, character, pen % 1 if gap is None else 0.0)
        if placed:
            last, last_x = placed[-1]
            if gap is not None:
                pen = last_x + _seen_columns(last)[1] + 1 + gap - _seen_columns(glyph)[0]
            while _touch(last, last_x, glyph, int(pen // 1)):
                pen += 1
        placed.append((glyph, int(pen // 1)))
        pen += font.getlength(character) + spacing
    left = min(x + glyph.left for glyph, x in placed)
    right = max(x + glyph.left + glyph.ink.shape[1] for glyph, x in placed)
    top = min(glyph.top for glyph, _ in placed)
    bottom = max(glyph.top + glyph.ink.shape[0] for glyph, _ in placed)
    row = np.zeros((bottom - top, right - left), np.uint8)
    for glyph, x in placed:
        y, x = glyph.top - top, x + glyph.left - left
        part = row[y : y + glyph.ink.shape[0], x : x + glyph.ink.shape[1]]
        np.maximum(part, glyph.ink, out=part)
    return row


def render_plate(
    face: Face,
    text: str,
    random: np.random.Generator,
    heights: tuple[float, float] = (12, 20),
    layout: str = "",
) -> Plate:
    """Draw a plate.

    Args:
        face: the font.
        text: what it shows.
        random: the plate's own generator.
        heights: lowest and highest digits, in pixels; faces too wide for them come out lower.
        layout: one of LAYOUTS; empty for usual spacing and any place.
    """
    if layout == "small":
        heights = (9, 11)
    height = random.uniform(*heights)
    # What a row takes beyond its font's advances, in heights of a digit.
    loose = random.uniform(0, 0.1 if layout == "fill" else 0.55)
    gap = int(random.integers(2)) if layout == "tight" else None
    margin = 0 if layout in ("fill", "edge") else 1
    room = WIDTH - 2 * margin, HEIGHT - 2 * margin
    if layout == "fill":
        height = 70.0
        room = int(random.integers(112, WIDTH + 1)), int(random.integers(50, HEIGHT + 1))
    while True:
        size = height / rise(face)
        spacing = loose * height
        if layout == "wide":
            bare = sum(open_font(face, size).getlength(digit) for digit in text)
            spacing = max((random.uniform(104, 126) - bare) / len(text), 0)
        row = set_row(face, text, size, spacing, gap)
        if row.shape[1] <= room[0] and row.shape[0] <= room[1]:
            break
        height *= 0.98
        loose *= 0.9
    free_x, free_y = WIDTH - 2 * margin - row.shape[1], HEIGHT - 2 * margin - row.shape[0]
    x, y = int(random.integers(free_x + 1)), int(random.integers(free_y + 1))
    if layout == "edge":
        # One of the eight neighbours of the middle; at most one empty pixel to the edge.
        step_x, step_y = [(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if (a, b) != (1, 1)][
            int(random.integers(8))
        ]
        slack = int(random.integers(2))
        x = {0: min(slack, free_x), 1: x, 2: max(free_x - slack, 0)}[step_x]
        y = {0: min(slack, free_y), 1: y, 2: max(free_y - slack, 0)}[step_y]
    image = np.full((HEIGHT, WIDTH), 255, np.uint8)
    image[margin + y : margin + y + row.shape[0], margin + x : margin + x + row.shape[1]] -= row
    return Plate(image, round(height))
