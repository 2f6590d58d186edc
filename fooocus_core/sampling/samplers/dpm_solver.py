"""DPM-Solver: exponential integrators of order one to three, with fixed or adaptive steps.

Time here is ``t = -ln(sigma)``; it grows as the latent gets cleaner.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    derivative,
)

_FIRST_LENGTH = 0.05
_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE = 0.0078, 0.05
_ACCEPTED_FACTOR = 0.81
_END_MARGIN = 1e-5


class _NoiseEstimates:
    """The noise in a latent at a time, and how an exponential step uses it."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def noise_at(self, x: Tensor, t: Tensor) -> Tensor:
        sigma = (-t).exp()
        return derivative(x, sigma, self._denoiser(x, sigma))

    def first_order(self, x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor) -> Tensor:
        return x - (-t_next).exp() * (t_next - t).expm1() * eps

    def ahead(self, x: Tensor, t: Tensor, h: Tensor, eps: Tensor) -> Tensor:
        """The noise after a first-order step of length ``h``."""
        return self.noise_at(self.first_order(x, t, t + h, eps), t + h)

    def second_order(
        self, x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, eps1: Tensor, *, r1: float
    ) -> Tensor:
        growth = (t_next - t).expm1()
        sigma_next = (-t_next).exp()
        return x - sigma_next * growth * eps - sigma_next / (2 * r1) * growth * (eps1 - eps)

    def third_order(
        self, x: Tensor, t: Tensor, t_next: Tensor, eps: Tensor, eps1: Tensor
    ) -> Tensor:
        """A step whose inner noise ``eps1`` lies at a third of it; estimates that at two thirds."""
        h, r1, r2 = t_next - t, 1 / 3, 2 / 3
        t2 = t + r2 * h
        growth2, sigma2 = (r2 * h).expm1(), (-t2).exp()
        u2 = x - sigma2 * growth2 * eps
        u2 = u2 - sigma2 * (r2 / r1) * (growth2 / (r2 * h) - 1) * (eps1 - eps)
        eps2 = self.noise_at(u2, t2)
        growth, sigma_next = h.expm1(), (-t_next).exp()
        return x - sigma_next * growth * eps - sigma_next / r2 * (growth / h - 1) * (eps2 - eps)


def dpm_fast(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Spend as many estimates as there are levels on third-order steps of equal length.

    Only the ends of ``sigmas`` matter; the result stays at the lowest positive level.

    Source:
        DPM-Solver-fast, arXiv:2206.00927, section 3.4.
    """
    solver = _NoiseEstimates(denoiser)
    orders = _orders(len(sigmas) - 1)
    times = torch.linspace(*_ends(sigmas), len(orders) + 1, device=sigmas.device)
    for i, order in enumerate(orders):
        t, t_next = times[i], times[i + 1]
        eps = solver.noise_at(x, t)
        on_step(StepInfo(step=i, x=x, denoised=x - (-t).exp() * eps))
        if order == 1:
            x = solver.first_order(x, t, t_next, eps)
        elif order == 2:
            eps1 = solver.ahead(x, t, (t_next - t) / 2, eps)
            x = solver.second_order(x, t, t_next, eps, eps1, r1=1 / 2)
        else:
            eps1 = solver.ahead(x, t, (t_next - t) / 3, eps)
            x = solver.third_order(x, t, t_next, eps, eps1)
    return x


def dpm_adaptive(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Choose the length of third-order steps by comparing them with second-order ones.

    Only the ends of ``sigmas`` matter, and the number of steps is not known beforehand; steps that
    are not accepted count too.

    Source:
        DPM-Solver-12/23, arXiv:2206.00927, appendix C, with the step size control of
        crowsonkb/k-diffusion (integral term only).
    """
    solver = _NoiseEstimates(denoiser)
    start, end = _ends(sigmas)
    t = torch.tensor(start, device=sigmas.device)
    t_end = torch.tensor(end, device=sigmas.device)
    length, low_accepted, i = _FIRST_LENGTH, x, 0
    while t < t_end - _END_MARGIN:
        t_next = torch.minimum(t_end, t + length)
        eps = solver.noise_at(x, t)
        on_step(StepInfo(step=i, x=x, denoised=x - (-t).exp() * eps))
        eps1 = solver.ahead(x, t, (t_next - t) / 3, eps)
        low = solver.second_order(x, t, t_next, eps, eps1, r1=1 / 3)
        high = solver.third_order(x, t, t_next, eps, eps1)
        factor = _length_factor(low, high, low_accepted)
        if factor >= _ACCEPTED_FACTOR:
            x, low_accepted, t = high, low, t_next
        length *= factor
        i += 1
    return x


def _ends(sigmas: Tensor) -> tuple[float, float]:
    levels = sigmas[sigmas > 0]
    return float(-levels[0].log()), float(-levels[-1].log())


def _orders(estimates: int) -> list[int]:
    whole, rest = divmod(estimates, 3)
    if rest:
        return [3] * whole + [rest]
    return [3] * (whole - 1) + [2, 1]


def _length_factor(low: Tensor, high: Tensor, low_accepted: Tensor) -> float:
    size = torch.maximum(low.abs(), low_accepted.abs())
    allowed = (_RELATIVE_TOLERANCE * size).clamp(min=_ABSOLUTE_TOLERANCE)
    error = float(torch.linalg.norm((low - high) / allowed)) / low.numel() ** 0.5
    return 1.0 + math.atan((1.0 / (error + 1e-8)) ** (1 / 3) - 1.0)
