"""Clean plates: digits at the font's own advances plus a spacing, placed on white."""

import cv2
import numpy as np

from benchmarks.datasets.fonts import Face, Glyph, digit_height, open_font, render_glyph

HEIGHT, WIDTH = 64, 128
INK_THRESHOLD = 100  # of 255; fainter ink may touch
LAYOUTS = ("fill", "small", "edge", "tight", "wide")
# Where a digit row stands: first, middle or last, in x and in y; the middle of both is no edge.
EDGES = [(x, y) for x in (0, 1, 2) for y in (0, 1, 2) if (x, y) != (1, 1)]


def _touch(left: Glyph, left_x: int, right: Glyph, right_x: int) -> bool:
    """Whether the ink of two neighbors meets, corners included."""
    if left_x + left.left + left.ink.shape[1] < right_x + right.left:
        return False  # an empty column lies between them
    canvas = np.zeros((2, 300, 400), np.uint8)
    for layer, glyph, x in zip(canvas, (left, right), (0, right_x - left_x), strict=True):
        row, column = 150 + glyph.top, 100 + x + glyph.left
        rows, columns = glyph.ink.shape
        layer[row : row + rows, column : column + columns] = glyph.ink >= INK_THRESHOLD
    return bool((cv2.dilate(canvas[0], np.ones((3, 3), np.uint8)) & canvas[1]).any())


def _inked_columns(glyph: Glyph) -> tuple[int, int]:
    columns = np.flatnonzero((glyph.ink >= INK_THRESHOLD).any(0))
    if columns.size == 0:  # a hairline
        columns = np.arange(glyph.ink.shape[1])
    return glyph.left + int(columns[0]), glyph.left + int(columns[-1])


def render_row(face: Face, text: str, size: float, spacing: float, gap: int | None) -> np.ndarray:
    """Set characters on one line, so that no neighbors touch, and crop to the ink.

    `size` is in pixels per em, `spacing` in pixels added to every advance of the font; `gap` empty
    columns between neighbors replace the advances. Returns ink, uint8: 255 is black.
    """
    font = open_font(face, size)
    placed: list[tuple[Glyph, int]] = []
    pen = 0.0
    for character in text:
        glyph = render_glyph(face, size, character, pen % 1 if gap is None else 0.0)
        if placed:
            last, last_x = placed[-1]
            if gap is not None:
                pen = last_x + _inked_columns(last)[1] + 1 + gap - _inked_columns(glyph)[0]
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
    rng: np.random.Generator,
    heights: tuple[float, float] = (12, 20),
    layout: str = "",
) -> tuple[np.ndarray, int]:
    """Draw a text in a layout; without one, with usual spacing at any position.

    `heights` is the range of the digits' height in pixels; wide faces come out lower. Returns the
    plate, uint8 (64, 128), black on 255, and the height of its digits.
    """
    height = rng.uniform(*((9, 11) if layout == "small" else heights))
    extra = rng.uniform(0, 0.1 if layout == "fill" else 0.55)  # spacing, in heights of a digit
    gap = int(rng.integers(2)) if layout == "tight" else None
    margin = 0 if layout in ("fill", "edge") else 1
    max_width, max_height = WIDTH - 2 * margin, HEIGHT - 2 * margin
    if layout == "fill":
        height = 70.0
        max_width, max_height = int(rng.integers(112, 129)), int(rng.integers(50, 65))
    while True:
        size = height / digit_height(face)
        spacing = extra * height
        if layout == "wide":
            advances = sum(open_font(face, size).getlength(digit) for digit in text)
            spacing = max((rng.uniform(104, 126) - advances) / len(text), 0)
        row = render_row(face, text, size, spacing, gap)
        if row.shape[1] <= max_width and row.shape[0] <= max_height:
            break
        height *= 0.98
        extra *= 0.9
    free_x, free_y = WIDTH - 2 * margin - row.shape[1], HEIGHT - 2 * margin - row.shape[0]
    x, y = int(rng.integers(free_x + 1)), int(rng.integers(free_y + 1))
    if layout == "edge":
        edge_x, edge_y = EDGES[int(rng.integers(len(EDGES)))]
        slack = int(rng.integers(2))  # empty pixels at the edge
        x = (min(slack, free_x), x, max(free_x - slack, 0))[edge_x]
        y = (min(slack, free_y), y, max(free_y - slack, 0))[edge_y]
    image = np.full((HEIGHT, WIDTH), 255, np.uint8)
    x, y = margin + x, margin + y
    image[y : y + row.shape[0], x : x + row.shape[1]] -= row
    return image, round(height)
