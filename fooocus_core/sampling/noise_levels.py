"""The noise levels a model was trained on, and what its output means at each of them.

Three tables exist: the 1000 levels of SDXL, the 50 levels of the distilled models (LCM, TCD), and
the continuous range of EDM. Knows nothing of schedules, seeds or guidance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fooocus_core.choices import Scheduler
from fooocus_core.loading.checkpoint import Prediction

TRAINED_LEVELS = 1000
_DISTILLED_STRIDE = 20
_EDM_SIGMA_MIN, _EDM_SIGMA_MAX = 0.002, 120.0
_EDM_SIGMA_DATA = 0.5

# The start of a run lies above every level, so that "from the start" includes the first.
_BEFORE_EVERY_LEVEL = 999999999.9

DenoisedRule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x, UNet output, sigma, timestep) -> denoised latent."""


class Levels(Protocol):
    """A range of noise levels and their numbering by timesteps."""

    @property
    def sigma_min(self) -> float:
        """Lowest level; 0 is not one."""

    @property
    def sigma_max(self) -> float:
        """Highest level."""

    @property
    def sigmas(self) -> Tensor:
        """All levels in ascending order, (N,) float32 on the CPU."""

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep that the UNet is told at ``sigma``, float32 of the same shape and device."""

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a fractional timestep, float32 of the same shape and device."""

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the run, 0.0 = before the first level, 1.0 = clean."""


class DiscreteLevels:
    """A table of levels; timestep of entry k = ``k * stride + stride - 1``."""

    def __init__(self, sigmas: Tensor, *, stride: int = 1) -> None:
        self.sigmas = sigmas
        self.sigma_min = float(sigmas[0])
        self.sigma_max = float(sigmas[-1])
        self._log_sigmas = sigmas.log()
        self._stride = stride

    def timestep(self, sigma: Tensor) -> Tensor:
        """The integer timestep whose level is nearest in log space; the first one of equals."""
        distances = sigma.log() - self._log_sigmas.to(sigma.device)[:, None]
        nearest = distances.abs().argmin(dim=0).view(sigma.shape)
        return (nearest * self._stride + (self._stride - 1)).to(torch.float32)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level between two entries, linear in its logarithm; timesteps outside are clamped."""
        position = (timestep.float() - (self._stride - 1)) / self._stride
        position = position.clamp(min=0, max=len(self.sigmas) - 1)
        low, high, weight = position.floor().long(), position.ceil().long(), position.frac()
        logs = self._log_sigmas.to(timestep.device)
        return ((1 - weight) * logs[low] + weight * logs[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the trained timesteps, counted from the noisy end."""
        if percent <= 0.0:
            return _BEFORE_EVERY_LEVEL
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (TRAINED_LEVELS - 1))))


class ContinuousLevels:
    """Levels spaced evenly in their logarithm; timestep = a quarter of the logarithm.

    Source:
        Preconditioning of EDM, arXiv:2206.00364, table 1 (c_noise).
    """

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        bounds = math.log(sigma_min), math.log(sigma_max)
        self.sigmas = torch.linspace(*bounds, TRAINED_LEVELS).exp()
        self.sigma_min = float(self.sigmas[0])
        self.sigma_max = float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """``ln(sigma) / 4``."""
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        """``exp(4 * timestep)``."""
        return (timestep / 0.25).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the logarithmic range, counted from the noisy end."""
        if percent <= 0.0:
            return _BEFORE_EVERY_LEVEL
        if percent >= 1.0:
            return 0.0
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(low + (1.0 - percent) * (high - low))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseModel:
    """How a UNet was trained: its levels, the scale of its input, the meaning of its output.

    Attributes:
        levels: The levels that schedules are made of.
        sigma_data: Standard deviation the model assumes of clean latents.
        rule: Turns the UNet's output into a denoised latent.
    """

    levels: Levels
    sigma_data: float
    rule: DenoisedRule

    def scale_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The UNet's input ``x / sqrt(sigma^2 + sigma_data^2)``; x (B, 4, h, w), sigma ()."""
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent that ``output`` implies; all (B, 4, h, w) float32, sigma ()."""
        return self.rule(x, output, sigma, self.levels.timestep(sigma))


def noise_model(scheduler: Scheduler, prediction: Prediction = Prediction.EPSILON) -> NoiseModel:
    """The noise model that a scheduler samples with.

    Args:
        scheduler: ``LCM``, ``TCD`` and ``EDM_PLAYGROUND`` replace what the checkpoint says.
        prediction: What the checkpoint's UNet predicts.
    """
    match scheduler:
        case Scheduler.LCM:
            return NoiseModel(levels=distilled_levels(), sigma_data=1.0, rule=_denoised_by_lcm)
        case Scheduler.TCD:
            return NoiseModel(levels=distilled_levels(), sigma_data=1.0, rule=_denoised_by_noise)
        case Scheduler.EDM_PLAYGROUND:
            levels = ContinuousLevels(_EDM_SIGMA_MIN, _EDM_SIGMA_MAX)
            return NoiseModel(levels=levels, sigma_data=_EDM_SIGMA_DATA, rule=_denoised_by_edm)
    rule = _denoised_by_velocity if prediction is Prediction.V else _denoised_by_noise
    return NoiseModel(levels=standard_levels(), sigma_data=1.0, rule=rule)


def standard_levels() -> DiscreteLevels:
    """The 1000 levels of SDXL, 0.0291672 to 14.6146412.

    Source:
        "Scaled linear" betas 0.00085 to 0.012: CompVis/latent-diffusion, ldm/modules/
        diffusionmodules/util.py; sigma^2 = (1 - alphas_cumprod) / alphas_cumprod.
    """
    cumulative = _alphas_cumprod()
    return DiscreteLevels(torch.tensor(((1 - cumulative) / cumulative) ** 0.5, dtype=torch.float32))


def distilled_levels() -> DiscreteLevels:
    """Every 20th of the standard levels, 0.1344507 to 14.6146412, timesteps 19, 39, .. 999."""
    sigmas = standard_levels().sigmas[_DISTILLED_STRIDE - 1 :: _DISTILLED_STRIDE]
    return DiscreteLevels(sigmas.clone(), stride=_DISTILLED_STRIDE)


def alphas_cumprod() -> Tensor:
    """Share of signal variance at each of the 1000 trained timesteps, (1000,) float32."""
    return torch.tensor(_alphas_cumprod(), dtype=torch.float32)


def _alphas_cumprod() -> NDArray[np.float64]:
    # float64 on purpose: the reference's table was built so, and float32 shifts the last levels.
    roots = torch.linspace(0.00085**0.5, 0.012**0.5, TRAINED_LEVELS, dtype=torch.float64)
    return np.cumprod(1.0 - (roots**2).numpy(), dtype=np.float64)


def _denoised_by_noise(x: Tensor, output: Tensor, sigma: Tensor, _timestep: Tensor) -> Tensor:
    return x - output * sigma


def _denoised_by_velocity(x: Tensor, output: Tensor, sigma: Tensor, _timestep: Tensor) -> Tensor:
    # arXiv:2202.00512, appendix D, in terms of sigma.
    return x / (sigma**2 + 1.0) - output * sigma / (sigma**2 + 1.0) ** 0.5


def _denoised_by_lcm(x: Tensor, output: Tensor, sigma: Tensor, timestep: Tensor) -> Tensor:
    # Boundary conditions of arXiv:2303.01469, appendix C, with a timestep scale of 10.
    scaled = timestep * 10.0
    skip = 0.25 / (scaled**2 + 0.25)
    out = scaled / (scaled**2 + 0.25) ** 0.5
    return out * (x - output * sigma) + skip * x


def _denoised_by_edm(x: Tensor, output: Tensor, sigma: Tensor, _timestep: Tensor) -> Tensor:
    # arXiv:2206.00364, table 1 (c_skip, c_out).
    variance = sigma**2 + _EDM_SIGMA_DATA**2
    return x * _EDM_SIGMA_DATA**2 / variance + output * sigma * _EDM_SIGMA_DATA / variance**0.5
