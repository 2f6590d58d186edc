"""What the UNet and an image encoder are shown while image prompts are learned.

A drawing under noise, its caption as requests tell it, if at all, and the drawing itself or, beside
words, mostly one that is like it behind its things. Knows no network but the text encoders.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.params import Image, Size
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import normalised
from tools.drawing import Drawing
from tools.embedded import STYLES, Words
from tools.latents import NoisyBatch, add_noise, draw_timesteps, noise_levels
from tools.lookalikes import Lookalikes, without_background
from tools.tiny_model import Conditioning
from tools.train_tiny import DEFAULT_SIZE, SIZES, draw_pictures, latents_of, size_numbers

PIXELS = 8  # per place of a latent
SIDE = 224  # of what the image encoder sees, in pixels
DROP = 0.4
ALIKE, UNSAID = 0.7, 0.6  # shares of the told drawings: others are shown; no background is told
# One below the lowest level of the UNet: no noise weaker than 0.8. Image prompts act in the first
# half of a run unless a request asks for more.
STRONG, STRONG_SHARE = 5, 0.8
BEGINNING = 0.4  # share of the lessons where only the picture shown tells the colours


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Drawings as the sampler shows them at some level, and as the image encoder sees them."""

    noise: NoisyBatch
    shown: Tensor  # (B, 3, SIDE, SIDE)
    context: Tensor  # (B, T, 128)
    pooled: Tensor  # (B, 64)
    size_numbers: Tensor  # (B, 6)

    def on(self, device: str) -> Lesson:
        """Move what the networks need to a device; the target stays."""
        return replace(
            self,
            noise=replace(
                self.noise,
                noisy=self.noise.noisy.to(device),
                timestep=self.noise.timestep.to(device),
            ),
            shown=self.shown.to(device),
            context=self.context.to(device),
            pooled=self.pooled.to(device),
            size_numbers=self.size_numbers.to(device),
        )

    @property
    def latents(self) -> tuple[Tensor, Tensor]:
        """The first arguments of a UNet: noisy latents and timesteps."""
        return self.noise.noisy, self.noise.timestep

    @property
    def said(self) -> Conditioning:
        """What a UNet is told beside the latents."""
        return Conditioning(
            context=self.context, pooled=self.pooled, size_numbers=self.size_numbers
        )

    @property
    def prompts(self) -> dict[str, Any]:
        """The further arguments of a UNet."""
        return {
            "encoder_hidden_states": self.context,
            "added_cond_kwargs": {"text_embeds": self.pooled, "time_ids": self.size_numbers},
        }

    def squared_error(self, prediction: Tensor) -> float:
        """Of the clean latent that a noise prediction, (B, 4, h, w), stands for: the mean."""
        error = (prediction - self.noise.target) * self.noise.sigma.view(-1, 1, 1, 1)
        return float(error.square().mean())


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
    """Draw captioned pictures; ``rng`` makes every choice, and ``words`` tells the captions."""
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = DEFAULT_SIZE if rng.random() < 0.5 else rng.choice(SIZES)
    drawn, level = (size[0] // course.part, size[1] // course.part), course.level
    drawings = draw_pictures(rng, drawn, level, course.count)
    sigmas = noise_levels()
    if course.sigma is None:
        weakest = STRONG if rng.random() < STRONG_SHARE else level
        timestep = draw_timesteps(course.count, weakest, sigmas, generator, beginning=BEGINNING)
    else:
        timestep = (sigmas - course.sigma).abs().argmin().repeat(course.count)
    told = [_tell(drawing, rng, lookalikes, course.drop) for drawing in drawings]
    context, pooled = words.encode([said for said, _ in told], rng.choice(STYLES))
    return Lesson(
        noise=add_noise(latents_of(drawings, drawn, level), timestep, level, sigmas, generator),
        shown=torch.cat([show(np.array(image)) for _, image in told]),
        context=context,
        pooled=pooled,
        size_numbers=size_numbers(size, timestep, generator),
    )


def _tell(
    drawing: Drawing, rng: random.Random, lookalikes: Lookalikes, drop: float
) -> tuple[str, PillowImage.Image]:
    """Choose what is said of a drawing and which picture is shown for it."""
    if rng.random() < drop:
        return "", drawing.image
    image = lookalikes.of(drawing, rng) if rng.random() < ALIKE else drawing.image
    return (
        without_background(drawing.caption) if rng.random() < UNSAID else drawing.caption
    ), image


def show(picture: Image) -> Tensor:
    """Make what the image encoder is given of a picture: (1, 3, SIDE, SIDE)."""
    return normalised(to_pixels(resize_image(picture, Size(SIDE, SIDE), Fit.STRETCH)))
