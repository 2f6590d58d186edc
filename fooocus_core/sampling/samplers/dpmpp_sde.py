"""DPM-Solver++ for the stochastic equation: every step adds Brownian noise."""

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


def dpmpp_sde(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take each step by the estimate at its noisy middle.

    Source:
        arXiv:2211.01095 in the stochastic form of crowsonkb/k-diffusion, sample_dpmpp_sde
        (eta = 1, r = 1/2).
    """
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        if sigma_next == 0:
            x = x + derivative(x, sigma, denoised) * (sigma_next - sigma)
            continue
        t, t_next = -sigma.log(), -sigma_next.log()
        middle = (-(t + (t_next - t) * 0.5)).exp()
        x2 = _noisy_step(x, sigma, middle, denoised, noise)
        x = _noisy_step(x, sigma, sigma_next, denoiser(x2, middle), noise)
    return x


def _noisy_step(
    x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor, noise: NoiseSource
) -> Tensor:
    step = ancestral_step(sigma, sigma_next)
    h = sigma.log() - step.down.log()
    x = (step.down / sigma) * x - torch.expm1(-h) * denoised
    return x + noise.between(sigma, sigma_next) * step.up


def dpmpp_2m_sde(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Extrapolate each estimate from the one before, by the midpoint rule.

    Source:
        SDE-DPM-Solver++(2M), arXiv:2211.01095, appendix, in the form of crowsonkb/k-diffusion,
        sample_dpmpp_2m_sde (eta = 1, midpoint).
    """
    previous: Tensor | None = None
    h_previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        gain = -torch.expm1(-2 * h)
        x = (sigma_next / sigma) * (-h).exp() * x + gain * denoised
        if previous is not None and h_previous is not None:
            x = x + 0.5 * gain * (h / h_previous) * (denoised - previous)
        x = x + noise.between(sigma, sigma_next) * sigma_next * gain.sqrt()
        previous, h_previous = denoised, h
    return x


def dpmpp_3m_sde(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Extrapolate each estimate from the two before.

    Source:
        crowsonkb/k-diffusion, sample_dpmpp_3m_sde (eta = 1), the third-order multistep form of
        arXiv:2211.01095.
    """
    estimates: list[Tensor] = []
    lengths: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        gain = -torch.expm1(-2 * h)
        x = (-2 * h).exp() * x + gain * denoised
        x = x + _multistep_correction(denoised, estimates, h, lengths)
        x = x + noise.between(sigma, sigma_next) * sigma_next * gain.sqrt()
        estimates = [denoised, *estimates[:1]]
        lengths = [h, *lengths[:1]]
    return x


def _multistep_correction(
    denoised: Tensor, estimates: list[Tensor], h: Tensor, lengths: list[Tensor]
) -> Tensor | float:
    # estimates and lengths: of the steps before, newest first, at most two of each
    span = 2 * h
    phi2 = torch.expm1(-span) / span + 1
    if len(estimates) == 2:
        r0, r1 = lengths[0] / h, lengths[1] / h
        newer = (denoised - estimates[0]) / r0
        older = (estimates[0] - estimates[1]) / r1
        first = newer + (newer - older) * r0 / (r0 + r1)
        second = (newer - older) / (r0 + r1)
        phi3 = phi2 / span - 0.5
        return phi2 * first - phi3 * second
    if len(estimates) == 1:
        return phi2 * (denoised - estimates[0]) / (lengths[0] / h)
    return 0.0
