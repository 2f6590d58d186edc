"""Tells what a picture of the small world shows, by its pixels and the drawer's own geometry.

Knows nothing about how the pictures were made or what was asked of them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.figures import SHAPES, THINGS, Pen, Place
from tools.landscapes import GROUNDS, TIMES, draw_landscape
from tools.sheet import COLOURS

BORDER = 1 / 14  # of the shorter side
SMALL = (18, 14)
EXAMPLES = 48
STANDS_OUT = 45.0  # distance in RGB, half of that of the two nearest named colours
LEAST_AREA = 0.12  # of the largest thing: what is smaller is no thing of its own
SPECK = 0.003  # of the picture: what is smaller is nothing
OUTLINE = 64  # places of a side of the outlines that are compared
SIDE = 22.0  # places, the root of the area that every outline is brought to
CLOSE = 5e-3  # of the shorter side: gaps in a thing that are no gaps

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Shares = NDArray[np.float32]
NAMES = tuple(COLOURS)
_VALUES = np.array(list(COLOURS.values()), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenThing:
    """Something that stands out from a plain background.

    Attributes:
        kind: The shape or thing whose outline it has most in common with.
        colour: Nearest named colour of its median.
        shares: How much of it is nearest to each named colour.
        place: Of the middle of its box, in fractions of the picture's sides.
    """

    kind: str
    colour: str
    shares: dict[str, float]
    place: tuple[float, float]


def nearest_colour(pixels: Pixels) -> str:
    """Return the named colour nearest to the median of pixels, (N, 3)."""
    median = np.median(pixels.astype(np.float32), axis=0)
    return NAMES[int(np.square(median - _VALUES).sum(1).argmin())]


def border_colour(picture: Image.Image) -> str:
    """Name the colour of the rim of a picture."""
    return nearest_colour(_rim(_pixels(picture)))


def things_on(picture: Image.Image) -> list[SeenThing]:
    """Return what stands out from the colour of the rim, the largest first."""
    values = _pixels(picture)
    behind = np.median(_rim(values).astype(np.float32), axis=0)
    apart = np.sqrt(np.square(values.astype(np.float32) - behind).sum(-1)) > STANDS_OUT
    side = 2 * round(min(picture.size) * CLOSE) + 1
    whole = cv2.morphologyEx(apart.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((side, side)))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    areas = {n: int(boxes[n, cv2.CC_STAT_AREA]) for n in range(1, count)}
    least = max([LEAST_AREA * area for area in areas.values()] + [SPECK * apart.size])
    numbers = sorted((n for n in areas if areas[n] >= least), key=lambda n: -areas[n])
    return [_thing(values, labels == number) for number in numbers]


def _thing(values: Pixels, mask: Mask) -> SeenThing:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = mask.shape
    inside = values[mask]
    nearest = np.square(inside[:, None].astype(np.float32) - _VALUES).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(NAMES)) / len(nearest)
    return SeenThing(
        kind=kind_of(mask),
        colour=nearest_colour(inside),
        shares=dict(zip(NAMES, shares.tolist(), strict=True)),
        place=(
            float(columns[0] + columns[-1] + 1) / 2 / width,
            float(rows[0] + rows[-1] + 1) / 2 / height,
        ),
    )


def kind_of(mask: Mask) -> str:
    """Name the shape or thing whose outline has most in common with a mask, (H, W).

    Both are brought to one area around one centre of gravity, so that a ragged rim changes little.
    """
    seen = _outline(mask)
    return max(OUTLINES, key=lambda kind: _overlap(seen, OUTLINES[kind]))


def _overlap(one: Shares, other: Shares) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _outline(mask: Mask) -> Shares:
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    scale = SIDE / math.sqrt(moments["m00"])
    middle = (OUTLINE - 1) / 2
    x, y = (middle - scale * moments[name] / moments["m00"] for name in ("m10", "m01"))
    move = np.array([[scale, 0, x], [0, scale, y]])
    whole = cv2.warpAffine(mask.astype(np.float32), move, (OUTLINE, OUTLINE))
    return whole.astype(np.float32)


def _drawn_outlines() -> dict[str, Shares]:
    black, white = (0, 0, 0), (255, 255, 255)
    outlines = {}
    for kind in (*SHAPES, *THINGS):
        sheet = Image.new("RGB", (400, 400), white)
        pen = Pen(sheet, Place(x=200, y=200, size=150))
        if kind in SHAPES:
            SHAPES[kind](pen, black, white)
        else:
            THINGS[kind](pen, black, random.Random(0))
        outlines[kind] = _outline(np.asarray(sheet).min(-1) < 255)
    return outlines


OUTLINES = _drawn_outlines()


class SceneJudge:
    """Tells landscapes apart by their distance to the mean of drawn ones."""

    def __init__(self, seed: int = 0) -> None:
        rng = random.Random(seed)
        self._means: dict[tuple[str, str], NDArray[np.float32]] = {}
        for kind in GROUNDS:
            for time in TIMES:
                drawn = [draw_landscape(rng, (144, 112), kind, time) for _ in range(EXAMPLES)]
                self._means[kind, time] = np.mean([_small(image) for image in drawn], axis=0)

    def scene(self, picture: Image.Image) -> tuple[str, str]:
        """Return kind and time of day of the landscape that a picture is nearest to."""
        values = _small(picture)
        return min(self._means, key=lambda s: float(np.square(values - self._means[s]).mean()))


def _small(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB").resize(SMALL, Image.Resampling.BOX), dtype=np.float32)


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"))


def _rim(values: Pixels) -> Pixels:
    rim = max(1, round(min(values.shape[:2]) * BORDER))
    inside = np.zeros(values.shape[:2], dtype=np.bool_)
    inside[rim:-rim, rim:-rim] = True
    return values[~inside]
