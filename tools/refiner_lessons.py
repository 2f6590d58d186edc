"""What the refiner of the embedded model is shown while it learns.

A drawing as a base model may have left it when the refiner takes over (edges soft and wandering,
colours blotched, or nothing wrong with it at all) under the noise of that moment, its caption as
requests tell it, and the drawing itself as the answer. Knows no network but the text encoders.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.sampling.noise_levels import standard_levels
from fooocus_core.sampling.schedules import make_sigmas
from fooocus_core.unet.size_conditioning import (
    PromptSide,
    RefinerSizeConditioning,
    SizeConditioning,
)
from tools.embedded import STYLES, Words
from tools.latents import NoisyBatch, draw_timesteps, noise_levels
from tools.tiny_model import TEXT_WIDTH
from tools.train_tiny import draw_latents, draw_size

STEPS = 30
EARLIEST_SWITCH = 0.4  # share of the steps after which the refiner takes over at the earliest
DROP = 0.15
INTACT = 0.2  # share of the pictures in which nothing is wrong
BLUR = 7.0  # at most, in rounds of averaging 3 x 3 places
BEND, BEND_SPAN = 1.2, 6  # in places: how far edges wander, and after how many they turn
BLOTCH = 0.35  # at most, in units of the latent: black and white are 3.6 apart
BLOTCH_SPANS = (3, 9)


def highest_sigma() -> float:
    """The noise level at the earliest switch, with the default sampler and scheduler."""
    sampler = Sampler.DPMPP_2M_SDE_GPU
    sigmas = make_sigmas(Scheduler.KARRAS, STEPS, standard_levels(), sampler=sampler)
    return float(sigmas[round(EARLIEST_SWITCH * STEPS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Imperfect pictures, as the sampler shows them at some level, and how they should be."""

    noise: NoisyBatch
    context: Tensor  # (B, T, 128), of both text encoders
    pooled: Tensor  # (B, 64)
    sides: tuple[PromptSide, ...]
    size: tuple[int, int]  # (width, height) that the UNet is told

    def on(self, device: str) -> Lesson:
        """Move what a network needs to a device; the target stays."""
        noise = replace(
            self.noise,
            noisy=self.noise.noisy.to(device),
            timestep=self.noise.timestep.to(device),
        )
        context, pooled = self.context.to(device), self.pooled.to(device)
        return replace(self, noise=noise, context=context, pooled=pooled)

    def told_refiner(self) -> dict[str, Any]:
        """The arguments of the refiner's UNet."""
        width, height = self.size
        sizes = RefinerSizeConditioning(width=width, height=height)
        return self._told(self.context[..., TEXT_WIDTH:], sizes)

    def told_base(self) -> dict[str, Any]:
        """The arguments of the base model's UNet."""
        width, height = self.size
        sizes = SizeConditioning(
            width=width, height=height, positive_scale=1.0, negative_scale=1.0, end=0.0
        )
        return self._told(self.context, sizes)

    def _told(
        self, context: Tensor, sizes: RefinerSizeConditioning | SizeConditioning
    ) -> dict[str, Any]:
        numbers = torch.tensor([sizes.time_ids(side, 0.0) for side in self.sides])
        told = {"text_embeds": self.pooled, "time_ids": numbers.to(self.pooled)}
        return {
            "sample": self.noise.noisy,
            "timestep": self.noise.timestep,
            "encoder_hidden_states": context,
            "added_cond_kwargs": told,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How lessons are drawn.

    Attributes:
        count: Pictures, all of one size.
        part: Divides their sides; the UNet is told the whole size.
        worn: Whether something may be wrong with the pictures.
        sigma: Noise level of all pictures; ``None`` draws one for each.
    """

    count: int
    part: int = 1
    worn: bool = True
    sigma: float | None = None


def draw_lesson(rng: random.Random, words: Words, course: Course) -> Lesson:
    """Draw captioned pictures; ``rng`` makes every choice, and ``words`` tells the captions."""
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = draw_size(rng)
    part = (size[0] // course.part, size[1] // course.part)
    clean, captions = draw_latents(rng, part, 0, course.count)
    sigmas = noise_levels()
    if course.sigma is None:
        timestep = draw_timesteps(
            course.count, 0, sigmas, generator, highest=highest_sigma(), beginning=0.0
        )
    else:
        timestep = (sigmas - course.sigma).abs().argmin().repeat(course.count)
    kept = [caption if rng.random() > DROP else "" for caption in captions]
    context, pooled = words.encode(kept, rng.choice(STYLES))
    left = wear(clean, generator) if course.worn else clean
    return Lesson(
        noise=lay_noise(clean, left, timestep, generator),
        context=context,
        pooled=pooled,
        sides=tuple(rng.choice(list(PromptSide)) for _ in captions),
        size=size,
    )


def lay_noise(
    clean: Tensor, left: Tensor, timestep: Tensor, generator: torch.Generator
) -> NoisyBatch:
    """Lay noise over pictures as the base left them; the answer leads to the clean ones."""
    sigma = noise_levels()[timestep]
    wide = sigma.view(-1, 1, 1, 1)
    state = left + wide * torch.randn(clean.shape, generator=generator)
    return NoisyBatch(
        noisy=state / (wide**2 + 1).sqrt(),
        timestep=timestep,
        target=(state - clean) / wide,
        sigma=sigma,
    )


def wear(clean: Tensor, generator: torch.Generator) -> Tensor:
    """Make latents of drawings, (B, 4, h, w), as imperfect as those of painted pictures."""
    worn = _bent(clean, generator)
    rounds = BLUR * _shares(clean, generator)
    for index in range(round(BLUR)):
        mean = functional.avg_pool2d(worn, 3, 1, 1, False, False)
        worn = worn.lerp(mean, (rounds - index).clamp(0, 1))
    for span in BLOTCH_SPANS:
        worn = worn + BLOTCH * _shares(clean, generator) * _spots(clean, 4, span, generator)
    return torch.where(_shares(clean, generator) < INTACT, clean, worn)


def _bent(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Move every place a little, neighbours alike."""
    count, _, height, width = latents.shape
    still = torch.eye(2, 3).expand(count, 2, 3)
    grid = functional.affine_grid(still, list(latents.shape), align_corners=False)
    moved = BEND * _shares(latents, generator) * _spots(latents, 2, BEND_SPAN, generator)
    shift = moved.permute(0, 2, 3, 1) * (2 / torch.tensor([width, height]))
    return functional.grid_sample(latents, grid + shift, padding_mode="border", align_corners=False)


def _spots(latents: Tensor, channels: int, span: int, generator: torch.Generator) -> Tensor:
    """Smooth random fields of about unit strength that turn after ``span`` places."""
    count, _, height, width = latents.shape
    places = (height // span + 2, width // span + 2)
    coarse = torch.randn(count, channels, *places, generator=generator)
    return functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)


def _shares(latents: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(len(latents), 1, 1, 1, generator=generator)
