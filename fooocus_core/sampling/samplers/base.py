"""What every sampler takes, and the formulas several of them share.

Sources shared by the whole package: the notation ``x``, ``sigma``, ``denoised`` is that of
arXiv:2206.00364; levels are 0-dimensional tensors, so every formula runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fooocus_core.sampling.noise_levels import NoiseModel


class Denoiser(Protocol):
    """The network with everything around it, seen as a function of latent and level."""

    @property
    def noise_model(self) -> NoiseModel:
        """The noise model behind the levels."""

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        """Estimate the clean latent behind ``x`` (B, 4, h, w) float32 at ``sigma`` ()."""


class NoiseSource(Protocol):
    """Random numbers for samplers that add noise."""

    def step(self) -> Tensor:
        """Draw fresh standard normal noise."""

    def between(self, sigma: Tensor, sigma_next: Tensor, /) -> Tensor:
        """Give the unit-variance Brownian increment from ``sigma`` down to ``sigma_next``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepInfo:
    """What is known when the first estimate of a step is there.

    Attributes:
        step: 0-based.
        x: The latent before the step changes it, (B, 4, h, w).
        denoised: The clean latent as now estimated, same shape.
    """

    step: int
    x: Tensor
    denoised: Tensor


OnStep = Callable[[StepInfo], None]


class SamplerFunction(Protocol):
    """A sampler: walks a latent down a list of levels.

    ``x`` is (B, 4, h, w) float32 at level ``sigmas[0]``; ``sigmas`` (n + 1,) float32 descends and
    usually ends with 0. ``on_step`` is called once per step, after its first estimate and before
    ``x`` changes, and may raise to end the run. The result is the latent at ``sigmas[-1]``.
    """

    def __call__(
        self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
    ) -> Tensor:
        """Walk ``x`` down ``sigmas``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AncestralStep:
    """A step split into a deterministic descent and fresh noise.

    Attributes:
        down: Level the descent ends at, ().
        up: Standard deviation of the noise that leads back up to the step's end level, ().
    """

    down: Tensor
    up: Tensor


def ancestral_step(sigma: Tensor, sigma_next: Tensor) -> AncestralStep:
    """Split the step between two levels (eta = 1).

    Source:
        crowsonkb/k-diffusion, get_ancestral_step; the posterior variance of arXiv:2006.11239 in
        terms of sigma.
    """
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    up = torch.minimum(sigma_next, variance.sqrt())
    return AncestralStep(down=(sigma_next**2 - up**2).sqrt(), up=up)


def derivative(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """Slope dx/dsigma of the probability flow, which is also the noise in ``x``.

    Source:
        arXiv:2206.00364, algorithm 1, line 4.
    """
    return (x - denoised) / sigma


def log_middle(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """The level halfway between two others in the logarithm."""
    return (0.5 * sigma.log() + 0.5 * sigma_next.log()).exp()
