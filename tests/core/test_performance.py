"""Performance modes and what they force."""

from __future__ import annotations

import pytest

from fooocus_core.choices import Performance, Sampler, Scheduler
from fooocus_core.params import (
    GenerationParams,
    GuidanceParams,
    Lora,
    ModelParams,
    SamplingParams,
)
from fooocus_core.performance import MODES, apply_performance


def ask(performance: Performance) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base="a.safetensors", refiner="b.safetensors", refiner_switch=0.4),
        sampling=SamplingParams(performance=performance, sampler=Sampler.HEUN),
        guidance=GuidanceParams(scale=6.0, sharpness=9.0),
    )


@pytest.mark.parametrize(
    ("performance", "steps", "upscale_steps", "lora"),
    [
        (Performance.QUALITY, 60, 36, None),
        (Performance.SPEED, 30, 18, None),
        (Performance.EXTREME_SPEED, 8, 8, Lora(name="sdxl_lcm_lora.safetensors", weight=1.0)),
        (
            Performance.LIGHTNING,
            4,
            4,
            Lora(name="sdxl_lightning_4step_lora.safetensors", weight=1.0),
        ),
        (
            Performance.HYPER_SD,
            4,
            4,
            Lora(name="sdxl_hyper_sd_4step_lora.safetensors", weight=0.8),
        ),
    ],
)
def test_each_mode_has_the_reference_steps_and_lora(
    performance: Performance, steps: int, upscale_steps: int, lora: Lora | None
) -> None:
    mode = MODES[performance]
    assert (mode.steps, mode.upscale_steps, mode.lora) == (steps, upscale_steps, lora)


@pytest.mark.parametrize("performance", [Performance.SPEED, Performance.QUALITY])
def test_plain_modes_leave_the_request_alone(performance: Performance) -> None:
    asked = ask(performance)
    assert apply_performance(asked) is asked


@pytest.mark.parametrize(
    ("performance", "sampler", "scheduler"),
    [
        (Performance.EXTREME_SPEED, Sampler.LCM, Scheduler.LCM),
        (Performance.LIGHTNING, Sampler.EULER, Scheduler.SGM_UNIFORM),
        (Performance.HYPER_SD, Sampler.DPMPP_SDE_GPU, Scheduler.KARRAS),
    ],
)
def test_distilled_modes_force_sampler_guidance_and_refiner(
    performance: Performance, sampler: Sampler, scheduler: Scheduler
) -> None:
    forced = apply_performance(ask(performance))
    assert (forced.sampling.sampler, forced.sampling.scheduler) == (sampler, scheduler)
    assert (forced.models.refiner, forced.models.refiner_switch) == (None, 1.0)
    assert forced.guidance == GuidanceParams(
        scale=1.0,
        adaptive_scale=1.0,
        sharpness=0.0,
        size_scale_positive=1.0,
        size_scale_negative=1.0,
        size_scale_end=0.0,
    )
