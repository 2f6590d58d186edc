"""Pictures that have the same behind their things as another, to be shown in its place.

What an image prompt is to carry over is a plain background or a landscape; which things stand in
front of it, the words say. Knows no network.
"""

from __future__ import annotations

import itertools
import random
import re

from PIL import Image as PillowImage

from tools.drawing import draw
from tools.landscapes import GROUNDS, TIMES
from tools.sheet import COLOURS, Facts

LEAST = 12  # pictures of every background and every landscape
SIZE = (192, 152)  # an image encoder sees mean colours of larger places than these pixels
_BACKGROUND = re.compile(rf"(?: on(?: an?)?|,) (?:{'|'.join(COLOURS)}|grey)(?: background)?$")

Behind = str | tuple[str, str]
"""A plain colour, or kind of landscape and time of day."""


class Lookalikes:
    """Small drawings by what is behind their things; a function of the seed."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"{seed} lookalikes")
        known: list[Behind] = [*COLOURS, *itertools.product(GROUNDS, TIMES)]
        self._images: dict[Behind, list[PillowImage.Image]] = {behind: [] for behind in known}
        while min(map(len, self._images.values())) < LEAST:
            drawing = draw(rng, SIZE)
            behind = behind_things(drawing.facts)
            if behind is not None:
                self._images[behind].append(drawing.image)

    def of(self, facts: Facts, rng: random.Random) -> PillowImage.Image | None:
        """Choose a picture; none is like one that is covered with a pattern."""
        behind = behind_things(facts)
        return None if behind is None else rng.choice(self._images[behind])


def behind_things(facts: Facts) -> Behind | None:
    """Tell what is behind the things of a picture, if it is not covered with a pattern."""
    return None if facts.pattern else facts.background or facts.scene


def without_background(caption: str) -> str:
    """Leave out what a caption says last about a plain background."""
    return _BACKGROUND.sub("", caption)
