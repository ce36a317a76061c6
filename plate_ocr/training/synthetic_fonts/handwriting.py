"""Digits written with a pen, for training only: forms that no font file of the 22 has.

A form is the way of a pen, told in points; every hand has its own form of each digit, moves its
points and keeps them in the whole number but for a little. Round and broad pens draw along it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

# Points "x,y" in hundredths of the height, x to the right and y down. The pen runs smoothly
# through them, turns sharply at "/" and is lifted at ";".
FORMS = (
    (  # 0
        "30,0 8,14 0,50 8,86 30,100 52,86 60,50 52,14 30,0",
        "38,1 12,12 0,45 6,85 28,100 52,88 60,48 48,10 26,4 12,12",
        "12,6 40,1 58,25 58,70 34,100 6,82 2,40 18,10 34,2",
        "44,10 24,2 4,28 2,70 22,99 48,90 60,55 52,16 36,0",
        "0,0 / 0,100 / 58,100 / 58,0 / 0,0",
    ),
    (  # 1
        "20,0 / 20,100",
        "0,24 / 24,0 / 24,100",
        "0,18 16,12 26,0 / 26,100",
        "4,20 / 26,0 / 26,100 ; 2,100 / 52,100",
        "4,10 / 26,4 / 26,98 ; 6,99 / 46,97",
    ),
    (  # 2
        "2,24 10,6 32,0 54,10 56,32 38,62 0,100 / 60,100",
        "4,16 24,0 50,6 54,30 34,64 10,94 / 6,98 30,92 62,98",
        "4,20 22,2 48,4 54,28 36,66 14,94 2,96 2,84 16,82 36,94 62,96",
        "0,8 26,0 52,10 54,34 30,56 4,74 / 2,100 / 58,100",
        "0,0 / 58,0 / 58,46 / 0,54 / 0,100 / 58,100",
    ),
    (  # 3
        "4,12 28,0 53,10 50,36 22,46 / 54,58 58,84 30,100 0,88",
        "4,0 / 56,0 / 26,40 / 54,52 58,82 32,100 0,90",
        "6,8 34,0 52,14 44,36 20,47 48,56 58,76 42,96 16,100 0,88",
        "2,10 30,0 52,20 16,44 / 56,60 46,94 20,100 0,96",
        "0,0 / 58,0 / 58,100 / 0,100 ; 10,48 / 58,48",
    ),
    (  # 4
        "42,100 / 42,0 / 0,68 / 62,68",
        "14,0 / 2,58 / 62,56 ; 46,28 / 42,100",
        "12,2 8,30 2,56 20,60 60,54 ; 50,4 / 44,100",
        "0,0 / 0,52 / 56,52 ; 52,0 / 52,100",
        "44,100 46,50 48,2 24,32 0,66 30,66 64,64",
        "28,0 / 0,70 / 62,70 ; 46,42 / 46,100",
    ),
    (  # 5
        "54,0 / 10,0 / 6,42 28,35 56,48 56,82 30,100 0,92",
        "10,2 / 6,42 30,36 56,52 54,84 28,100 0,90 ; 10,2 / 60,0",
        "56,2 20,4 12,12 10,40 36,40 56,58 50,88 22,100 0,94",
        "52,0 / 6,2 / 4,46 / 30,42 56,58 52,88 24,100 0,98",
        "14,6 / 10,40 34,42 54,62 46,90 20,100 0,96 ; 16,0 / 58,3",
        "58,0 / 0,0 / 0,46 / 58,50 / 58,100 / 0,100",
    ),
    (  # 6
        "50,4 22,18 2,58 8,90 30,100 54,90 57,66 34,50 6,62",
        "40,0 16,36 2,70 16,98 44,98 56,74 42,54 18,58 4,74",
        "54,10 34,0 10,16 0,56 8,90 32,100 56,84 54,58 32,46 8,58",
        "30,0 6,50 6,84 28,100 52,88 50,66 28,60 8,80",
        "56,0 / 0,0 / 0,100 / 58,100 / 58,48 / 0,48",
    ),
    (  # 7
        "0,0 / 58,0 / 20,100",
        "0,4 / 56,0 / 34,42 22,100",
        "0,2 / 58,2 / 22,100 ; 12,50 / 52,48",
        "2,16 / 2,0 / 58,0 / 24,100",
        "0,10 14,2 34,6 58,0 / 40,36 26,70 22,100",
        "0,0 / 54,0 / 50,100",
    ),
    (  # 8
        "50,10 28,0 8,14 16,38 42,56 56,78 32,100 4,84 12,58 40,40 52,20 46,4",
        "30,48 10,36 8,12 30,0 52,12 50,36 30,48 ; 30,48 4,62 4,88 30,100 56,88 56,62 30,48",
        "54,8 30,0 10,16 28,44 54,68 48,94 22,100 4,82 22,54 48,30 56,12",
        "32,46 12,30 24,2 46,6 48,30 30,46 8,66 8,92 34,100 54,86 48,60 28,46",
        "0,0 / 58,0 / 58,100 / 0,100 / 0,0 ; 0,48 / 58,48",
    ),
    (  # 9
        "52,10 28,0 4,16 6,42 30,52 50,36 / 54,6 / 52,100",
        "54,16 32,0 4,14 4,42 28,52 54,36 / 54,8 56,56 42,92 10,100",
        "50,14 28,0 4,18 10,46 36,46 52,10 / 32,100",
        "44,8 20,6 2,30 16,50 42,36 50,8 / 46,50 48,100",
        "34,52 8,42 6,12 32,0 54,14 56,46 44,80 20,100",
        "38,4 12,6 3,30 20,48 52,34 ; 53,2 / 47,100",
        "58,48 / 0,48 / 0,0 / 58,0 / 58,100 / 2,100",
    ),
)
STEPS = 6  # of the pen from a point to the next
HEIGHT = 48  # pixels of a digit as its distances are measured
THINNEST, THICKEST = 0.035, 0.09  # half a stroke, in heights
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # of a box
UNEVEN, UNSTEADY = 0.035, 0.012  # usual move of a point: in a hand, in each digit; in heights


@dataclass(frozen=True)
class Form:
    """The way of a pen.

    Attributes:
        points: float (k, 2), in heights.
        way: float (m, k), how much of every point goes into each step of the pen.
        lifts: the steps before which the pen is lifted.
    """

    points: np.ndarray
    way: np.ndarray
    lifts: tuple[int, ...]


def write_digits(
    digits: Sequence[int], rim: float, size: tuple[int, int], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Write digits in a hand of its own.

    Args:
        digits: 0 to 9.
        rim: kept around every digit, in heights.
        size: columns and rows of a field.
        random: decides all but the digits.

    Returns:
        float32 (n, rows, columns), how far each point of a digit's box and its rim lies inside
        the strokes; (n, 3), width, height and rise of the boxes; and half a stroke; in heights.
    """
    half_stroke = float(np.exp(random.uniform(np.log(THINNEST), np.log(THICKEST))))
    pen = _pick_pen(random)
    width = np.exp(random.normal(0, 0.15))
    lean = np.clip(random.normal(0, 0.1), -0.25, 0.25)
    hand = {}  # of every digit, its form and where this hand has its points
    fields, boxes = [], []
    for digit in digits:
        if digit not in hand:
            forms = _forms()[digit]
            form = forms[random.integers(len(forms))]
            hand[digit] = form, form.points + random.normal(0, UNEVEN, form.points.shape)
        form, points = hand[digit]
        points = points + random.normal(0, UNSTEADY, points.shape)
        shape = np.array([[width, 0], [-lean - random.normal(0, 0.03), 1]])
        way = form.way @ points @ shape
        lowest = np.minimum.reduce(way) - half_stroke
        extent = np.maximum.reduce(way) + half_stroke - lowest
        distances = _measure(way - lowest + rim, form.lifts, pen, extent + 2 * rim, size)
        fields.append(half_stroke - distances)
        boxes.append((*extent, 1 + half_stroke - lowest[1]))
    return np.stack(fields), np.array(boxes), half_stroke


