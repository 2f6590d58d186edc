"""Restart: the ordinary descent, with a part of it walked again from fresh noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.sampling.samplers.base import Denoiser, NoiseSource, OnStep, StepInfo
from fooocus_core.sampling.samplers.heun import heun, heun_step
from fooocus_core.sampling.schedules import karras_sigmas

_RESTART_LOW, _RESTART_HIGH = 0.1, 2.0
_FIRST_STEPS_WITH_RESTART = 20
_FIRST_STEPS_WITH_TWO = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restarts:
    count: int
    steps: int


def restart(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Take Heun steps, and repeat those between levels 2 and 0.1 after noising back up.

    The number of steps stays what ``sigmas`` says: the descent itself becomes shorter. Fewer than
    20 steps leave no room for that and are plain Heun steps.

    Source:
        arXiv:2306.14878, section 3.1; levels and counts are those of lllyasviel/Fooocus 2.5.5.
    """
    steps = len(sigmas) - 1
    if steps < _FIRST_STEPS_WITH_RESTART:
        return heun(denoiser, x, sigmas, noise=noise, on_step=on_step)
    reached: Tensor | None = None
    for i, (sigma, sigma_next) in enumerate(_walk(sigmas).to(sigmas.device)):
        if reached is not None and sigma > reached:
            x = x + noise.step() * (sigma**2 - reached**2).sqrt()
        denoised = denoiser(x, sigma)
        on_step(StepInfo(step=i, x=x, denoised=denoised))
        x = heun_step(denoiser, x, sigma, sigma_next, denoised)
        reached = sigma_next
    return x


def _walk(sigmas: Tensor) -> Tensor:
    """Start and end level of every step, (steps, 2)."""
    steps = len(sigmas) - 1
    restarts = _restarts(steps)
    descent = karras_sigmas(
        steps - restarts.steps * restarts.count, float(sigmas[-2]), float(sigmas[0])
    )
    low = int((descent - _RESTART_LOW).abs().argmin())
    high = int((descent - _RESTART_HIGH).abs().argmin())
    again = karras_sigmas(restarts.steps + 1, float(descent[low]), float(descent[high]))[:-1]
    pairs = _pairs(descent)
    return torch.cat([pairs[:low], *[_pairs(again)] * restarts.count, pairs[low:]])


def _restarts(steps: int) -> _Restarts:
    if steps >= _FIRST_STEPS_WITH_TWO:
        return _Restarts(count=2, steps=steps // 4)
    return _Restarts(count=1, steps=9)


def _pairs(levels: Tensor) -> Tensor:
    return torch.stack([levels[:-1], levels[1:]], dim=1)
