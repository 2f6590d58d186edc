"""The picture being drawn, the colours that it may have, and what is noted of what it shows.

Knows neither landscapes nor captions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from tools.figures import Colour, Pen, Place

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "green": (46, 150, 70),
    "blue": (40, 90, 214),
    "yellow": (245, 208, 60),
    "orange": (240, 130, 40),
    "purple": (130, 60, 170),
    "pink": (245, 150, 190),
    "white": (245, 245, 245),
    "black": (22, 22, 26),
    "gray": (128, 128, 132),
    "brown": (120, 76, 44),
    "cyan": (60, 200, 215),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that stands in front of a picture's background.

    Attributes:
        kind: A shape, or a house, tree and so on.
        colour: Its name.
        place: Of its centre, in fractions of the picture's sides.
        size: Half its height, in fractions of the picture's shorter side.
        paint: The colour as drawn.
        behind: The picture before it was drawn.
    """

    kind: str
    colour: str
    place: tuple[float, float]
    size: float
    paint: Colour
    behind: Image.Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Stripes, checks, dots or a gradient, with the colours from the top left on."""

    kind: str
    colours: tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Facts:
    """What a picture shows.

    Attributes:
        things: From the one that was drawn first on.
        background: Name of the plain colour behind them.
        scene: Kind of landscape and time of day behind them.
        pattern: What the whole picture is covered with.
    """

    things: list[Thing] = field(default_factory=list)
    background: str | None = None
    scene: tuple[str, str] | None = None
    pattern: Pattern | None = None


@dataclass(slots=True)
class Sheet:
    """The picture being drawn."""

    image: Image.Image
    rng: random.Random
    wander: float = 1.0  # share of how far things may stray
    behind: Colour = (0, 0, 0)
    facts: Facts = field(default_factory=Facts)

    @property
    def unit(self) -> int:
        """Shorter side in pixels: sizes of things are fractions of it."""
        return min(self.image.size)

    def stray(self, amount: float) -> float:
        """Draw how far something lies from where it should: at most ``amount`` to either side."""
        return self.settle(0.0, self.rng.uniform(-amount, amount))

    def settle(self, usual: float, drawn: float) -> float:
        """Return what was drawn, or something nearer to what is usual if things hardly stray."""
        return usual + (drawn - usual) * self.wander

    def count(self) -> int:
        """Draw how many stripes, checks or columns of dots a pattern has."""
        return round(self.settle(5, self.rng.choice([4, 5, 6])))

    def pen(self, x: float, y: float, size: float) -> Pen:
        """Return a pen for a place given in fractions of the picture."""
        width, height = self.image.size
        return Pen(self.image, Place(x=x * width, y=y * height, size=size * self.unit))

    def fill(self, name: str) -> None:
        """Make the whole picture one named colour."""
        self.behind = vary(COLOURS[name], self.rng)
        self.facts.background = name
        self.image.paste(self.behind, (0, 0, *self.image.size))

    def cover(self, kind: str, first: str, second: str) -> None:
        """Note a pattern in place of a plain background."""
        self.facts.background = None
        self.facts.pattern = Pattern(kind=kind, colours=(first, second))

    def place(self, kind: str, colour: str, at: tuple[float, float, float]) -> tuple[Pen, Colour]:
        """Note a thing that is about to be drawn; returns a pen and the paint for it.

        Args:
            kind: What it is.
            colour: Its name.
            at: Centre and half the height, in fractions.
        """
        pen, paint = self.pen(*at), vary(COLOURS[colour], self.rng)
        thing = Thing(
            kind=kind,
            colour=colour,
            place=at[:2],
            size=at[2],
            paint=paint,
            behind=self.image.copy(),
        )
        self.facts.things.append(thing)
        return pen, paint

    def band(self, top: Colour, bottom: Colour, start: float, stop: float) -> None:
        """Fill the rows between two fractions of the height with a vertical gradient."""
        width, height = self.image.size
        first, last = round(start * height), round(stop * height)
        ramp = np.linspace(0.0, 1.0, max(last - first, 1))[:, None]
        rows = np.array(top) * (1 - ramp) + np.array(bottom) * ramp
        strip = Image.fromarray(rows.astype(np.uint8)[:, None, :])
        self.image.paste(strip.resize((width, len(rows)), Image.Resampling.NEAREST), (0, first))


def vary(colour: Colour, rng: random.Random, amount: float = 10.0) -> Colour:
    """Return a colour a little beside the given one."""
    red, green, blue = (
        round(min(255.0, max(0.0, c + rng.uniform(-amount, amount)))) for c in colour
    )
    return red, green, blue
