"""What stands around digits in photographs: rules, frames, textures, marks."""

import numpy as np

from plate_ocr.training.styles.row import Drawing


def add_surroundings(ink: np.ndarray, rng: np.random.Generator) -> Drawing:
    """Put digits, dark ink on 255, uint8 (64, 128), in random surroundings."""
    return Drawing(ink, ink, has_surroundings=True)


def crop_strip(
    plate: np.ndarray, box: tuple[int, int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Keep a strip around the box of the digits; the rest gets the median gray of its border."""
    return plate
