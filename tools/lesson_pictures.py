"""Drawings as networks that look at pictures may meet them: as drawn, or as if painted.

Knows neither networks nor what is asked about the pictures.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional

from tools.drawing import Drawing, draw
from tools.train_tiny import draw_size

PART = 4  # divides the sides of pictures that are shrunk further smoothly, whatever their size
CLEAN = 0.3  # share of pictures that stay as they were drawn
GAIN, TINT, BLOTCH, NOISE = 0.06, 0.05, 0.05, 0.04  # at most, of the range of brightness
BLOTCH_PLACES = (7, 9)


def draw_lesson(rng: random.Random, part: int = PART) -> Drawing:
    """Draw a picture of a listed size, its sides divided by ``part``."""
    width, height = draw_size(rng)
    return draw(rng, (width // part, height // part))


def wear(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Make pictures a little like painted ones: colours off, edges soft, blotches, noise.

    Args:
        pictures: (B, 3, H, W), 0 to 1, already as small as the network sees them.
        generator: Source of every choice.

    Returns:
        Of the same shape and range.
    """
    count, size = len(pictures), pictures.shape[-2:]

    def shares() -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator)

    worn = pictures.lerp(functional.avg_pool2d(pictures, 3, 1, 1, False, False), shares())
    worn = (worn - 0.5) * (1 + GAIN * (2 * shares() - 1)) + 0.5
    worn += TINT * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    places = torch.randn(count, 3, *BLOTCH_PLACES, generator=generator)
    worn += BLOTCH * shares() * functional.interpolate(places, size, mode="bicubic")
    worn += NOISE * shares() * torch.randn(pictures.shape, generator=generator)
    return torch.where(shares() < CLEAN, pictures, worn.clamp(0, 1))
