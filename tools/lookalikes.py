"""Pictures that have the same behind their things as a drawing, to be shown in its place.

What an image prompt is to carry over is the plain background or the landscape; what stands in front
of it, the words say. Knows no network.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict

from PIL import Image

from tools.drawing import Drawing, draw
from tools.sheet import COLOURS, Facts

POOL = 500
SIZE = (192, 152)  # an image encoder sees mean colours of larger places than these pixels
_BEHIND = re.compile(rf"(?: on(?: an?)?|,) (?:{'|'.join(COLOURS)}|grey)(?: background)?$")

Behind = tuple[str | None, tuple[str, str] | None]


class Lookalikes:
    """Small drawings by what is behind their things; a function of the seed."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"{seed} lookalikes")
        self._images: dict[Behind, list[Image.Image]] = defaultdict(list)
        for _ in range(POOL):
            drawing = draw(rng, SIZE)
            self._images[_behind(drawing.facts)].append(drawing.image)

    def of(self, drawing: Drawing, rng: random.Random) -> Image.Image:
        """Choose a picture; the drawing itself where there is nothing behind things or no other."""
        behind = _behind(drawing.facts)
        found = [] if drawing.facts.pattern else self._images.get(behind, [])
        return rng.choice(found) if found else drawing.image


def _behind(facts: Facts) -> Behind:
    return facts.background, facts.scene


def without_background(caption: str) -> str:
    """Leave out what a caption says last about a plain background."""
    return _BEHIND.sub("", caption)
