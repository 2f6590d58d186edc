"""DPM-Solver++: steps that are exact for a constant estimate, with one or two estimates."""

from __future__ import annotations

import torch
from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    ancestral_step,
    derivative,
)


def dpmpp_2m(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Extrapolate each estimate from the one before (two-step method).

    Source:
        DPM-Solver++(2M), arXiv:2211.01095, algorithm 2.
    """
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        h = sigma.log() - sigma_next.log()
        estimate = denoised
        if previous is not None and sigma_next > 0:
            r = (sigmas[i - 1].log() - sigma.log()) / h
            estimate = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        x = (sigma_next / sigma) * x - torch.expm1(-h) * estimate
        previous = denoised
    return x


def dpmpp_2s_ancestral(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take each step by the estimate at its middle, below the next level, then add noise.

    Source:
        DPM-Solver++(2S), arXiv:2211.01095, algorithm 1, made ancestral as in
        crowsonkb/k-diffusion, sample_dpmpp_2s_ancestral (eta = 1).
    """
    for i in range(len(sigmas) - 1):
        sigma = sigmas[i]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        step = ancestral_step(sigma, sigmas[i + 1])
        if step.down == 0:
            x = x + derivative(x, sigma, denoised) * (step.down - sigma)
        else:
            t, t_next = -sigma.log(), -step.down.log()
            h = t_next - t
            middle = (-(t + h / 2)).exp()
            x2 = (middle / sigma) * x - torch.expm1(-h / 2) * denoised
            estimate = denoiser(x2, middle)
            x = (step.down / sigma) * x - torch.expm1(-h) * estimate
        if sigmas[i + 1] > 0:
            x = x + noise.step() * step.up
    return x
