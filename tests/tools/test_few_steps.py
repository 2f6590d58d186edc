from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from fooocus_core.choices import Performance
from fooocus_core.performance import MODES
from tools.few_steps import plan_road

FAST = (Performance.EXTREME_SPEED, Performance.LIGHTNING, Performance.HYPER_SD)
# What the samplers ask for on their schedules: DPM++ SDE looks at the middle of each step as well.
SIGMAS = {
    Performance.EXTREME_SPEED: (14.615, 7.392, 4.171, 2.563, 1.668, 1.114, 0.733, 0.437),
    Performance.LIGHTNING: (14.615, 4.086, 1.616, 0.695),
    Performance.HYPER_SD: (14.615, 6.803, 3.167, 1.189, 0.447, 0.1142, 0.02917),
}
CLEAN = torch.rand(2, 4, 6, 8, generator=torch.Generator().manual_seed(0)) - 0.5


def knows(_: Tensor, __: Tensor) -> Tensor:
    """The estimate of a UNet that knows the picture."""
    return CLEAN


@pytest.mark.parametrize("performance", FAST, ids=str)
def test_states_are_those_of_the_mode(performance: Performance) -> None:
    road = plan_road(MODES[performance], 0)

    seen = [float(road.visit(CLEAN, knows, call, 1).sigma) for call in range(road.calls)]

    assert seen == pytest.approx(SIGMAS[performance], rel=2e-3)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("performance", FAST, ids=str)
def test_states_hold_the_estimates_and_noise_of_their_level(
    performance: Performance, level: int
) -> None:
    clean = torch.full((1, 4, 64, 64), 0.7)
    road = plan_road(MODES[performance], level)
    last = road.calls - 1

    first = road.visit(clean, lambda x, _: clean.expand_as(x), 0, 3)
    later = road.visit(clean, lambda x, _: clean.expand_as(x), last, 3)

    assert float(first.state.std()) == pytest.approx(14.65 / 2**level, rel=0.05)
    left = later.state - clean
    assert float(left.mean()) == pytest.approx(0, abs=0.15)
    assert float(left.std()) == pytest.approx(float(later.sigma) / 2**level, rel=0.1)


@pytest.mark.parametrize("performance", FAST, ids=str)
def test_a_run_ends_with_the_last_estimate(performance: Performance) -> None:
    road = plan_road(MODES[performance], 1)

    finished = road.finish(torch.zeros_like(CLEAN), knows, 2)

    assert torch.allclose(finished, CLEAN, atol=1e-5)


def test_some_runs_are_longer_or_begin_with_a_picture() -> None:
    mode, rng = MODES[Performance.LIGHTNING], random.Random(0)

    roads = [plan_road(mode, 2, rng).run for _ in range(60)]

    assert {road.steps for road in roads} == {3, 4, 5, 6}
    late = [road for road in roads if road.denoise < 1]
    assert 0 < len(late) < 25


def test_a_mode_without_a_sampler_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the sampler"):
        plan_road(MODES[Performance.SPEED], 0)
