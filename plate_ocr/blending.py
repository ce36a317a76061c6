"""Plates in faces that nobody drew: two training faces blended, for training only.

Every digit is kept as a signed distance field: how far each point lies inside or outside its
strokes. Blended fields of one digit in two faces are a digit again, with strokes between those of
the two; a threshold keeps the share of ink, so that thin strokes do not vanish. Thickness and
outline vary on top, so 22 families give no end of legible faces.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from plate_ocr.alphabet import DIGITS, PLATE_DIGITS
from plate_ocr.fonts import PlateFont
from plate_ocr.rendering import MARGIN, PLATE_HEIGHT, PLATE_WIDTH, draw_glyphs

DRAWN_SIZE = 80  # pixels per em at which the distances are measured
FIELD_ROWS, FIELD_COLUMNS = 40, 32  # samples of a field, over a digit's box and its rim
RIM = 0.1  # kept around a digit, in heights of a usual digit
FARTHEST = 0.25  # distances are cut here, in heights of a usual digit
LARGEST_SHARE = 0.6  # of the second face; the first one decides the row's looks
HEIGHTS = (13, 28)  # pixels of a usual digit
WIDEST_GAP = 0.6  # between digits, in heights


class FaceBlender:
    """Draws numbers in blended faces.

    Args:
        fonts: the training fonts; all their instances take part. Measuring them takes seconds.
    """

    def __init__(self, fonts: Sequence[PlateFont]):
        measured = [
            _measure(draw_glyphs(font.path, axes, DRAWN_SIZE))
            for font in fonts
            for axes in font.instances
        ]
        # Of every instance and digit: its field, and width, height and rise of its box.
        self.fields = np.stack([fields for fields, _ in measured])
        self.boxes = np.stack([boxes for _, boxes in measured])
        self.inked = (self.fields > 0).mean(axis=(2, 3))

    def redraw(
        self, images: np.ndarray, texts: Sequence[str], share: float, random: np.random.Generator
    ) -> np.ndarray:
        """Replace a share of the plates by others that show the same numbers.

        Args:
            images: plates, uint8 (n, 64, 128, 1); left as they are.
            texts: what they show.
            share: of the plates, on average.
            random: decides everything.

        Returns:
            A new array of the same shape and dtype.
        """
        redrawn = images.copy()
        for row in np.flatnonzero(random.random(len(images)) < share):
            redrawn[row, :, :, 0] = self.draw(texts[row], random)
        return redrawn

    def draw(self, text: str, random: np.random.Generator) -> np.ndarray:
        """Draw a plate.

        Args:
            text: five digits.
            random: decides everything else.

        Returns:
            uint8 (64, 128), dark ink on 255, the digits on one base line.
        """
        digits = [DIGITS.index(digit) for digit in text]
        one, other = random.integers(len(self.fields), size=2)
        share = random.uniform(0, LARGEST_SHARE)

        def blend(table: np.ndarray) -> np.ndarray:
            return (1 - share) * table[one, digits] + share * table[other, digits]

        fields = _keep_ink(blend(self.fields), blend(self.inked))
        half_stroke = float(np.median(fields.max(axis=(1, 2))))
        fields += max(random.normal(0, 0.012), -0.3 * half_stroke)
        if random.random() < 0.3:
            fields += _wobble(random)
        return _set_row(fields, blend(self.boxes), random)


def _measure(glyphs: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Fields (10, rows, columns) and boxes (10, 3), in heights of a usual digit."""
    usual = float(np.median([glyph.ink.shape[0] for glyph in glyphs]))
    rim = round(RIM * usual)
    fields, boxes = [], []
    for glyph in glyphs:
        inside = (np.pad(glyph.ink, rim) > 127).astype(np.uint8)
        field = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        field -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
        field = np.clip(field / usual, -FARTHEST, FARTHEST)
        fields.append(cv2.resize(field, (FIELD_COLUMNS, FIELD_ROWS), interpolation=cv2.INTER_AREA))
        rows, columns = glyph.ink.shape
        boxes.append((columns / usual, rows / usual, glyph.rise / usual))
    return np.stack(fields), np.array(boxes)


def _keep_ink(fields: np.ndarray, inked: np.ndarray) -> np.ndarray:
    """Shift every field so that this share of it is ink."""
    values = np.sort(fields.reshape(len(fields), -1), axis=1)
    rank = np.clip(((1 - inked) * values.shape[1]).astype(int), 0, values.shape[1] - 1)
    return fields - values[np.arange(len(fields)), rank][:, None, None]


def _wobble(random: np.random.Generator) -> np.ndarray:
    """Smooth noise for every digit: an uneven outline."""
    coarse = random.normal(0, 0.012, (PLATE_DIGITS, 4, 4)).astype(np.float32)
    size = (FIELD_COLUMNS, FIELD_ROWS)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in coarse])


def _set_row(fields: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Set the digits on a white plate, in a size, width and gap of the plate's own."""
    stretch = np.exp(random.normal(0, 0.12))
    widths, heights, rises = boxes.T * [[stretch], [1], [1]]
    gap = random.uniform(0, WIDEST_GAP)
    row_width = widths.sum() + gap * (PLATE_DIGITS - 1)
    row_height = rises.max() + (heights - rises).max()
    room = (
        (PLATE_WIDTH - 2 * MARGIN - PLATE_DIGITS) / row_width,
        (PLATE_HEIGHT - 2 * MARGIN - 2) / row_height,
    )
    height = min(random.uniform(*HEIGHTS), *room)

    columns = np.maximum(np.round(widths * height), 2).astype(int)
    rows = np.maximum(np.round(heights * height), 4).astype(int)
    gap = max(round(gap * height), 1)
    lefts = np.concatenate([[0], np.cumsum(columns[:-1] + gap)])
    tops = np.round((rises.max() - rises) * height).astype(int)
    free_x = PLATE_WIDTH - 2 * MARGIN - (lefts[-1] + columns[-1])
    free_y = PLATE_HEIGHT - 2 * MARGIN - (tops + rows).max()
    lefts += MARGIN + int(random.integers(max(free_x, 0) + 1))
    tops += MARGIN + int(random.integers(max(free_y, 0) + 1))

    rim_x, rim_y = max(round(RIM * stretch * height), 1), max(round(RIM * height), 1)
    frame = np.full((PLATE_HEIGHT + 2 * rim_y, PLATE_WIDTH + 2 * rim_x), 255, np.uint8)
    for field, left, top, width, tall in zip(fields, lefts, tops, columns, rows, strict=True):
        size = int(width + 2 * rim_x), int(tall + 2 * rim_y)
        distance = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR) * height
        ink = np.clip((0.5 - distance) * 255, 0, 255).astype(np.uint8)
        target = frame[top : top + size[1], left : left + size[0]]
        np.minimum(target, ink, out=target)
    return np.ascontiguousarray(frame[rim_y:-rim_y, rim_x:-rim_x])
