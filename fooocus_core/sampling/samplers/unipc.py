"""UniPC: a multistep predictor and corrector of order three, in its two variants.

The formulas work on the variance-preserving latent ``y = alpha x`` with ``alpha = 1 / sqrt(sigma^2
+ 1)``, ``spread = sqrt(1 - alpha^2)`` and half the log signal-to-noise ratio ``lam``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.sampling.samplers.base import (
    Denoiser,
    NoiseSource,
    OnStep,
    StepInfo,
    derivative,
)

_LAST_SIGMA = 0.001
_ORDER = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Estimate:
    denoised: Tensor
    sigma: Tensor


def uni_pc(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Take UniPC steps of variant B1(h) = h; steps report at their end.

    Source:
        arXiv:2302.04867, multistep, data prediction.
    """
    return _sample(denoiser, x, sigmas, on_step=on_step, exponential=False)


def uni_pc_bh2(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,  # noqa: ARG001  (signature of all samplers)
    on_step: OnStep,
) -> Tensor:
    """Take UniPC steps of variant B2(h) = exp(h) - 1; steps report at their end.

    Source:
        arXiv:2302.04867, multistep, data prediction.
    """
    return _sample(denoiser, x, sigmas, on_step=on_step, exponential=True)


def _sample(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, on_step: OnStep, exponential: bool
) -> Tensor:
    sigmas = torch.where(sigmas == 0, _LAST_SIGMA, sigmas)
    steps = len(sigmas) - 1
    highest = max(min(_ORDER, steps - 1), 1)
    y = x * _alpha(sigmas[0])
    history = [_estimate(denoiser, y, sigmas[0])]
    for i in range(1, steps):
        on_step(StepInfo(step=i - 1, x=y, denoised=history[0].denoised))
        order = min(highest, i, steps + 1 - i)
        update = _Update(history[:order], sigmas[i], exponential=exponential)
        ahead = _estimate(denoiser, update.predict(y), sigmas[i])
        y = update.correct(y, ahead.denoised)
        history = [ahead, *history[: highest - 1]]
    last = _Update(history[:1], sigmas[steps], exponential=exponential)
    y = last.predict(y)
    on_step(StepInfo(step=steps - 1, x=y, denoised=history[0].denoised))
    return y / _alpha(sigmas[steps])


class _Update:
    """One step from the newest of some estimates to the next level."""

    def __init__(self, history: list[_Estimate], sigma: Tensor, *, exponential: bool) -> None:
        newest = history[0]
        start = _lambda(newest.sigma)
        h = _lambda(sigma) - start
        ratios = [(_lambda(old.sigma) - start) / h for old in history[1:]]
        self._newest = newest
        self._differences = [
            (old.denoised - newest.denoised) / ratio
            for old, ratio in zip(history[1:], ratios, strict=True)
        ]
        self._shrink = _spread(sigma) / _spread(newest.sigma)
        self._growth = torch.expm1(-h)
        self._alpha = _alpha(sigma)
        self._b_of_h = self._growth if exponential else -h
        self._rows, self._targets = self._equations(-h, [*ratios, torch.ones_like(h)])

    def predict(self, y: Tensor) -> Tensor:
        return self._moved(y, self._sum(self._predictor_weights()))

    def correct(self, y: Tensor, denoised: Tensor) -> Tensor:
        weights = self._corrector_weights()
        change = weights[-1] * (denoised - self._newest.denoised)
        return self._moved(y, self._sum(weights[:-1]) + change)

    def _equations(self, hh: Tensor, ratios: list[Tensor]) -> tuple[Tensor, Tensor]:
        powers, targets = [], []
        ratio = torch.stack(ratios)
        phi = self._growth / hh - 1
        for i in range(1, len(ratios) + 1):
            powers.append(ratio ** (i - 1))
            targets.append(phi * math.factorial(i) / self._b_of_h)
            phi = phi / hh - 1 / math.factorial(i + 1)
        return torch.stack(powers), torch.stack(targets)

    def _predictor_weights(self) -> Tensor:
        # The paper's predictor of order two has the fixed weight one half.
        if len(self._targets) == 2:
            return torch.full_like(self._targets[:1], 0.5)
        weights: Tensor = torch.linalg.solve(self._rows[:-1, :-1], self._targets[:-1])
        return weights

    def _corrector_weights(self) -> Tensor:
        if len(self._targets) == 1:
            return torch.full_like(self._targets, 0.5)
        weights: Tensor = torch.linalg.solve(self._rows, self._targets)
        return weights

    def _sum(self, weights: Tensor) -> Tensor:
        total = torch.zeros_like(self._newest.denoised)
        for weight, difference in zip(weights, self._differences, strict=True):
            total = total + weight * difference
        return total

    def _moved(self, y: Tensor, change: Tensor) -> Tensor:
        base = self._shrink * y - self._alpha * self._growth * self._newest.denoised
        return base - self._alpha * self._b_of_h * change


def _estimate(denoiser: Denoiser, y: Tensor, sigma: Tensor) -> _Estimate:
    # Through the noise and back, as the reference does, for equal rounding.
    x = y * (sigma**2 + 1).sqrt()
    eps = derivative(x, sigma, denoiser(x, sigma))
    return _Estimate(denoised=(y - _spread(sigma) * eps) / _alpha(sigma), sigma=sigma)


def _alpha(sigma: Tensor) -> Tensor:
    return 1 / (sigma**2 + 1).sqrt()


def _spread(sigma: Tensor) -> Tensor:
    return (1 - _alpha(sigma) ** 2).sqrt()


def _lambda(sigma: Tensor) -> Tensor:
    return _alpha(sigma).log() - _spread(sigma).log()
