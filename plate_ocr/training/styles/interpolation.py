"""Digits interpolated between two training fonts.

A weighted mean of the signed distance fields of one digit in two fonts is that digit again, with
strokes between those of the two. Its zero level is then shifted until the ink covers the mean
area, or thin strokes would vanish. The 22 families give no end of legible shapes.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from plate_ocr.plates.fonts import PlateFont
from plate_ocr.plates.rendering import render_glyphs
from plate_ocr.training.styles.row import SDF_CLIP, SDF_PADDING, SDF_SIZE, GlyphFields

SDF_FONT_SIZE = 80  # pixels per em at which distances are measured
MAX_MIX = 0.6  # weight of the second font; the first one decides the style of the row
TYPICAL_HALF_STROKE = 0.06  # in digit heights


class FontInterpolator:
    """Mixes digits of two random fonts; measuring the fonts takes seconds."""

    def __init__(self, fonts: Sequence[PlateFont]):
        measured = [
            _measure_glyphs(render_glyphs(font.path, axes, SDF_FONT_SIZE))
            for font in fonts
            for axes in font.instances
        ]
        # Of every instance and digit: field, box (width, height, ascent) and stroke sizes (half of
        # the thinnest stroke, counter radius).
        self.fields, self.boxes, self.strokes = map(np.stack, zip(*measured, strict=True))
        self.ink_area = (self.fields > 0).mean(axis=(2, 3))
        self.family_ends = np.cumsum([len(font.instances) for font in fonts])

    def interpolate(self, digits: Sequence[int], rng: np.random.Generator) -> GlyphFields:
        """Signed distance fields of digits, all in a new mixture."""
        first, second = self._sample_instance(rng), self._sample_instance(rng)
        # Hairlines survive little mixing, because they seldom overlap.
        thinnest = self.strokes[first, digits, 0].min()
        mix = rng.uniform(0, MAX_MIX * min(thinnest / TYPICAL_HALF_STROKE, 1))
        fields, boxes, strokes, ink_area = (
            (1 - mix) * table[first, digits] + mix * table[second, digits]
            for table in (self.fields, self.boxes, self.strokes, self.ink_area)
        )
        levels = np.sort(fields.reshape(len(fields), -1), axis=1)
        rank = ((1 - ink_area) * levels.shape[1]).astype(int).clip(0, levels.shape[1] - 1)
        fields -= levels[np.arange(len(fields)), rank][:, None, None]  # ink of the mean area
        return GlyphFields(fields, boxes, *strokes.min(axis=0))

    def _sample_instance(self, rng: np.random.Generator) -> int:
        """An instance; families are equally likely, whatever their number of instances."""
        family = rng.integers(len(self.family_ends))
        start = self.family_ends[family - 1] if family else 0
        return int(rng.integers(start, self.family_ends[family]))


def _measure_glyphs(glyphs: Sequence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fields (10, 40, 32), boxes (10, 3) and strokes (10, 2), in heights of the median digit."""
    unit = float(np.median([glyph.ink.shape[0] for glyph in glyphs]))
    fields, boxes, strokes = [], [], []
    for glyph in glyphs:
        inside = (np.pad(glyph.ink, round(SDF_PADDING * unit)) > 127).astype(np.uint8)
        field = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
        ridges = field[(field > 0) & (field == cv2.dilate(field, np.ones((3, 3))))]
        counter_radius = min(_counter_radii(inside, outside), default=SDF_CLIP * unit)
        strokes.append((np.quantile(ridges, 0.15) / unit, counter_radius / unit))
        field = np.clip((field - outside) / unit, -SDF_CLIP, SDF_CLIP)
        fields.append(cv2.resize(field, SDF_SIZE, interpolation=cv2.INTER_AREA))
        height, width = glyph.ink.shape
        boxes.append((width / unit, height / unit, glyph.bearing_y / unit))
    return np.stack(fields), np.array(boxes), np.array(strokes)


def _counter_radii(inside: np.ndarray, outside: np.ndarray) -> list[float]:
    """The largest distance from the ink in each enclosed area, without specks."""
    count, components = cv2.connectedComponents(1 - inside, connectivity=4)
    areas = [components == component for component in range(1, count)]
    counters = [area for area in areas if not area[0, 0] and area.sum() > 0.005 * area.size]
    return [float(outside[counter].max()) for counter in counters]
