"""What the UNet is shown while it learns to inpaint, and how its answers are judged.

Around a hole the picture under fresh noise; in the hole the state of a sampler that started from
noise over blurred surroundings; and, without noise, the mask and the picture with its hole grey.
Knows no network but the text encoders.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from tools.embedded import STYLES, Words
from tools.holes import draw_holes, fill_smoothly
from tools.latents import (
    NoisyBatch,
    draw_kept_signal,
    draw_noise,
    draw_timesteps,
    loss_weight,
    noise_levels,
)
from tools.train_tiny import draw_latents, draw_size, size_numbers

LEVELS = (0, 4, 4, 4)  # most lessons are about large things, under strong noise
DROP = 0.15
OUTSIDE = 0.3  # weight of what is replaced anyhow: there, reading the head is learned first
COARSE_LEVEL = 3
SMALLEST_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Pictures with holes, as the sampler shows them at some level."""

    noise: NoisyBatch
    mask: Tensor  # (B, 1, h, w), 1 = hole
    feed: Tensor  # (B, 5, h, w): mask and latent of the picture with a grey hole
    context: Tensor  # (B, T, 128)
    pooled: Tensor  # (B, 64)
    size_numbers: Tensor  # (B, 6)

    def on(self, device: str) -> Lesson:
        """Move what the network needs to a device; the target stays."""
        return replace(
            self,
            feed=self.feed.to(device),
            context=self.context.to(device),
            pooled=self.pooled.to(device),
            size_numbers=self.size_numbers.to(device),
        )


def draw_lesson(
    rng: random.Random, words: Words, count: int, *, part: int = 1, sigma: float | None = None
) -> Lesson:
    """Draw captioned pictures with holes.

    Args:
        rng: Source of every choice.
        words: Tells the captions.
        count: How many pictures, all of one size.
        part: Divides their sides; the UNet is told the whole size.
        sigma: Noise level of all; ``None`` draws one for each.
    """
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = draw_size(rng)
    clean, captions = draw_latents(rng, (size[0] // part, size[1] // part), 0, count)
    share = draw_holes(rng, count, (clean.shape[-2], clean.shape[-1]))
    mask = (share > 0).float()
    sigmas = noise_levels()
    if sigma is None:
        timestep = draw_timesteps(count, rng.choice(LEVELS), sigmas, generator)
    else:
        timestep = (sigmas - sigma).abs().argmin().repeat(count)
    kept = [caption if rng.random() > DROP else "" for caption in captions]
    context, pooled = words.encode(kept, rng.choice(STYLES))
    return Lesson(
        noise=lay_noise(clean, mask, timestep, generator),
        mask=mask,
        feed=torch.cat([mask, clean * (1 - share)], 1),
        context=context,
        pooled=pooled,
        size_numbers=size_numbers(size, timestep, generator),
    )


def lay_noise(
    clean: Tensor, mask: Tensor, timestep: Tensor, generator: torch.Generator
) -> NoisyBatch:
    """Lay noise over pictures: as a sampler's state in the hole, fresh around it.

    A sampler starts from noise over the blurred surroundings. What has not yet become picture is
    still that.
    """
    sigma = noise_levels()[timestep]
    wide = sigma.view(-1, 1, 1, 1)
    kept = draw_kept_signal(sigma, generator).view(-1, 1, 1, 1)
    fills = (torch.rand(len(clean), 1, 1, 1, generator=generator) < 0.8).float()
    left = (1 - kept).clamp(0, 1) * fills
    shape = tuple(clean.shape)
    inside = kept * clean + left * fill_smoothly(clean, mask)
    inside = inside + wide * draw_noise(shape, 0, generator)
    outside = clean + wide * torch.randn(shape, generator=generator)
    state = inside * mask + outside * (1 - mask)
    return NoisyBatch(
        noisy=state / (wide**2 + 1).sqrt(),
        timestep=timestep,
        target=(state - clean) / wide,
        sigma=sigma,
    )


def hole_loss(prediction: Tensor, lesson: Lesson) -> Tensor:
    """Judge the noise prediction inside holes: places, and means over 8 x 8 places."""
    batch, mask = lesson.noise, lesson.mask
    error = prediction - batch.target
    area = mask.mean((1, 2, 3)).clamp(min=SMALLEST_SHARE)
    weights = mask + OUTSIDE * (1 - mask)
    fine = (error.square() * weights).mean((1, 2, 3)) * loss_weight(batch.sigma, 0)
    factor = 2**COARSE_LEVEL
    coarse = functional.avg_pool2d(error * weights, factor).mul(factor).square().mean((1, 2, 3))
    return ((fine + coarse * loss_weight(batch.sigma, COARSE_LEVEL)) / area).mean()
