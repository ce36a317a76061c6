"""Plates in faces that nobody drew, for training only: two training faces blended, or handwriting.

Every digit is kept as a signed distance field: how far each point lies inside or outside its
strokes. Blended fields of one digit in two faces are a digit again, with strokes between those of
the two; a threshold keeps the share of ink, so that thin strokes do not vanish. Handwriting comes
as such fields too. On top, strokes grow light or heavy as far as counters stay open, outlines
wobble, and in some rows every digit leans, bends, stands and stretches in its own way. So 22
families and a few forms of each digit give no end of legible faces.
"""

import operator
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from plate_ocr.plates.alphabet import DIGITS
from plate_ocr.plates.fonts import PlateFont
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import MARGIN, PLATE_HEIGHT, PLATE_WIDTH, render_glyphs
from plate_ocr.training.synthetic_fonts.handwriting import write_digits

DRAWN_SIZE = 80  # pixels per em at which the distances are measured
FIELD_ROWS, FIELD_COLUMNS = 40, 32  # samples of a field, over a digit's box and its rim
RIM = 0.1  # kept around a digit, in heights of a usual digit
FARTHEST = 0.25  # distances are cut here, in heights of a usual digit
LARGEST_SHARE = 0.6  # of the second face; the first one decides the row's looks
HEIGHTS = (13, 28)  # pixels of a usual digit
USUAL_HALF_STROKE = 0.06  # in heights
HEAVIEST = 0.06  # added to half a stroke
WRITTEN_COUNTER = 0.1  # from the middle of what a written digit encloses to its ink, in heights
LETTERED_SHARE = 0.4  # of the plates
BEND = 1.6  # samples: the usual move of a point where lettered digits are bent most
FAINTEST = 200  # grey level of ink on 255; the softest edges are lighter
WIDEST_GAP = 0.6  # between digits, in heights


@cache
def points_of(columns: int, rows: int) -> np.ndarray:
    """Coordinates of every pixel or sample, x and y, float32 (rows, columns, 2)."""
    points = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    return points.astype(np.float32)


