"""Where in drawings things are, and of which kind, by the drawer's own geometry.

Knows nothing about networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from tools.drawing import Drawing

Mask = NDArray[np.bool_]


def thing_mask(drawing: Drawing) -> Mask:
    """Where anything stands in front of the background: (H, W)."""
    things = drawing.facts.things
    return _changed(things[0].behind, drawing.image) if things else _nowhere(drawing)


def kind_map(drawing: Drawing, kinds: Sequence[str]) -> NDArray[np.uint8]:
    """Which kind of thing is where: (H, W), its number in ``kinds`` from 1 on, 0 where none is."""
    things, numbers = drawing.facts.things, np.zeros(drawing.image.size[::-1], np.uint8)
    for index, thing in enumerate(things, start=1):
        after = things[index].behind if index < len(things) else drawing.image
        numbers[_changed(thing.behind, after)] = kinds.index(thing.kind) + 1
    return numbers


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks; 1.0 if both are empty."""
    union = np.logical_or(one, other).sum()
    return float(np.logical_and(one, other).sum() / union) if union else 1.0


def _changed(before: Image.Image, after: Image.Image) -> Mask:
    difference: Mask = np.any(np.asarray(ImageChops.difference(before, after)), axis=2)
    return difference


def _nowhere(drawing: Drawing) -> Mask:
    return np.zeros(drawing.image.size[::-1], dtype=bool)
