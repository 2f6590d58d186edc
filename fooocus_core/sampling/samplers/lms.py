"""Linear multistep: slopes of earlier steps continued by a polynomial."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    derivative,
)

_ORDER = 4
# Two nodes integrate a cubic exactly, and no basis polynomial here is of a higher degree.
_NODES = 1 / 3**0.5


def lms(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Integrate the polynomial through up to four slopes (Adams-Bashforth, uneven steps).

    Source:
        crowsonkb/k-diffusion, sample_lms.
    """
    levels = sigmas.double().tolist()
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        denoised = denoiser(x, sigmas[i])
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        slopes = [derivative(x, sigmas[i], denoised), *slopes[: _ORDER - 1]]
        known = levels[i::-1][: len(slopes)]
        x = x + sum(
            _basis_integral(known, j, levels[i + 1]) * slope for j, slope in enumerate(slopes)
        )
    return x


def _basis_integral(known: list[float], j: int, end: float) -> float:
    """Integrate the j-th Lagrange polynomial over ``known`` from ``known[0]`` to ``end``."""
    middle, half = (known[0] + end) / 2, (end - known[0]) / 2
    places = np.array([middle - half * _NODES, middle + half * _NODES])
    values = np.ones(2)
    for k, level in enumerate(known):
        if k != j:
            values *= (places - level) / (known[j] - level)
    return float(values.sum() * half)
