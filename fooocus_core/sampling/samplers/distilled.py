"""Samplers for distilled models, which jump to a clean estimate and add noise again."""

from __future__ import annotations

import torch
from torch import Tensor

from fooocus_core.sampling.noise_levels import TRAINED_LEVELS, alphas_cumprod
from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    derivative,
)

_TCD_ETA = 0.3


def lcm(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take each estimate as it is and noise it to the next level.

    Source:
        Multistep latent consistency sampling, arXiv:2310.04378, algorithm 3.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        x = denoised
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * noise.step()
    return x


def tcd(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Go down beyond the next level along the trajectory, then noise back up to it.

    Steps report the latent on the trajectory as their estimate.

    Source:
        Strategic stochastic sampling, arXiv:2402.19159 (gamma = 0.3).
    """
    alphas = _trajectory_alphas(denoiser, sigmas)
    for i in range(len(sigmas) - 1):
        sigma, sigma_next, alpha = sigmas[i], sigmas[i + 1], alphas[i + 1]
        denoised = denoiser(x, sigma)
        eps = derivative(x, sigma, denoised)
        y = alpha.sqrt() * denoised + (1 - alpha).sqrt() * eps
        on_step(StepInfo(step=i, x=x, denoised=y))
        if sigma_next > 0:
            # At the lowest levels rounding makes this slightly negative; the reference's root is
            # then not a number and so is its picture.
            variance = (sigma_next**2 + 1 - 1 / alpha).clamp(min=0)
            x = y / alpha.sqrt() + noise.step() * variance.sqrt()
        else:
            x = y * (1 + sigma_next**2).sqrt()
    return x


def _trajectory_alphas(denoiser: Denoiser, sigmas: Tensor) -> Tensor:
    timesteps = denoiser.noise_model.levels.timestep(sigmas[:-1])
    places = ((1 - _TCD_ETA) * timesteps).floor().long().clamp(0, TRAINED_LEVELS - 1)
    table = alphas_cumprod().to(sigmas.device)
    return torch.cat([table[places], table[:1]])
