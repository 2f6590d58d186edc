"""Schedules against the recorded lists."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.sampling.noise_levels import noise_model, standard_levels
from fooocus_core.sampling.schedules import cut_sigmas, make_sigmas, noise_range, swap_sigmas
from tests.golden import load_arrays, load_json

RELATIVE = 1e-6
RECORDED = load_arrays("components/sigmas")
CHECKS = load_json("check-values-text-to-image")["sigmas"]


def recorded(pattern: str) -> list[str]:
    return [key for key in RECORDED if re.fullmatch(pattern, key)]


@pytest.mark.parametrize("key", recorded(r"ksampler_(?!part).*"))
def test_the_sampler_gets_the_recorded_levels(key: str) -> None:
    scheduler, steps, sampler = re.fullmatch(r"ksampler_(\w+?)_(\d+)_(\w+)", key).groups()
    sigmas = make_sigmas(
        Scheduler(scheduler), int(steps), standard_levels(), sampler=Sampler(sampler)
    )
    np.testing.assert_allclose(sigmas, RECORDED[key], rtol=RELATIVE)


@pytest.mark.parametrize("key", recorded(r"ksampler_part_.*"))
def test_a_partial_run_gets_the_end_of_a_longer_schedule(key: str) -> None:
    scheduler, steps, denoise = re.fullmatch(r"ksampler_part_(\w+)_(\d+)_([\d.]+)", key).groups()
    sigmas = make_sigmas(
        Scheduler(scheduler),
        int(steps),
        standard_levels(),
        sampler=Sampler.DPMPP_2M_SDE_GPU,
        denoise=float(denoise),
    )
    np.testing.assert_allclose(sigmas, RECORDED[key], rtol=RELATIVE)


@pytest.mark.parametrize("key", recorded(r"all_.*"))
def test_the_noise_range_comes_from_the_named_schedule(key: str) -> None:
    scheduler, steps, sampler = re.fullmatch(r"all_(\w+?)_(\d+)_(\w+)", key).groups()
    found = noise_range(Scheduler(scheduler), int(steps), sampler=Sampler(sampler))
    levels = RECORDED[key]
    assert found.low == pytest.approx(levels[levels > 0].min(), rel=RELATIVE)
    assert found.high == pytest.approx(levels.max(), rel=RELATIVE)


@pytest.mark.parametrize("key", recorded(r"part_.*"))
def test_the_noise_range_of_a_partial_run_comes_from_the_named_schedule(key: str) -> None:
    scheduler, steps, denoise = re.fullmatch(r"part_(\w+)_(\d+)_([\d.]+)", key).groups()
    found = noise_range(
        Scheduler(scheduler), int(steps), sampler=Sampler.DPMPP_2M_SDE, denoise=float(denoise)
    )
    levels = RECORDED[key]
    assert found.low == pytest.approx(levels[levels > 0].min(), rel=RELATIVE)
    assert found.high == pytest.approx(levels.max(), rel=RELATIVE)


@pytest.mark.parametrize("key", recorded(r"(lcm|tcd)_sgm_uniform_\d+|edm.*_karras_\d+"))
def test_special_models_walk_their_own_levels(key: str) -> None:
    name, steps = re.fullmatch(r"(.+?)_(?:sgm_uniform|karras)_(\d+)", key).groups()
    levels = noise_model(Scheduler(name)).levels
    sigmas = make_sigmas(Scheduler(name), int(steps), levels, sampler=Sampler.EULER)
    np.testing.assert_allclose(sigmas, RECORDED[key], rtol=RELATIVE)


@pytest.mark.parametrize("scheduler", [Scheduler.LCM, Scheduler.TCD, Scheduler.EDM_PLAYGROUND])
def test_special_models_draw_noise_over_the_standard_range(scheduler: Scheduler) -> None:
    plain = Scheduler.KARRAS if scheduler is Scheduler.EDM_PLAYGROUND else Scheduler.SGM_UNIFORM
    found = noise_range(scheduler, 8, sampler=Sampler.DPMPP_SDE)
    assert found == noise_range(plain, 8, sampler=Sampler.DPMPP_SDE)


@pytest.mark.parametrize("key", [key for key in CHECKS if key.split(":")[0] in set(Scheduler)])
def test_schedules_equal_the_measured_check_values(key: str) -> None:
    name, steps = key.split(":")
    scheduler = Scheduler(name)
    if scheduler in (Scheduler.TURBO, Scheduler.ALIGN_YOUR_STEPS):
        found = noise_range(scheduler, int(steps), sampler=Sampler.EULER)
        positive = [level for level in CHECKS[key] if level > 0]
        assert (found.low, found.high) == pytest.approx((min(positive), max(positive)), abs=1e-5)
        return
    levels = noise_model(scheduler).levels
    sigmas = make_sigmas(scheduler, int(steps), levels, sampler=Sampler.EULER)
    np.testing.assert_allclose(sigmas, CHECKS[key], atol=1e-5)


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        pytest.param({}, [4, 3, 2, 1, 0], id="whole"),
        pytest.param({"first_step": 2}, [2, 1, 0], id="second half"),
        pytest.param({"last_step": 2}, [4, 3, 2], id="first half"),
        pytest.param({"last_step": 2, "to_zero": True}, [4, 3, 0], id="first half, finished"),
        pytest.param({"last_step": 9, "to_zero": True}, [4, 3, 2, 1, 0], id="beyond the end"),
        pytest.param({"first_step": 4}, [0], id="nothing left"),
        pytest.param({"first_step": 9}, [0], id="far beyond the end"),
    ],
)
def test_a_schedule_is_cut_into_parts(cut: dict[str, int], expected: list[int]) -> None:
    whole = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0])
    assert cut_sigmas(whole, **cut).tolist() == expected
    assert whole.tolist() == [4, 3, 2, 1, 0]


# The measured example of 8 steps, and the specification's own one.
SWAPPED = {
    (8, 4): load_json("check-values-text-to-image")["integrated_toy"]["vae_swap"]["results"][
        "levels2"
    ],
    (30, 24): [0.1910789, 0.1440378, 0.107294, 0.0788961, 0.0572008, 0.040834, 0.0],
}


@pytest.mark.parametrize(("steps", "first_step"), SWAPPED, ids=str)
def test_a_vae_swap_goes_on_at_the_measured_levels(steps: int, first_step: int) -> None:
    sigmas = swap_sigmas(
        Scheduler.KARRAS,
        steps,
        first_step=first_step,
        sampler=Sampler.DPMPP_2M_SDE_GPU,
        is_sd15=True,
    )
    np.testing.assert_allclose(sigmas, SWAPPED[steps, first_step], atol=1e-6)


@pytest.mark.parametrize(
    ("is_sd15", "expected"),
    [(True, [1.3943805092, 0.9642583904]), (False, [0.8620721141, 0.5550693289])],
)
def test_aligned_steps_after_a_vae_swap_are_those_of_the_second_model(
    is_sd15: bool, expected: list[float]
) -> None:
    sigmas = swap_sigmas(
        Scheduler.ALIGN_YOUR_STEPS,
        10,
        first_step=5,
        sampler=Sampler.EULER,
        is_sd15=is_sd15,
    )
    np.testing.assert_allclose(sigmas[:2], np.array(expected) * 1.4, rtol=RELATIVE)


def test_a_vae_swap_after_the_last_step_has_nothing_left_to_walk() -> None:
    sigmas = swap_sigmas(Scheduler.KARRAS, 8, first_step=18, sampler=Sampler.EULER, is_sd15=True)
    assert sigmas.tolist() == [0.0]


@pytest.mark.parametrize(("steps", "denoise"), [(0, 1.0), (5, 0.0), (5, 1.5)])
def test_meaningless_schedules_are_refused(steps: int, denoise: float) -> None:
    with pytest.raises(ValueError, match="steps"):
        make_sigmas(
            Scheduler.KARRAS, steps, standard_levels(), sampler=Sampler.EULER, denoise=denoise
        )
