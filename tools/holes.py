"""Holes in drawn pictures: where they are, and what the pipeline puts there before it paints.

Works on latents, whose places are 8 x 8 pixels; knows neither networks nor noise.
"""

from __future__ import annotations

import random

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

FINE = 4  # a hole's rim lies between the places of a latent: drawn finer, then averaged
OPAQUE = 255


def draw_holes(rng: random.Random, count: int, size: tuple[int, int]) -> Tensor:
    """Draw a hole per picture: boxes, ovals, strokes of a brush, or sides to continue beyond.

    Args:
        rng: Source of every choice.
        count: How many.
        size: (height, width) of the latent.

    Returns:
        Share of every place that belongs to the hole, (count, 1, height, width), 0 to 1.
    """
    height, width = size
    holes = []
    for _ in range(count):
        sheet = Image.new("L", (width * FINE, height * FINE))
        kind = rng.choices((_box, _oval, _strokes, _sides), (0.35, 0.25, 0.15, 0.25))[0]
        kind(sheet, rng)
        shares = sheet.resize((width, height), Image.Resampling.BOX)
        holes.append(torch.frombuffer(bytearray(shares.tobytes()), dtype=torch.uint8))
    return torch.stack(holes).view(count, 1, height, width) / OPAQUE


def _place(sheet: Image.Image, rng: random.Random) -> tuple[float, float, float, float]:
    width, height = sheet.size
    wide, high = width * rng.uniform(0.15, 0.75), height * rng.uniform(0.15, 0.75)
    left = rng.uniform(-0.1, 1.1) * (width - wide)
    top = rng.uniform(-0.1, 1.1) * (height - high)
    return left, top, left + wide, top + high


def _box(sheet: Image.Image, rng: random.Random) -> None:
    ImageDraw.Draw(sheet).rectangle(_place(sheet, rng), fill=OPAQUE)


def _oval(sheet: Image.Image, rng: random.Random) -> None:
    ImageDraw.Draw(sheet).ellipse(_place(sheet, rng), fill=OPAQUE)


def _strokes(sheet: Image.Image, rng: random.Random) -> None:
    width, height = sheet.size
    for _ in range(rng.randint(1, 3)):
        points = [(rng.random() * width, rng.random() * height) for _ in range(rng.randint(2, 4))]
        thick = round(min(sheet.size) * rng.uniform(0.06, 0.25))
        ImageDraw.Draw(sheet).line(points, fill=OPAQUE, width=thick, joint="curve")


def _sides(sheet: Image.Image, rng: random.Random) -> None:
    width, height = sheet.size
    pen = ImageDraw.Draw(sheet)
    for side in rng.sample(range(4), rng.choice((1, 1, 1, 2, 4))):
        depth = rng.uniform(0.12, 0.35)
        across, down = depth * width, depth * height
        box = (
            (0, 0, across, height),
            (width - across, 0, width, height),
            (0, 0, width, down),
            (0, height - down, width, height),
        )[side]
        pen.rectangle(box, fill=OPAQUE)


def fill_smoothly(latents: Tensor, mask: Tensor) -> Tensor:
    """Spread what is around holes into them, smoothly, as repeated blurring of the picture does.

    Means of known places are taken over ever larger squares; where a square knows nothing, the
    next larger one tells.

    Args:
        latents: (B, C, h, w).
        mask: (B, 1, h, w), 1 = hole. With nothing known at all the hole becomes zero.

    Returns:
        (B, C, h, w), equal to ``latents`` outside of the holes.
    """
    known = 1 - mask
    return _spread(latents * known, known)


def _spread(values: Tensor, known: Tensor) -> Tensor:
    seen = values / known.clamp(min=1e-6)
    if max(values.shape[-2:]) == 1:
        return seen
    coarse = _spread(*(functional.avg_pool2d(x, 2, ceil_mode=True) for x in (values, known)))
    spread = functional.interpolate(coarse, size=values.shape[-2:], mode="bilinear")
    return torch.where(known > 0, seen, spread)
