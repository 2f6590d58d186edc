"""Second-order steps through the middle of each step."""

from __future__ import annotations

from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    ancestral_step,
    derivative,
    log_middle,
)


def dpm_2(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Take each step by the slope at its logarithmic middle.

    Source:
        DPM-Solver-2, arXiv:2206.00927, in the form of crowsonkb/k-diffusion, sample_dpm_2.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        x = _middle_step(denoiser, x, sigmas[i], sigmas[i + 1], denoised)
    return x


def dpm_2_ancestral(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take such steps below the next level and come back up with fresh noise.

    Source:
        crowsonkb/k-diffusion, sample_dpm_2_ancestral (eta = 1).
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        step = ancestral_step(sigmas[i], sigmas[i + 1])
        x = _middle_step(denoiser, x, sigmas[i], step.down, denoised)
        if step.down > 0:
            x = x + noise.step() * step.up
    return x


def _middle_step(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor
) -> Tensor:
    slope = derivative(x, sigma, denoised)
    if sigma_next == 0:
        return x + slope * (sigma_next - sigma)
    middle = log_middle(sigma, sigma_next)
    x2 = x + slope * (middle - sigma)
    slope_middle = derivative(x2, middle, denoiser(x2, middle))
    return x + slope_middle * (sigma_next - sigma)
