"""Heun steps: the mean of the slopes at both ends, and a form that weights them."""

from __future__ import annotations

from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    derivative,
)


def heun(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Follow the probability flow by Heun's second-order method.

    Source:
        arXiv:2206.00364, algorithm 1.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        x = heun_step(denoiser, x, sigmas[i], sigmas[i + 1], denoised)
    return x


def heun_step(
    denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor
) -> Tensor:
    """Take one Heun step; the step to 0 is an Euler step."""
    slope = derivative(x, sigma, denoised)
    ahead = x + slope * (sigma_next - sigma)
    if sigma_next == 0:
        return ahead
    slope_ahead = derivative(ahead, sigma_next, denoiser(ahead, sigma_next))
    return x + (slope + slope_ahead) / 2 * (sigma_next - sigma)


def heunpp2(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Look up to two levels ahead, each slope weighted by its level.

    Source:
        No publication; reproduces the behaviour of ``heunpp2`` in lllyasviel/Fooocus 2.5.5.
    """
    last = len(sigmas) - 1
    for i in range(last):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        slope = derivative(x, sigma, denoised)
        if i + 1 == last:
            x = x + slope * (sigma_next - sigma)
            continue
        x2 = x + slope * (sigma_next - sigma)
        slope2 = derivative(x2, sigma_next, denoiser(x2, sigma_next))
        if i + 2 == last:
            weight2 = sigma_next / (2 * sigmas[0])
            mean = (1 - weight2) * slope + weight2 * slope2
        else:
            after = sigmas[i + 2]
            x3 = x2 + slope2 * (after - sigma_next)
            slope3 = derivative(x3, after, denoiser(x3, after))
            weight2, weight3 = sigma_next / (3 * sigmas[0]), after / (3 * sigmas[0])
            mean = (1 - weight2 - weight3) * slope + weight2 * slope2 + weight3 * slope3
        x = x + mean * (sigma_next - sigma)
    return x
