"""Latents of drawn pictures and the noise that is laid over them in training.

The VAE of the embedded model is constructed (tools/tiny_vae.py), so latents come straight from
pictures: means of 8 x 8 pixels of R, G and B, and how much brighter the upper half of a block is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

LATENT_GAIN = 1.8  # 13.8, the last factor of the constructed encoder, times the scale 0.13025
LUMA = torch.tensor([0.299, 0.587, 0.114])
SIGMA_MAX = 14.6146
RAMP = 7.0
BEGINNING = 0.93  # of the highest sigma
STRONG = 4.0  # sigma
WHOLE = (0.04, 0.25)  # how often all of a picture is in the input: under strong noise, else


def latent_of(image: Image.Image, size: tuple[int, int], level: int) -> Tensor:
    """Return the latent of a picture at a level.

    Args:
        image: The picture, RGB, at least twice as high as the latent.
        size: (height, width) of the latent.
        level: How often the latent of the full picture was halved.

    Returns:
        (4, height, width) float32 of about unit scale.
    """
    height, width = size
    halves = image.resize((width, 2 * height), Image.Resampling.BOX)
    values = torch.from_numpy(np.asarray(halves).astype(np.float32) / 127.5 - 1)
    values = values.view(height, 2, width, 3) * LATENT_GAIN
    luma = values @ LUMA
    # Averaged over 2**level blocks, what differs inside blocks shrinks by that factor.
    detail = (luma[:, 0] - luma[:, 1]) / 2**level
    return torch.cat([values.mean(1), detail[..., None]], -1).permute(2, 0, 1)


def noise_levels() -> Tensor:
    """Return sigma of the 1000 timesteps of SDXL, float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    return ((1 - kept) / kept).sqrt().float()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyBatch:
    """Model input and target at a level."""

    noisy: Tensor  # (B, 4, h, w), scaled for the model
    timestep: Tensor  # (B,) int64
    target: Tensor  # (B, 4, h, w): noise prediction that gives the clean latent, times 2**level
    sigma: Tensor  # (B,)

    @property
    def state(self) -> Tensor:
        """What a sampler holds: the model input before it was scaled."""
        state: Tensor = self.noisy * (self._wide**2 + 1).sqrt()
        return state

    def estimate(self, prediction: Tensor, level: int) -> Tensor:
        """The clean latent that a prediction, as the target, stands for."""
        estimate: Tensor = self.state - self._wide * prediction / 2**level
        return estimate

    @property
    def _wide(self) -> Tensor:
        return self.sigma.view(-1, 1, 1, 1)


def draw_timesteps(
    count: int,
    level: int,
    sigmas: Tensor,
    generator: torch.Generator,
    *,
    highest: float = SIGMA_MAX,
    lowest: float = 0.0,
    beginning: float = 0.25,
) -> Tensor:
    """Draw timesteps as a Karras schedule visits them, down to where a level still matters.

    Args:
        count: How many.
        level: Of the latents.
        sigmas: Sigma of every timestep.
        generator: Source of the numbers.
        highest: Sigma to begin at.
        lowest: Sigma to end at, where a level still matters there.
        beginning: Share of them that lie where a sampler begins, and sees next to nothing of the
            picture. Only there must it be drawn from the words: with a share of 0 a network learns
            to find it in the noise, and hardly any words.
    """
    smallest = torch.tensor(max(lowest, 0.03 * 2**level * (0.8 if level else 1.0)))
    place, choice = torch.rand(2, count, generator=generator)
    smallest = torch.where(choice < beginning, BEGINNING * highest, smallest)
    high, low = highest ** (1 / RAMP), smallest ** (1 / RAMP)
    wanted = (high + place * (low - high)) ** RAMP
    return nearest_timesteps(wanted, sigmas)


def nearest_timesteps(wanted: Tensor, sigmas: Tensor) -> Tensor:
    """Return the timesteps whose sigma is nearest in logarithms: (B,), (1000,) -> (B,) int64."""
    distance: Tensor = (wanted.log()[:, None] - sigmas.log()[None]).abs()
    return distance.argmin(1)


