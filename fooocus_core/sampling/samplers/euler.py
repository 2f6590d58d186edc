"""First-order steps: Euler, and the ancestral steps that add noise."""

from __future__ import annotations

from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    ancestral_step,
    derivative,
)


def euler(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Follow the probability flow by its slope at the start of each step.

    Source:
        arXiv:2206.00364, algorithm 2 without its second-order correction and without churn.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        x = x + derivative(x, sigmas[i], denoised) * (sigmas[i + 1] - sigmas[i])
    return x


def euler_ancestral(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take Euler steps that go below the next level and come back up with fresh noise.

    Source:
        crowsonkb/k-diffusion, sample_euler_ancestral (eta = 1).
    """
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        step = ancestral_step(sigmas[i], sigmas[i + 1])
        x = x + derivative(x, sigmas[i], denoised) * (step.down - sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + noise.step() * step.up
    return x


def ddpm(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Sample the posterior of the diffusion chain, in its variance-preserving form.

    Source:
        arXiv:2006.11239, algorithm 2, with sigma^2 = (1 - alpha) / alpha.
    """
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        alpha, alpha_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        ratio = alpha / alpha_next
        y = x / (1 + sigma**2).sqrt()
        eps = derivative(x, sigma, denoised)
        y = (y - (1 - ratio) * eps / (1 - alpha).sqrt()) / ratio.sqrt()
        if sigma_next > 0:
            variance = (1 - ratio) * (1 - alpha_next) / (1 - alpha)
            y = y + variance.sqrt() * noise.step()
        x = y * (1 + sigma_next**2).sqrt()
    return x
