"""Every sampler on a formula instead of a network, against the measured results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.sampling.noise import SeededNoise
from fooocus_core.sampling.noise_levels import NoiseModel, noise_model
from fooocus_core.sampling.run import SamplingRun, noised, seeded_noise
from fooocus_core.sampling.samplers import SAMPLERS
from fooocus_core.sampling.samplers.base import StepInfo
from fooocus_core.sampling.schedules import make_sigmas
from tests.golden import load_json

SHAPE = (1, 4, 8, 8)
RESULTS: dict[str, Any] = load_json("check-values-text-to-image")["samplers_toy"]["results"]


class Formula:
    """Denoises by a formula and counts its calls."""

    def __init__(self, model: NoiseModel) -> None:
        self.noise_model = model
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return 0.8 * torch.tanh(x / torch.sqrt(1 + sigma**2))


class Walk:
    """One sampler run on the formula."""

    def __init__(self, sampler: Sampler, scheduler: Scheduler, steps: int) -> None:
        run = SamplingRun(sampler=sampler, scheduler=scheduler, steps=steps)
        model = noise_model(scheduler)
        self.denoiser = Formula(model)
        self.steps: list[StepInfo] = []
        noise = seeded_noise(run, 12345, SHAPE, torch.device("cpu"))
        sigmas = make_sigmas(scheduler, steps, model.levels, sampler=sampler)
        start = noised(torch.zeros(SHAPE), noise.start(), sigmas[0], model.levels)
        self.result = SAMPLERS[sampler](
            self.denoiser, start, sigmas, noise=noise, on_step=self.steps.append
        )


def walk(sampler: Sampler, steps: int = 10) -> Walk:
    distilled = sampler in (Sampler.LCM, Sampler.TCD)
    return Walk(sampler, Scheduler(sampler.value) if distilled else Scheduler.KARRAS, steps)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_the_sampler_arrives_at_the_measured_latent(sampler: Sampler) -> None:
    expected = RESULTS[sampler]
    done = walk(sampler)
    places = done.result.flatten()[[0, 1, 2, 3, 255]]
    np.testing.assert_allclose(places, expected["x"], atol=1e-5)
    assert float(done.result.mean()) == pytest.approx(expected["mean"], abs=1e-5)
    assert float(done.result.std()) == pytest.approx(expected["std"], abs=1e-5)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_the_sampler_evaluates_and_reports_as_often_as_measured(sampler: Sampler) -> None:
    expected = RESULTS[sampler]
    done = walk(sampler)
    assert done.denoiser.calls == expected["calls"]
    assert [info.step for info in done.steps] == list(range(expected["cb"]))


@pytest.mark.parametrize(("steps", "calls"), [(19, 37), (30, 59), (40, 79)])
def test_restart_keeps_the_number_of_steps(steps: int, calls: int) -> None:
    done = walk(Sampler.RESTART, steps)
    assert done.denoiser.calls == calls
    assert [info.step for info in done.steps] == list(range(steps))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("sampler", list(Sampler))
def test_very_few_steps_give_a_finite_latent(sampler: Sampler, steps: int) -> None:
    assert walk(sampler, steps).result.isfinite().all()


def test_tcd_stays_finite_on_a_schedule_that_ends_at_the_lowest_level() -> None:
    done = Walk(Sampler.TCD, Scheduler.KARRAS, 10)
    assert done.result.isfinite().all()


@pytest.mark.parametrize("sampler", list(Sampler))
def test_what_a_step_raises_ends_the_run(sampler: Sampler) -> None:
    class Stopped(Exception):
        pass

    def stop(info: StepInfo) -> None:
        if info.step == 1:
            raise Stopped

    model = noise_model(Scheduler.KARRAS)
    run = SamplingRun(sampler=sampler, scheduler=Scheduler.KARRAS, steps=8)
    noise: SeededNoise = seeded_noise(run, 1, SHAPE, torch.device("cpu"))
    sigmas = make_sigmas(Scheduler.KARRAS, 8, model.levels, sampler=sampler)
    with pytest.raises(Stopped):
        SAMPLERS[sampler](Formula(model), noise.start(), sigmas, noise=noise, on_step=stop)
