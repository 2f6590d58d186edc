"""How single things of the drawn world look: shapes, houses, animals, people, celestial bodies.

Knows nothing about captions or about where in a picture a thing belongs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

SKIN: Colour = (240, 205, 175)
WOOD: Colour = (112, 72, 42)
DARK: Colour = (24, 22, 26)
HAIR_COLOURS: tuple[Colour, ...] = ((60, 40, 25), (225, 180, 90), (30, 25, 25), (160, 70, 40))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a thing is drawn: centre and half its height, in pixels."""

    x: float
    y: float
    size: float


class Pen:
    """Draws in units of a place: (0, 0) is its centre, 1 is half the height of the thing."""

    def __init__(self, image: Image.Image, place: Place) -> None:
        self._draw = ImageDraw.Draw(image)
        self._place = place

    def _at(self, x: float, y: float) -> tuple[float, float]:
        place = self._place
        return place.x + x * place.size, place.y + y * place.size

    def ellipse(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill the ellipse inside a box."""
        self._draw.ellipse([*self._at(left, top), *self._at(right, bottom)], fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """Fill a circle around a centre."""
        self.ellipse(x - radius, y - radius, x + radius, y + radius, fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill a rectangle."""
        self._draw.rectangle([*self._at(left, top), *self._at(right, bottom)], fill=fill)

    def polygon(self, corners: list[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._at(x, y) for x, y in corners], fill=fill)


def circle(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a disc."""
    pen.disc(0, 0, 1, colour)


def square(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a square of about the area of the disc."""
    pen.box(-0.88, -0.88, 0.88, 0.88, colour)


def triangle(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a triangle that stands on its base."""
    pen.polygon([(0, -1.05), (-1.05, 0.85), (1.05, 0.85)], colour)


def diamond(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a square that stands on a corner, a little narrow."""
    pen.polygon([(0, -1.15), (-0.85, 0), (0, 1.15), (0.85, 0)], colour)


def star(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a star with five points."""
    corners = []
    for index in range(10):
        radius = 1.15 if index % 2 == 0 else 0.47
        angle = index * math.pi / 5 - math.pi / 2
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    pen.polygon(corners, colour)


def heart(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw a heart."""
    corners = []
    for index in range(40):
        t = 2 * math.pi * index / 40
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((0.065 * 16 * math.sin(t) ** 3, -0.065 * y))
    pen.polygon(corners, colour)


def ring(pen: Pen, colour: Colour, behind: Colour) -> None:
    """Draw a thick ring; ``behind`` shows through its hole."""
    pen.disc(0, 0, 1, colour)
    pen.disc(0, 0, 0.55, behind)


def cross(pen: Pen, colour: Colour, _behind: Colour) -> None:
    """Draw an upright cross with equal arms."""
    pen.box(-0.35, -1, 0.35, 1, colour)
    pen.box(-1, -0.35, 1, 0.35, colour)


SHAPES: dict[str, Callable[[Pen, Colour, Colour], None]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "heart": heart,
    "ring": ring,
    "diamond": diamond,
    "cross": cross,
}


def house(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw a house: walls in the colour, brown-red roof, a door and two lit windows."""
    pen.box(-0.85, -0.25, 0.85, 1, colour)
    pen.polygon([(-1.1, -0.25), (0, -1), (1.1, -0.25)], (150, 62, 42))
    pen.box(-0.18, 0.35, 0.18, 1, (90, 55, 30))
    for x in (-0.53, 0.53):
        pen.box(x - 0.17, 0.05, x + 0.17, 0.4, (250, 230, 130))


def tree(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw a tree: crown in the colour, brown trunk."""
    pen.box(-0.14, 0, 0.14, 1, WOOD)
    for x, y in ((-0.36, -0.1), (0.36, -0.1), (0, -0.5)):
        pen.disc(x, y, 0.5, colour)


def flower(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw a flower: six petals in the colour, yellow heart, green stem."""
    pen.box(-0.07, 0, 0.07, 1.1, (50, 130, 60))
    for index in range(6):
        angle = index * math.pi / 3
        pen.disc(0.5 * math.cos(angle), -0.25 + 0.5 * math.sin(angle), 0.34, colour)
    pen.disc(0, -0.25, 0.28, (245, 205, 70))


def _face(pen: Pen, eye: Colour, nose: Colour) -> None:
    for x in (-0.4, 0.4):
        pen.disc(x, -0.1, 0.19, eye)
        pen.disc(x, -0.1, 0.09, DARK)
    pen.polygon([(-0.14, 0.2), (0.14, 0.2), (0, 0.38)], nose)


def cat(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw the head of a cat: pointed ears, light eyes, pink nose."""
    for side in (-1, 1):
        pen.polygon([(side * 0.85, -1.05), (side * 0.92, -0.1), (side * 0.15, -0.6)], colour)
    pen.ellipse(-0.97, -0.75, 0.97, 0.85, colour)
    _face(pen, (230, 240, 150), (235, 130, 140))


def bear(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw the head of a bear: round ears, light muzzle, black nose."""
    for side in (-1, 1):
        pen.disc(side * 0.68, -0.68, 0.34, colour)
    pen.disc(0, 0.05, 0.92, colour)
    pen.ellipse(-0.42, 0.1, 0.42, 0.75, (225, 195, 160))
    for x in (-0.36, 0.36):
        pen.disc(x, -0.15, 0.1, DARK)
    pen.ellipse(-0.16, 0.16, 0.16, 0.38, DARK)


def chair(pen: Pen, colour: Colour, _rng: random.Random) -> None:
    """Draw a chair seen from the front, with a tall back."""
    pen.box(-0.6, -1, 0.6, 0.1, colour)
    pen.box(-0.7, 0.1, 0.7, 0.32, colour)
    for x in (-0.62, 0.48):
        pen.box(x, 0.3, x + 0.14, 1, colour)


def girl(pen: Pen, colour: Colour, rng: random.Random) -> None:
    """Draw a standing girl: hair, face, dress in the colour."""
    pen.ellipse(-0.42, -1, 0.42, 0.05, rng.choice(HAIR_COLOURS))
    pen.polygon([(0, -0.35), (-0.58, 0.75), (0.58, 0.75)], colour)
    for x in (-0.2, 0.08):
        pen.box(x, 0.75, x + 0.12, 1.05, SKIN)
    _girl_face(pen, -0.58)


def sitting_girl(pen: Pen, colour: Colour, rng: random.Random) -> None:
    """Draw a girl who sits: short dress, legs stretched to one side."""
    pen.ellipse(-0.45, -1, 0.45, 0.1, rng.choice(HAIR_COLOURS))
    pen.polygon([(0, -0.3), (-0.6, 0.62), (0.6, 0.62)], colour)
    pen.box(-0.6, 0.55, 1.05, 0.8, SKIN)
    pen.box(-0.7, 0.3, 0.6, 0.72, colour)
    _girl_face(pen, -0.55)


def _girl_face(pen: Pen, y: float) -> None:
    pen.disc(0, y, 0.3, SKIN)
    for x in (-0.12, 0.12):
        pen.disc(x, y, 0.05, DARK)


THINGS: dict[str, Callable[[Pen, Colour, random.Random], None]] = {
    "house": house,
    "tree": tree,
    "flower": flower,
    "cat": cat,
    "bear": bear,
    "chair": chair,
    "girl": girl,
}


def sun(pen: Pen, colour: Colour) -> None:
    """Draw the sun as a disc."""
    pen.disc(0, 0, 1, colour)


def crescent(pen: Pen, colour: Colour, behind: Colour) -> None:
    """Draw a waxing moon: a disc with a piece of the sky laid over it."""
    pen.disc(0, 0, 1, colour)
    pen.disc(0.45, -0.2, 0.8, behind)
