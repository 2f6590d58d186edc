"""Scheduler name and step count -> the descending list of noise levels a sampler walks down.

Knows the levels of a model, but neither latents nor samplers' formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.sampling.noise_levels import Levels, standard_levels

Schedule = Callable[[int, Levels], Tensor]
"""(steps, levels of the model) -> descending levels, last 0."""

_RHO = 7.0

# How much noisier than its plain schedule the second half of a VAE swap begins.
_SWAP_NOISE = 1.4

# 10 steps each. Source: NVIDIA, "Align Your Steps", arXiv:2404.14507, quick start guide.
_ALIGN_YOUR_STEPS_SDXL = (
    14.6146412293,
    6.3184485287,
    3.7681790315,
    2.1811480769,
    1.3405244945,
    0.8620721141,
    0.5550693289,
    0.3798540708,
    0.2332364134,
    0.1114188177,
    0.0291671582,
)
_ALIGN_YOUR_STEPS_SD15 = (
    14.6146412293,
    6.4745760956,
    3.8636745985,
    2.6946151520,
    1.8841921177,
    1.3943805092,
    0.9642583904,
    0.6523686016,
    0.3977456272,
    0.1515232662,
    0.0291671582,
)

# Samplers that look half a step ahead: they get a list one longer without its last but one level.
_SHORTENED = frozenset({Sampler.DPM_2, Sampler.DPM_2_ANCESTRAL, Sampler.UNI_PC, Sampler.UNI_PC_BH2})
_SHORTENED_RANGE = frozenset({Sampler.DPM_2, Sampler.DPM_2_ANCESTRAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRange:
    """Smallest positive and largest level of a list."""

    low: float
    high: float


def final_scheduler(scheduler: Scheduler) -> Scheduler:
    """The schedule that a scheduler walks once its own noise model is in place."""
    match scheduler:
        case Scheduler.LCM | Scheduler.TCD:
            return Scheduler.SGM_UNIFORM
        case Scheduler.EDM_PLAYGROUND:
            return Scheduler.KARRAS
    return scheduler


def make_sigmas(
    scheduler: Scheduler, steps: int, levels: Levels, *, sampler: Sampler, denoise: float = 1.0
) -> Tensor:
    """The levels that the sampler is really fed.

    ``TURBO`` and ``ALIGN_YOUR_STEPS`` walk the ``NORMAL`` schedule: the reference's sampler does
    not know these names and takes that one. Only their noise range is their own
    (:func:`noise_range`).

    Args:
        scheduler: As asked for.
        steps: At least 1.
        levels: The levels of the noise model in use.
        sampler: Some need one level left out.
        denoise: Share of the schedule that is walked, its clean end, over 0.0 to 1.0.

    Returns:
        (steps + 1,) float32 on the CPU, descending, last 0; ``DDIM_UNIFORM`` may give more.
    """
    final = final_scheduler(scheduler)
    if final in (Scheduler.TURBO, Scheduler.ALIGN_YOUR_STEPS):
        final = Scheduler.NORMAL
    shorten = sampler in _SHORTENED
    return _walked_part(_schedule(final), steps, levels, denoise=denoise, shorten=shorten)


def noise_range(
    scheduler: Scheduler, steps: int, *, sampler: Sampler, denoise: float = 1.0
) -> SigmaRange:
    """The range of the Brownian motion behind SDE samplers.

    It comes from the schedule as named and from the standard levels, even where the sampler walks
    others: the reference reads it before it replaces the noise model.
    """
    schedule = _schedule(final_scheduler(scheduler))
    sigmas = _standard_sigmas(schedule, steps, sampler=sampler, denoise=denoise)
    return SigmaRange(low=float(sigmas[sigmas > 0].min()), high=float(sigmas.max()))


def swap_sigmas(
    scheduler: Scheduler,
    steps: int,
    *,
    first_step: int,
    sampler: Sampler,
    is_sd15: bool,
    denoise: float = 1.0,
) -> Tensor:
    """The levels that the second model walks after a VAE swap, noisier than those it replaces.

    They come from the schedule as named and from the standard levels, as the noise range does.

    Args:
        scheduler: As asked for.
        steps: Steps of the whole run.
        first_step: Step that the second model begins with.
        sampler: Some need one level left out.
        is_sd15: Whether the second model is an SD 1.5 one, whose ``ALIGN_YOUR_STEPS`` differ.
        denoise: Share of the schedule that the whole run walks.

    Returns:
        float32 on the CPU, descending, last 0; nothing but this 0 if no step is left.
    """
    schedule = _schedule(final_scheduler(scheduler))
    if is_sd15 and schedule is _align_your_steps:
        schedule = _align_your_steps_sd15
    sigmas = _standard_sigmas(schedule, steps, sampler=sampler, denoise=denoise)
    return cut_sigmas(sigmas, first_step=first_step) * _SWAP_NOISE


def cut_sigmas(
    sigmas: Tensor, *, first_step: int = 0, last_step: int | None = None, to_zero: bool = False
) -> Tensor:
    """The part of a schedule that one run walks.

    Args:
        sigmas: (n + 1,), descending.
        first_step: Steps left out at the noisy end.
        last_step: Step before which the run ends; ``None`` or beyond the end keeps the end.
        to_zero: Whether a run that ends early removes the remaining noise in its last step.

    Returns:
        A new tensor of at least one level; a single one means that there is no step to make.
    """
    sigmas = sigmas.clone()
    if last_step is not None and last_step < len(sigmas) - 1:
        sigmas = sigmas[: last_step + 1]
        if to_zero:
            sigmas[-1] = 0.0
    return sigmas[min(first_step, len(sigmas) - 1) :]


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Levels evenly spaced in their seventh root, then 0.

    Source:
        arXiv:2206.00364, eq. 5 with rho = 7.
    """
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / _RHO), sigma_max ** (1 / _RHO)
    return _with_zero((high + ramp * (low - high)) ** _RHO)