def draw_kept_signal(sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how much of the picture is in the input.

    A sampler starts from noise without any picture: at sigma an ODE solver holds 1 - sigma / start
    of it, an SDE solver 1 - (sigma / start)**2, a picture noised for a variation all of it.
    Guidance overshoots at first, so more than all of it is drawn too. All of it is rare under
    strong noise: a network that may find the picture there does not ask the words for it.
    """
    count = len(sigma)
    choice = torch.rand(count, generator=generator)
    start = (sigma / SIGMA_MAX).clamp(max=1.0)
    whole = torch.where(sigma > STRONG, WHOLE[0], WHOLE[1])
    kept = torch.where(choice < 1 - whole, 1 - start, torch.ones(count))
    kept = torch.where(choice < 0.67 * (1 - whole), 1 - start**2, kept)
    stretched = (torch.rand(count, generator=generator) < 0.3) & (sigma > 2)
    factor = 0.7 + 1.1 * torch.rand(count, generator=generator)
    return torch.where(stretched, kept * factor, kept)


def draw_noise(shape: tuple[int, ...], level: int, generator: torch.Generator) -> Tensor:
    """Draw noise as it looks at a level, at times with an offset or large spots."""
    count = shape[0]
    noise: Tensor = torch.randn(shape, generator=generator) / 2**level
    strength = torch.rand(2, count, 1, 1, 1, generator=generator)
    use = (torch.rand(2, count, 1, 1, 1, generator=generator) < 0.5).float()
    noise += 0.25 * (use * strength)[0] * torch.randn(count, 4, 1, 1, generator=generator)
    spots = torch.randn(count, 4, 4, 4, generator=generator)
    spread = functional.interpolate(spots, size=shape[-2:], mode="bilinear")
    return noise.add(0.12 * (use * strength)[1] * spread)


def add_noise(
    clean: Tensor,
    timestep: Tensor,
    level: int,
    sigmas: Tensor,
    generator: torch.Generator,
    *,
    is_beginning: bool = False,
) -> NoisyBatch:
    """Lay noise over clean latents, as a sampler's states at these timesteps look.

    Args:
        clean: (B, 4, h, w).
        timestep: (B,) int64.
        level: Of the latents.
        sigmas: Of all timesteps.
        generator: Source of the noise.
        is_beginning: Whether there is noise only, as where a sampler begins.
    """
    sigma = sigmas[timestep]
    wide = sigma.view(-1, 1, 1, 1)
    share = torch.zeros_like(sigma) if is_beginning else draw_kept_signal(sigma, generator)
    kept = share.view(-1, 1, 1, 1)
    state = kept * clean + wide * draw_noise(tuple(clean.shape), level, generator)
    return NoisyBatch(
        noisy=state / (wide**2 + 1).sqrt(),
        timestep=timestep,
        target=(state - clean) / wide * 2**level,
        sigma=sigma,
    )


def go_on(
    batch: NoisyBatch, prediction: Tensor, sigma: Tensor, level: int, generator: torch.Generator
) -> NoisyBatch:
    """Go on from a prediction to lower noise as an SDE solver does; the answer stays the same.

    What was predicted wrongly is then in the picture under the noise.

    Args:
        batch: What was asked.
        prediction: As the target of the batch.
        sigma: (B,), to go on to, or nearly.
        level: Of the batch.
        generator: Source of the new noise.
    """
    sigmas = noise_levels()
    timestep = nearest_timesteps(sigma, sigmas)
    sigma = sigmas[timestep]
    wide = sigma.view(-1, 1, 1, 1)
    kept = (sigma / batch.sigma).square().view(-1, 1, 1, 1)
    fresh = torch.randn(batch.noisy.shape, generator=generator) / 2**level
    state = batch.state.lerp(batch.estimate(prediction, level), 1 - kept)
    state = state + wide * (1 - kept).sqrt() * fresh
    return NoisyBatch(
        noisy=state / (wide**2 + 1).sqrt(),
        timestep=timestep,
        target=(state - batch.estimate(batch.target, level)) / wide * 2**level,
        sigma=sigma,
    )


def loss_weight(sigma: Tensor, level: int) -> Tensor:
    """Weigh squared errors of the (scaled) noise prediction: 1 + 1/sigma'**2 on the clean latent.

    sigma' = sigma / 2**level is what a level sees. Limited on both sides: to 5 on the clean latent,
    and to 20 on the prediction, where only single pixels could still be improved.
    """
    seen = (sigma / 2**level) ** 2
    return torch.minimum(seen + 1, 5 * seen).clamp(max=20.0)


def noise_loss(prediction: Tensor, batch: NoisyBatch, level: int) -> Tensor:
    """Return the weighted loss; fine levels are judged on their coarse means as well.

    Args:
        prediction: As the target of the batch.
        batch: What was asked.
        level: Of the batch.
    """
    error = prediction - batch.target
    loss = (error.square().mean((1, 2, 3)) * loss_weight(batch.sigma, level)).mean()
    if level < 3:
        factor = 2 ** (3 - level)
        coarse = functional.avg_pool2d(error, factor) * factor
        squares = coarse.square().mean((1, 2, 3))
        loss = loss + (squares * loss_weight(batch.sigma, 3)).mean()
    return loss
