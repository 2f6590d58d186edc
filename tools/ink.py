"""Drawings as if drawn with a pen: dark outlines of everything on white paper, nothing filled.

Also tells by the pixels of a picture whether it looks so. Knows nothing about networks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.drawing import WANDER, Drawing, draw
from tools.figures import Colour

PAPER: Colour = (246, 246, 246)
INK: Colour = (22, 22, 26)
LINE = 0.028  # width, of the shorter side
STEP = 20  # how far a channel jumps between neighbours at an edge; gradients stay below
PALE, DARK = 200, 110  # brightness from which, and up to which, a place is paper or ink
GREY = 40  # how far the channels of paper and ink are apart at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheetlike:
    """How much of a picture looks like paper, and how much like ink, 0.0 to 1.0."""

    paper: float
    ink: float


def draw_in_ink(rng: random.Random, size: tuple[int, int]) -> Drawing:
    """Draw one random picture of the world as the embedded model learns to, but in ink."""
    drawing = draw(rng, size, wander=WANDER)
    return replace(drawing, image=outlined(drawing.image))


def outlined(image: Image.Image) -> Image.Image:
    """Draw the outlines of what a picture shows; of the same size."""
    lines = edges(image)
    width = max(1, round(LINE * min(image.size)))
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    is_ink = cv2.dilate(lines.astype(np.uint8), pen) > 0
    colours = np.where(is_ink[..., None], np.array(INK, np.uint8), np.array(PAPER, np.uint8))
    return Image.fromarray(colours)


def edges(image: Image.Image) -> NDArray[np.bool_]:
    """Where the colour of a picture jumps from one pixel to the next: (H, W)."""
    values = np.asarray(image.convert("RGB")).astype(np.int16)
    found = np.zeros(values.shape[:2], dtype=np.bool_)
    found[:, 1:] |= (np.abs(np.diff(values, axis=1)) > STEP).any(-1)
    found[1:] |= (np.abs(np.diff(values, axis=0)) > STEP).any(-1)
    return found


def look_at(image: Image.Image) -> Sheetlike:
    """Tell how much of a picture is paper and how much is ink."""
    values = np.asarray(image.convert("RGB")).astype(np.int16)
    is_grey = np.ptp(values, axis=-1) <= GREY
    brightness = values.mean(-1)
    return Sheetlike(
        paper=float((is_grey & (brightness >= PALE)).mean()),
        ink=float((is_grey & (brightness <= DARK)).mean()),
    )
