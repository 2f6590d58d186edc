"""What the UNet is shown while something learns to guide it by pictures.

Knows neither what guides nor how the pictures come about.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tools.latents import NoisyBatch, draw_timesteps, noise_levels
from tools.tiny_model import Conditioning

PIXELS = 8  # per place of a latent
# As if for the level below the lowest one of the UNet: no noise weaker than 0.8. Pictures guide the
# first half of a run unless a request asks for more.
LEVEL_OF_STRONG_NOISE, STRONG_SHARE = 5, 0.8
UNSEEN_SHARE = 0.4  # of the latents: so noisy that nothing can be seen in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Drawings as the sampler shows them at some level, what is said, and what guides.

    Attributes:
        noise: Noisy latents, (B, 4, h, w), and the right answer.
        shown: What is made of the guiding pictures, (B, ...), or fewer, each for as many latents.
        said: What is told beside, for B latents.
        level: How often the latents were halved.
    """

    noise: NoisyBatch
    shown: Tensor
    said: Conditioning
    level: int

    def on(self, device: str) -> Lesson:
        """Move what the networks need to a device; the target stays."""
        noisy, timestep = (x.to(device) for x in (self.noise.noisy, self.noise.timestep))
        return replace(
            self,
            noise=replace(self.noise, noisy=noisy, timestep=timestep),
            shown=self.shown.to(device),
            said=self.said.to(device),
        )

    @property
    def latents(self) -> tuple[Tensor, Tensor]:
        """The first arguments of a UNet: noisy latents and timesteps."""
        return self.noise.noisy, self.noise.timestep

    @property
    def prompts(self) -> dict[str, Any]:
        """The further arguments of a UNet."""
        said = self.said
        return {
            "encoder_hidden_states": said.context,
            "added_cond_kwargs": {"text_embeds": said.pooled, "time_ids": said.size_numbers},
        }

    def squared_error(self, prediction: Tensor) -> float:
        """Of the clean latent that a noise prediction, (B, 4, h, w), stands for: the mean."""
        wrong = (prediction - self.noise.target) / 2**self.level
        return float((wrong * self.noise.sigma.view(-1, 1, 1, 1)).square().mean())


def lesson_timesteps(
    count: int, level: int, rng: random.Random, generator: torch.Generator, sigma: float | None
) -> Tensor:
    """Choose the timesteps of a lesson, (count,): those of a noise level, or mostly strong noise.

    Args:
        count: How many.
        level: Of the latents.
        rng: Chooses between strong noise and any.
        generator: Source of the timesteps.
        sigma: The noise level of all; ``None`` draws one for each.
    """
    sigmas = noise_levels()
    if sigma is not None:
        return (sigmas - sigma).abs().argmin().repeat(count)
    weakest = LEVEL_OF_STRONG_NOISE if rng.random() < STRONG_SHARE else level
    return draw_timesteps(count, weakest, sigmas, generator, beginning=UNSEEN_SHARE)