class FontInterpolator:
    """Draws numbers in blended faces, or in handwriting.

    Args:
        fonts: the training fonts; all their instances take part. Measuring them takes seconds.
    """

    def __init__(self, fonts: Sequence[PlateFont]):
        measured = [
            _measure(render_glyphs(font.path, axes, DRAWN_SIZE))
            for font in fonts
            for axes in font.instances
        ]
        # Of every instance and digit: its field, its box (width, height, rise) and its strokes
        # (half the thinnest, and how far the middle of its smallest counter is from the ink).
        self.fields, self.boxes, self.strokes = map(np.stack, zip(*measured, strict=True))
        self.inked = (self.fields > 0).mean(axis=(2, 3))
        self.ends = np.cumsum([len(font.instances) for font in fonts])

    def redraw(
        self,
        images: np.ndarray,
        texts: Sequence[str],
        font_interpolation_prob: float,
        handwriting_prob: float,
        random: np.random.Generator,
    ) -> np.ndarray:
        """Replace a share of the plates by others that show the same numbers.

        Args:
            images: plates, uint8 (n, 64, 128, 1); left as they are.
            texts: what they show.
            blended_share: of the plates, on average, redrawn in blended faces.
            written_share: of the plates, on average, written with a pen.
            random: decides everything.

        Returns:
            A new array of the same shape and dtype.
        """
        redrawn = images.copy()
        lot = random.random(len(images))
        for row in np.flatnonzero(lot < font_interpolation_prob + handwriting_prob).tolist():
            redrawn[row, :, :, 0] = self.draw(
                texts[row], random, lot[row] >= font_interpolation_prob
            )
        return redrawn

    def draw(self, text: str, random: np.random.Generator, written: bool = False) -> np.ndarray:
        """Draw a plate.

        Args:
            text: the digits.
            random: decides everything else.
            written: with a pen; else two faces are blended.

        Returns:
            uint8 (64, 128), dark ink on 255, the digits on one base line.
        """
        while True:
            plate = self._draw(text, random, written)
            if border_pixels(plate).min() >= FAINTEST:  # a heavy or bent digit may leave the plate
                return plate

    def _draw(self, text: str, random: np.random.Generator, written: bool) -> np.ndarray:
        digits = [DIGITS.index(digit) for digit in text]
        if written:
            fields, boxes, half_stroke = write_digits(
                digits, RIM, (FIELD_COLUMNS, FIELD_ROWS), random
            )
            counter = WRITTEN_COUNTER
        else:
            fields, boxes, half_stroke, counter = self._blend(digits, random)
        weight = _change_weight(half_stroke, counter, random)
        fields += weight
        if random.random() < 0.3:
            fields += _wobble(len(fields), random)
        if random.random() < LETTERED_SHARE:
            fields, boxes = _letter_by_hand(fields, boxes, random)
        return _set_row(fields, boxes, 2 * max(weight, 0), random)

    def _blend(
        self, digits: Sequence[int], random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Fields, boxes, half a stroke and the open part of counters of two faces blended."""
        one, other = (self._pick_face(random) for _ in range(2))
        # Hairlines survive little blending: they seldom lie over one another.
        thinnest = self.strokes[one, digits, 0].min()
        share = random.uniform(0, LARGEST_SHARE * min(thinnest / USUAL_HALF_STROKE, 1))

        def blend(table: np.ndarray) -> np.ndarray:
            blended, second = table[one, digits], table[other, digits]
            blended *= 1 - share
            second *= share
            blended += second
            return blended

        fields = _keep_ink(blend(self.fields), blend(self.inked))
        return fields, blend(self.boxes), *blend(self.strokes).min(axis=0)

    def _pick_face(self, random: np.random.Generator) -> int:
        """An instance; every family is as likely, however many it has."""
        family = random.integers(len(self.ends))
        start = self.ends[family - 1] if family else 0
        return int(random.integers(start, self.ends[family]))


def _measure(glyphs: Sequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fields (10, rows, columns), boxes (10, 3), strokes (10, 2), in heights of a usual digit."""
    usual = float(np.median([glyph.ink.shape[0] for glyph in glyphs]))
    rim = round(RIM * usual)
    fields, boxes, strokes = [], [], []
    for glyph in glyphs:
        inside = (np.pad(glyph.ink, rim) > 127).astype(np.uint8)
        field = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
        ridges = field[(field > 0) & (field == cv2.dilate(field, np.ones((3, 3))))]
        counter = min(_middles_of_counters(inside, outside), default=FARTHEST * usual)
        strokes.append((np.quantile(ridges, 0.15) / usual, counter / usual))
        field = np.clip((field - outside) / usual, -FARTHEST, FARTHEST)
        fields.append(cv2.resize(field, (FIELD_COLUMNS, FIELD_ROWS), interpolation=cv2.INTER_AREA))
        rows, columns = glyph.ink.shape
        boxes.append((columns / usual, rows / usual, glyph.bearing_y / usual))
    return np.stack(fields), np.array(boxes), np.array(strokes)


def _middles_of_counters(inside: np.ndarray, outside: np.ndarray) -> list[float]:
    """How far from the ink each enclosed area reaches, specks left out."""
    count, labels = cv2.connectedComponents(1 - inside, connectivity=4)
    areas = [labels == label for label in range(1, count)]
    enclosed = [area for area in areas if not area[0, 0] and area.sum() > 0.005 * area.size]
    return [float(outside[area].max()) for area in enclosed]


def _keep_ink(fields: np.ndarray, inked: np.ndarray) -> np.ndarray:
    """Shift every field so that this share of it is ink."""
    values = fields.reshape(len(fields), -1).copy()
    values.sort(axis=1)
    rank = ((1 - inked) * values.shape[1]).astype(int).clip(0, values.shape[1] - 1)
    fields -= values[np.arange(len(fields)), rank][:, None, None]
    return fields


def _change_weight(thinnest: float, counter: float, random: np.random.Generator) -> float:
    """What to add to the fields: mostly little, else down to light or up to heavy."""
    lightest, heaviest = -0.6 * thinnest, min(0.4 * counter, HEAVIEST)
    kind = random.random()
    if kind < 0.25:
        return random.uniform(lightest, 0)
    if kind < 0.5:
        return random.uniform(0, heaviest)
    return max(lightest / 2, min(random.normal(0, 0.012), heaviest / 2))


def _letter_by_hand(
    fields: np.ndarray, boxes: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lean, turn, bend, stretch and lift every digit on its own, as much as the plate does."""
    amount = random.uniform(0.2, 1.0)
    middle = np.array([FIELD_COLUMNS - 1, FIELD_ROWS - 1]) / 2
    moves = random.standard_normal((2, len(fields))) * [[0.08], [0.10]]
    turns, leans = amount * moves.clip(-0.2, 0.2)
    shapes = np.array([[np.ones_like(turns), turns + leans], [-turns, np.ones_like(turns)]])
    shapes = shapes.transpose(2, 0, 1) * 1.06  # the row shrinks a little, to stay in its fields
    matrices = np.concatenate([shapes, (middle - shapes @ middle)[..., None]], axis=2)
    bends = random.normal(0, BEND * amount, (len(fields), 4, 3, 2)).astype(np.float32)
    points = points_of(FIELD_COLUMNS, FIELD_ROWS)
    drawn = np.empty_like(fields)
    for place, (field, matrix, bend) in enumerate(zip(fields, matrices, bends, strict=True)):
        source = cv2.transform(points, matrix)
        source += cv2.resize(bend, field.shape[::-1], interpolation=cv2.INTER_CUBIC)
        drawn[place] = cv2.remap(
            field, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    boxes = boxes * np.exp(amount * random.normal(0, 0.08, boxes.shape))
    return drawn, boxes


def _wobble(digits: int, random: np.random.Generator) -> np.ndarray:
    """Smooth noise for every digit: an uneven outline."""
    coarse = random.normal(0, 0.012, (digits, 4, 4)).astype(np.float32)
    size = (FIELD_COLUMNS, FIELD_ROWS)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in coarse])


def _set_row(
    fields: np.ndarray, boxes: np.ndarray, least_gap: float, random: np.random.Generator
) -> np.ndarray:
    """Set the digits on a white plate, in a size, width and gap of the plate's own."""
    stretch = np.exp(random.normal(0, 0.12))
    widths, heights, rises = boxes.T * [[stretch], [1], [1]]
    gap = random.uniform(least_gap, WIDEST_GAP)
    row_width = widths.sum() + gap * (len(fields) - 1)
    highest = np.maximum.reduce(rises)
    row_height = highest + np.maximum.reduce(heights - rises)
    room = (
        (PLATE_WIDTH - 2 * MARGIN - len(fields)) / row_width,
        (PLATE_HEIGHT - 2 * MARGIN - 2) / row_height,
    )
    height = min(random.uniform(*HEIGHTS), *room)

    # Five numbers at a time are as many as Python counts faster than NumPy.
    columns = [max(round(width), 2) for width in (widths * height).tolist()]
    rows = [max(round(tall), 4) for tall in (heights * height).tolist()]
    gap = max(round(gap * height), 1)
    tops = [round(below) for below in ((highest - rises) * height).tolist()]
    free_x = PLATE_WIDTH - 2 * MARGIN - sum(columns) - gap * (len(columns) - 1)
    free_y = PLATE_HEIGHT - 2 * MARGIN - max(map(operator.add, tops, rows))
    left = MARGIN + int(random.integers(max(free_x, 0) + 1))
    top = MARGIN + int(random.integers(max(free_y, 0) + 1))

    rim_x, rim_y = max(round(RIM * stretch * height), 1), max(round(RIM * height), 1)
    distances = np.full((PLATE_HEIGHT + 2 * rim_y, PLATE_WIDTH + 2 * rim_x), -FARTHEST, np.float32)
    for field, below, width, tall in zip(fields, tops, columns, rows, strict=True):
        size = width + 2 * rim_x, tall + 2 * rim_y
        target = distances[top + below : top + below + size[1], left : left + size[0]]
        np.maximum(target, cv2.resize(field, size), out=target)
        left += width + gap
    # An edge runs over one pixel, half of it outside the outline.
    plate = distances[rim_y:-rim_y, rim_x:-rim_x] * np.float32(height)
    np.subtract(0.5, plate, out=plate)
    plate *= 255
    return to_gray(plate)


def to_gray(levels: np.ndarray) -> np.ndarray:
    """Levels of grey, floats, which are cut to 0 to 255 in place, as uint8."""
    np.maximum(levels, 0, out=levels)
    np.minimum(levels, 255, out=levels)
    return levels.astype(np.uint8)