@cache
def _forms() -> tuple[tuple[Form, ...], ...]:
    return tuple(tuple(map(_read, forms)) for forms in FORMS)


def _read(form: str) -> Form:
    points: list[list[float]] = []
    pieces, lifts, steps = [], [], 0
    for stroke in form.split(";"):
        lifts.append(steps)
        corner = False
        for piece in stroke.split("/"):
            first = len(points) - corner  # a piece goes on from the corner it shares
            points += [[int(part) / 100 for part in point.split(",")] for point in piece.split()]
            pieces.append((first, _run(len(points) - first)))
            steps += len(pieces[-1][1])
            corner = True
    way = np.zeros((steps, len(points)))
    row = 0
    for first, weights in pieces:
        way[row : row + len(weights), first : first + weights.shape[1]] = weights
        row += len(weights)
    return Form(np.array(points), way, tuple(lifts[1:]))


def _run(count: int) -> np.ndarray:
    """How much of each of `count` points goes into every step along a smooth line through them.

    It is a uniform Catmull-Rom spline (Catmull and Rom, "A class of local interpolating splines",
    1974), whose ends go straight on.
    """
    points = np.eye(count)
    first, last = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    padded = np.concatenate([first, points, last])[:, None]
    before, start, end, after = (padded[at : at + count - 1] for at in range(4))
    share = np.linspace(0, 1, STEPS + 1)[:, None]
    way = start + share / 2 * (
        end
        - before
        + share * (2 * before - 5 * start + 4 * end - after)
        + share**2 * (3 * (start - end) + after - before)
    )
    return way.reshape(-1, count)


def _pick_pen(random: np.random.Generator) -> np.ndarray:
    """A matrix that makes the pen's outline, an ellipse, a circle: mostly it is one."""
    thinner = random.uniform(0.4, 1) if random.random() < 0.3 else 1.0
    angle = random.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return turn.T @ np.diag([1, 1 / thinner]) @ turn


def _measure(
    way: np.ndarray,
    lifts: Sequence[int],
    pen: np.ndarray,
    extent: np.ndarray,
    size: tuple[int, int],
) -> np.ndarray:
    """How far the samples of a box are from the nearest stroke, as the pen is wide; in heights."""
    to_paper = HEIGHT * pen
    corners = CORNERS * extent @ to_paper.T
    corner = np.minimum.reduce(corners)
    width, height = (np.maximum.reduce(corners) - corner).tolist()
    paper = np.ones((math.ceil(height) + 1, math.ceil(width) + 1), np.uint8)
    steps = np.round(16 * (way @ to_paper.T - corner)).astype(np.int32)
    cv2.polylines(paper, np.split(steps, lifts) if lifts else [steps], False, color=0, shift=4)
    distances = cv2.distanceTransform(paper, cv2.DIST_L2, 3)
    distances /= np.float32(HEIGHT)
    from_field = np.empty((2, 3))  # from a column and row of it
    matrix = np.multiply(to_paper, extent / size, out=from_field[:, :2])
    from_field[:, 2] = matrix.sum(axis=1) / 2 - corner
    return cv2.warpAffine(
        distances,
        from_field,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
