"""Landscapes of the drawn world, by day, at sunset and at night.

Knows nothing about what stands in them.
"""

from __future__ import annotations

import random

from PIL import Image

from tools import figures
from tools.figures import Colour, Pen, Place
from tools.sheet import Sheet, vary

TIMES = ("day", "sunset", "night")
SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((80, 150, 235), (195, 222, 248)),
    "sunset": ((80, 50, 120), (252, 150, 60)),
    "night": ((8, 12, 40), (35, 42, 95)),
}
GROUNDS: dict[str, dict[str, tuple[Colour, Colour]]] = {
    "sea": {
        "day": ((50, 110, 190), (25, 70, 140)),
        "sunset": ((200, 110, 80), (60, 45, 90)),
        "night": ((14, 22, 60), (6, 10, 30)),
    },
    "mountains": {
        "day": ((90, 160, 80), (50, 110, 50)),
        "sunset": ((90, 75, 50), (50, 40, 35)),
        "night": ((20, 40, 35), (10, 22, 20)),
    },
    "desert": {
        "day": ((235, 200, 130), (205, 165, 95)),
        "sunset": ((220, 140, 80), (150, 85, 55)),
        "night": ((70, 60, 70), (40, 35, 45)),
    },
    "field": {
        "day": ((120, 190, 80), (60, 140, 50)),
        "sunset": ((110, 95, 45), (60, 50, 28)),
        "night": ((25, 50, 35), (12, 25, 18)),
    },
}
RIDGES: dict[str, Colour] = {"day": (110, 120, 140), "sunset": (90, 60, 90), "night": (30, 34, 60)}
SNOW: dict[str, Colour] = {
    "day": (238, 240, 246),
    "sunset": (240, 215, 205),
    "night": (120, 125, 150),
}


def _stars(sheet: Sheet, horizon: float) -> None:
    rng, usual = sheet.rng, random.Random(0)
    for _ in range(round(sheet.settle(35, rng.randint(25, 45)))):
        x = sheet.settle(usual.random(), rng.random())
        y = sheet.settle(usual.random(), rng.random()) * (horizon - 0.03)
        sheet.pen(x, y, rng.uniform(0.004, 0.008)).disc(0, 0, 1, (240, 240, 220))


def _heaven(sheet: Sheet, time: str, horizon: float) -> None:
    rng = sheet.rng
    top, bottom = SKIES[time]
    sheet.band(vary(top, rng), vary(bottom, rng), 0.0, horizon)
    x = sheet.settle(0.3, rng.uniform(0.2, 0.8))  # beside what stands in the middle
    if time == "day":
        figures.sun(sheet.pen(x, 0.18 + sheet.stray(0.04), 0.08), (255, 238, 130))
    elif time == "sunset":
        figures.sun(sheet.pen(x, horizon - 0.03, 0.12), (255, 218, 120))
    else:
        _stars(sheet, horizon)
        figures.crescent(sheet.pen(x, 0.18, 0.08), (242, 242, 225), vary(top, rng, 4))


def _ridge(sheet: Sheet, time: str, horizon: float) -> None:
    rng = sheet.rng
    width, height = sheet.image.size
    pen = Pen(sheet.image, Place(x=0, y=0, size=1))
    for index in range(4):
        x, top = (
            width * (index + 0.5 + sheet.stray(0.4)) / 4,
            height * (horizon - 0.29 + sheet.stray(0.09)),
        )
        half, foot = width * (0.25 + sheet.stray(0.05)), height * horizon
        pen.polygon([(x, top), (x - half, foot), (x + half, foot)], vary(RIDGES[time], rng))
        cap = 0.07 * height / (foot - top)
        snow = top + cap * (foot - top)
        pen.polygon([(x, top), (x - half * cap, snow), (x + half * cap, snow)], SNOW[time])


def landscape(sheet: Sheet, kind: str, time: str) -> float:
    """Draw a landscape and return where its horizon lies, as a fraction of the height."""
    rng = sheet.rng
    sheet.facts.scene = (kind, time)
    horizon = 0.57 + sheet.stray(0.07)
    _heaven(sheet, time, horizon)
    if kind == "mountains":
        _ridge(sheet, time, horizon)
    near, far = GROUNDS[kind][time]
    sheet.band(vary(near, rng), vary(far, rng), horizon, 1.0)
    return horizon


def draw_landscape(rng: random.Random, size: tuple[int, int], kind: str, time: str) -> Image.Image:
    """Draw an empty landscape of a given kind at a given time of day."""
    sheet = Sheet(Image.new("RGB", size), rng)
    landscape(sheet, kind, time)
    return sheet.image
