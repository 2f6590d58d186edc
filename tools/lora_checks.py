"""Measures what a LoRA does to pictures of the base, small ones, on drawings that it never saw.

The base runs alone from a coarse level, with the sampler and the steps that a request gets, so many
pictures can be finished in seconds. What they show is compared with the drawing of their caption.
Knows neither training nor files.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.performance import PerformanceMode
from fooocus_core.sampling.noise_levels import noise_model
from fooocus_core.sampling.run import SamplingRun
from tools.drawing import WANDER, Drawing, draw
from tools.embedded import say
from tools.few_steps import Estimate, Road, plan_road
from tools.ink import look_at, outlined
from tools.latents import LATENT_GAIN
from tools.lora_lessons import Base, Weights, estimate, guided_estimate, plain_numbers
from tools.outlines import overlap, thing_mask
from tools.picture_checks import border_colour, nearest_colour
from tools.tiny_model import Conditioning
from tools.train_tiny import DEFAULT_SIZE

SEED = 1_000_003
STANDS_OUT = 45.0  # distance from the colour of the rim in RGB, half of that of near colours
STYLE_RUN = SamplingRun(sampler=Sampler.DPMPP_2M_SDE_GPU, scheduler=Scheduler.KARRAS, steps=12)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How pictures and the drawings of their captions agree, each 0.0 to 1.0.

    Attributes:
        error: Mean difference of the colours.
        rim: Share of the pictures whose rim has the colour it should.
        colour: Share of those whose things have, in the middle, the colour they should.
        shape: Intersection over union of where things are, averaged.
        paper, ink: How much of the pictures looks like paper and like ink, averaged.
        lines: Intersection over union of ink and the outlines of the drawing, averaged.
    """

    error: float
    rim: float
    colour: float
    shape: float
    paper: float
    ink: float
    lines: float

    def __str__(self) -> str:
        return (
            f"error {self.error:.3f}, rim {self.rim:.2f}, colour {self.colour:.2f}, "
            f"shape {self.shape:.2f}, paper {self.paper:.2f}, ink {self.ink:.2f}, "
            f"lines {self.lines:.2f}"
        )


def draw_tests(count: int, level: int) -> list[Drawing]:
    """Draw things on plain backgrounds that training does not see, as small as a level is."""
    rng, found = random.Random(SEED), list[Drawing]()
    width, height = coarse_size(level)
    while len(found) < count:
        drawing = draw(rng, (16 * width, 16 * height), wander=WANDER)
        if drawing.background and drawing.facts.things:
            found.append(drawing)
    return found


def coarse_size(level: int) -> tuple[int, int]:
    """Width and height of a latent of the default size at a level."""
    width, height = (math.ceil(side / 8 / 2**level) for side in DEFAULT_SIZE)
    return width, height


@torch.no_grad()
def paint_mode(
    base: Base, mode: PerformanceMode, drawings: Sequence[Drawing], level: int, weights: Weights
) -> list[Image.Image]:
    """Finish a picture of each drawing's caption as a performance mode does."""
    road = plan_road(mode, level)
    said = _captions(base, drawings)
    return _pictures(road, estimate(base.unet, road, said, weights), len(drawings))


@torch.no_grad()
def paint_style(
    base: Base, drawings: Sequence[Drawing], level: int, weights: Weights
) -> list[Image.Image]:
    """Finish a picture of each drawing's caption with guidance."""
    road = Road(run=STYLE_RUN, model=noise_model(STYLE_RUN.scheduler), level=level)
    said = _captions(base, drawings)
    return _pictures(road, guided_estimate(base, road, said, weights), len(drawings))


def compare(pictures: Sequence[Image.Image], drawings: Sequence[Drawing]) -> Likeness:
    """Compare pictures with the drawings of their captions."""
    pairs = list(zip(pictures, drawings, strict=True))
    sheets = [look_at(picture) for picture in pictures]
    return Likeness(
        error=mean(_difference(picture, drawing) for picture, drawing in pairs),
        rim=mean(border_colour(picture) == drawing.background for picture, drawing in pairs),
        colour=mean(_same_colour(picture, drawing) for picture, drawing in pairs),
        shape=mean(overlap(_stands_out(x), _things(y, x.size)) for x, y in pairs),
        paper=mean(sheet.paper for sheet in sheets),
        ink=mean(sheet.ink for sheet in sheets),
        lines=mean(overlap(_is_dark(x), _is_dark(_small(outlined(y.image), x))) for x, y in pairs),
    )


def _captions(base: Base, drawings: Sequence[Drawing]) -> Conditioning:
    numbers = plain_numbers(DEFAULT_SIZE, len(drawings))
    return say(base.words, [drawing.caption for drawing in drawings], "", numbers)


def _pictures(road: Road, estimated: Estimate, count: int) -> list[Image.Image]:
    width, height = coarse_size(road.level)
    clean = torch.zeros(count, 4, height, width)
    return [picture_of(latent) for latent in road.finish(clean, estimated, SEED)]


def picture_of(latent: Tensor) -> Image.Image:
    """The mean colours that a latent stands for: (4, h, w) -> a picture of h times w places."""
    values = (latent[:3].permute(1, 2, 0) / LATENT_GAIN + 1) * 127.5
    return Image.fromarray(values.clamp(0, 255).round().byte().numpy())


def _difference(picture: Image.Image, drawing: Drawing) -> float:
    wanted, seen = (
        np.asarray(image).astype(np.float32) for image in (_small(drawing.image, picture), picture)
    )
    return float(np.abs(wanted - seen).mean() / 255)


def _same_colour(picture: Image.Image, drawing: Drawing) -> bool:
    mask = _things(drawing, picture.size)
    if not mask.any():
        return False
    wanted, seen = (
        nearest_colour(np.asarray(x)[mask]) for x in (_small(drawing.image, picture), picture)
    )
    return wanted == seen


def _things(drawing: Drawing, size: tuple[int, int]) -> Mask:
    share = Image.fromarray((255 * thing_mask(drawing)).astype(np.uint8))
    mask: Mask = np.asarray(share.resize(size, Image.Resampling.BOX)) > 127
    return mask


def _stands_out(picture: Image.Image) -> Mask:
    values = np.asarray(picture).astype(np.float32)
    rim = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    distance = np.square(values - np.median(rim, axis=0)).sum(-1)
    mask: Mask = distance > STANDS_OUT**2
    return mask


def _small(image: Image.Image, like: Image.Image) -> Image.Image:
    return image.resize(like.size, Image.Resampling.BOX)


def _is_dark(image: Image.Image) -> Mask:
    """Half as bright as paper: lines narrower than a place are grey."""
    mask: Mask = np.asarray(image.convert("L")) < 170
    return mask
