"""What the UNet and an image encoder are shown while image prompts are learned.

A drawing under noise, its caption as requests tell it, if at all, and the drawing itself or, beside
words, mostly one that is like it behind its things. Knows no network but the text encoders.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.params import Image, Size
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import normalised
from tools.drawing import Drawing
from tools.embedded import STYLES, Words, say
from tools.guide_lessons import Lesson, lesson_timesteps
from tools.latents import add_noise, noise_levels
from tools.lookalikes import Lookalikes, without_background
from tools.train_tiny import SETTLED, draw_pictures, draw_size, latents_of, size_numbers

SIDE = 224  # of what the image encoder sees, in pixels
DROP = 0.4
# Shares of the drawings that are told: another is shown; a plain background is not told.
ANOTHER_SHOWN, BACKGROUND_UNTOLD = 0.7, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How lessons are drawn.

    Attributes:
        count: Pictures, all of one size.
        level: How often their latents are halved.
        part: Divides the sides beyond that; the UNet is told the whole size.
        drop: Share of the captions that are left out.
        sigma: Noise level of all pictures; ``None`` draws one for each.
    """

    count: int
    level: int = 0
    part: int = 1
    drop: float = DROP
    sigma: float | None = None


def draw_lesson(rng: random.Random, words: Words, lookalikes: Lookalikes, course: Course) -> Lesson:
    """Draw captioned pictures.

    Args:
        rng: Makes every choice.
        words: Tell the captions.
        lookalikes: Are shown in the place of what was drawn.
        course: Says how many, and under how much noise.
    """
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = draw_size(rng)
    drawn, level = (size[0] // course.part, size[1] // course.part), course.level
    drawings = draw_pictures(rng, drawn, level, course.count, draw=SETTLED)
    timestep = lesson_timesteps(course.count, level, rng, generator, course.sigma)
    told = [_tell(drawing, rng, lookalikes, course.drop) for drawing in drawings]
    numbers = size_numbers(size, timestep, generator)
    clean = latents_of(drawings, drawn, level)
    return Lesson(
        noise=add_noise(clean, timestep, level, noise_levels(), generator),
        shown=torch.cat([show(np.array(image)) for _, image in told]),
        said=say(words, [caption for caption, _ in told], rng.choice(STYLES), numbers),
        level=level,
    )


def _tell(
    drawing: Drawing, rng: random.Random, lookalikes: Lookalikes, drop: float
) -> tuple[str, PillowImage.Image]:
    """Choose what is said of a drawing and which picture is shown for it."""
    if rng.random() < drop:
        return "", drawing.image
    other = lookalikes.of(drawing.facts, rng) if rng.random() < ANOTHER_SHOWN else None
    told = drawing.caption
    if rng.random() < BACKGROUND_UNTOLD:
        told = without_background(told)
    return told, drawing.image if other is None else other


def show(picture: Image) -> Tensor:
    """Make what the image encoder is given of a picture: (1, 3, SIDE, SIDE)."""
    return normalised(to_pixels(resize_image(picture, Size(SIDE, SIDE), Fit.STRETCH)))
