"""The states that a performance mode visits on its way, for a UNet that is to learn them.

Runs the mode's own sampler on its own schedule, with the pipeline's own code, on latents of any
level. Knows neither how estimates are made nor what is learned from the states.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.performance import PerformanceMode
from fooocus_core.sampling.noise_levels import NoiseModel, noise_model
from fooocus_core.sampling.run import SamplingRun, make_leg, noised, seeded_noise
from fooocus_core.sampling.samplers import SAMPLERS

OTHER_STEPS = 0.3  # share of runs with a step or two more or fewer than the mode's
VARIED = 0.15  # share of runs that start from a picture, as variations and upscaling do
DENOISE = (0.35, 0.9)

Estimate = Callable[[Tensor, Tensor], Tensor]
"""(state (B, 4, h, w), sigma ()) -> estimated clean latents."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visited:
    """A state that a sampler asks an estimate of.

    Attributes:
        state: (B, 4, h, w), not scaled.
        sigma: Its level, ().
    """

    state: Tensor
    sigma: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A run of a mode.

    Attributes:
        run: Sampler, schedule and steps.
        model: What the schedule takes the UNet for.
        level: Of the latents; noise is 2**level times weaker there.
    """

    run: SamplingRun
    model: NoiseModel
    level: int

    @property
    def calls(self) -> int:
        """How many estimates the whole run asks for."""
        counter = _Traveller(self.model, lambda x, _: x, last=None)
        self._walk(counter, torch.zeros(1, 4, 1, 1), 0)
        return counter.calls

    def visit(self, clean: Tensor, estimate: Estimate, call: int, seed: int) -> Visited:
        """Walk up to an estimate.

        Args:
            clean: What runs that begin late start from, (B, 4, h, w).
            estimate: Gives the estimates before that one.
            call: Its number, from 0 on.
            seed: Of the noise.
        """
        traveller = _Traveller(self.model, estimate, last=call)
        self._walk(traveller, clean, seed)
        state, sigma = traveller.seen
        return Visited(state=state, sigma=sigma)

    def finish(self, clean: Tensor, estimate: Estimate, seed: int) -> Tensor:
        """Walk to the end: the finished latents; see :meth:`visit`."""
        return self._walk(_Traveller(self.model, estimate, last=None), clean, seed)

    def _walk(self, traveller: _Traveller, clean: Tensor, seed: int) -> Tensor:
        run, shape = self.run, tuple(clean.shape)
        noise = _CoarseNoise(run, seed, shape, 2.0**-self.level)
        start = clean if run.denoise < 1 else torch.zeros_like(clean)
        sigmas = make_leg(run, self.model.levels).sigmas
        x = noised(start, noise.start(), sigmas[0], self.model.levels)
        walk = SAMPLERS[run.sampler]
        return walk(traveller, x, sigmas, noise=noise, on_step=lambda _: None)


def plan_road(mode: PerformanceMode, level: int, rng: random.Random | None = None) -> Road:
    """Plan a run of a mode.

    Args:
        mode: One that forces sampler and schedule.
        level: Of the latents.
        rng: Makes the run a little different at times; ``None`` plans it as it is by default.
    """
    if mode.sampler is None or mode.scheduler is None:
        raise ValueError("a mode that leaves the sampler to the request has no road of its own")
    steps, denoise = mode.steps, 1.0
    if rng is not None and rng.random() < OTHER_STEPS:
        steps = max(2, steps + rng.choice((-1, 1, 2)))
    if rng is not None and rng.random() < VARIED:
        denoise = rng.uniform(*DENOISE)
    return _road(mode.sampler, mode.scheduler, steps, denoise, level)


def _road(sampler: Sampler, scheduler: Scheduler, steps: int, denoise: float, level: int) -> Road:
    run = SamplingRun(sampler=sampler, scheduler=scheduler, steps=steps, denoise=denoise)
    return Road(run=run, model=noise_model(scheduler), level=level)


class _CoarseNoise:
    """The noise of a run as a level sees it: the mean of 2**level by 2**level places."""

    def __init__(self, run: SamplingRun, seed: int, shape: tuple[int, ...], factor: float) -> None:
        self._noise = seeded_noise(run, seed, shape, torch.device("cpu"))
        self._factor = factor

    def start(self) -> Tensor:
        return self._factor * self._noise.start()

    def step(self) -> Tensor:
        return self._factor * self._noise.step()

    def between(self, sigma: Tensor, sigma_next: Tensor, /) -> Tensor:
        return self._factor * self._noise.between(sigma, sigma_next)


class _Traveller:
    """Gives estimates to a sampler and notes what it is asked about."""

    def __init__(self, model: NoiseModel, estimate: Estimate, *, last: int | None) -> None:
        self.noise_model = model
        self.calls = 0
        self.seen = torch.zeros(0), torch.zeros(())
        self._estimate, self._last = estimate, last

    def __call__(self, x: Tensor, sigma: Tensor, /) -> Tensor:
        call, self.calls = self.calls, self.calls + 1
        if self._last is not None and call >= self._last:
            # The sampler goes on to its end, but nobody looks at what it finds there.
            if call == self._last:
                self.seen = x, sigma
            return x
        return self._estimate(x, sigma)