def _standard_sigmas(schedule: Schedule, steps: int, *, sampler: Sampler, denoise: float) -> Tensor:
    shorten = sampler in _SHORTENED_RANGE
    return _walked_part(schedule, steps, standard_levels(), denoise=denoise, shorten=shorten)


def _walked_part(
    schedule: Schedule, steps: int, levels: Levels, *, denoise: float, shorten: bool
) -> Tensor:
    if steps < 1 or not 0.0 < denoise <= 1.0:
        raise ValueError(f"steps {steps} must be >= 1, denoise {denoise} over 0 and at most 1")
    if denoise > 0.9999:
        return _whole(schedule, steps, levels, shorten=shorten)
    sigmas = _whole(schedule, int(steps / denoise), levels, shorten=shorten)
    return sigmas[-(steps + 1) :]


def _whole(schedule: Schedule, steps: int, levels: Levels, *, shorten: bool) -> Tensor:
    if not shorten:
        return schedule(steps, levels)
    sigmas = schedule(steps + 1, levels)
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def _schedule(scheduler: Scheduler) -> Schedule:
    match scheduler:
        case Scheduler.KARRAS:
            return _karras
        case Scheduler.EXPONENTIAL:
            return _exponential
        case Scheduler.NORMAL:
            return _normal
        case Scheduler.SGM_UNIFORM:
            return _sgm_uniform
        case Scheduler.SIMPLE:
            return _simple
        case Scheduler.DDIM_UNIFORM:
            return _ddim_uniform
        case Scheduler.TURBO:
            return _turbo
        case Scheduler.ALIGN_YOUR_STEPS:
            return _align_your_steps
    raise ValueError(f"{scheduler} has no schedule of its own")


def _karras(steps: int, levels: Levels) -> Tensor:
    return karras_sigmas(steps, levels.sigma_min, levels.sigma_max)


def _exponential(steps: int, levels: Levels) -> Tensor:
    ends = math.log(levels.sigma_max), math.log(levels.sigma_min)
    return _with_zero(torch.linspace(*ends, steps).exp())


def _normal(steps: int, levels: Levels) -> Tensor:
    return _with_zero(levels.sigma(_even_timesteps(steps, levels)))


def _sgm_uniform(steps: int, levels: Levels) -> Tensor:
    return _with_zero(levels.sigma(_even_timesteps(steps + 1, levels)[:-1]))


def _even_timesteps(count: int, levels: Levels) -> Tensor:
    first, last = levels.timestep(levels.sigmas[[-1, 0]]).tolist()
    return torch.linspace(first, last, count)


def _simple(steps: int, levels: Levels) -> Tensor:
    stride = len(levels.sigmas) / steps
    return _with_zero(levels.sigmas[[-(1 + int(i * stride)) for i in range(steps)]])


def _ddim_uniform(steps: int, levels: Levels) -> Tensor:
    stride = max(len(levels.sigmas) // steps, 1)
    return _with_zero(levels.sigmas[1::stride].flip(0))


def _turbo(steps: int, levels: Levels) -> Tensor:
    timesteps = torch.arange(999, 0, -100)[:steps]
    return _with_zero(levels.sigma(timesteps))


def _align_your_steps(steps: int, _levels: Levels) -> Tensor:
    return _between(_ALIGN_YOUR_STEPS_SDXL, steps)


def _align_your_steps_sd15(steps: int, _levels: Levels) -> Tensor:
    return _between(_ALIGN_YOUR_STEPS_SD15, steps)


def _between(known: Sequence[float], steps: int) -> Tensor:
    """Levels between known ones, linear in their logarithm; the last one becomes 0."""
    places = np.linspace(0, 1, steps + 1)
    sigmas = np.exp(np.interp(places, np.linspace(0, 1, len(known)), np.log(known)))
    return _with_zero(torch.tensor(sigmas[:-1], dtype=torch.float32))


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas.to(torch.float32), torch.zeros(1)])
