"""What each performance mode sets: steps, its LoRA, and the values it forces.

Facts: the reference's closed lists (``enums.json`` of the specification).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fooocus_core.choices import Performance, Sampler, Scheduler
from fooocus_core.params import GenerationParams, GuidanceParams, Lora


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceMode:
    """One mode.

    Attributes:
        steps: Sampling steps of a run from noise.
        upscale_steps: Sampling steps when a picture is enlarged.
        lora: The distilled LoRA that the mode appends, if any.
        sampler, scheduler: Forced together with the LoRA.
        component: Name used in the progress text.
    """

    steps: int
    upscale_steps: int
    lora: Lora | None = None
    sampler: Sampler | None = None
    scheduler: Scheduler | None = None
    component: str = ""


MODES = {
    Performance.QUALITY: PerformanceMode(steps=60, upscale_steps=36),
    Performance.SPEED: PerformanceMode(steps=30, upscale_steps=18),
    Performance.EXTREME_SPEED: PerformanceMode(
        steps=8,
        upscale_steps=8,
        lora=Lora(name="sdxl_lcm_lora.safetensors", weight=1.0),
        sampler=Sampler.LCM,
        scheduler=Scheduler.LCM,
        component="LCM",
    ),
    Performance.LIGHTNING: PerformanceMode(
        steps=4,
        upscale_steps=4,
        lora=Lora(name="sdxl_lightning_4step_lora.safetensors", weight=1.0),
        sampler=Sampler.EULER,
        scheduler=Scheduler.SGM_UNIFORM,
        component="Lightning",
    ),
    Performance.HYPER_SD: PerformanceMode(
        steps=4,
        upscale_steps=4,
        lora=Lora(name="sdxl_hyper_sd_4step_lora.safetensors", weight=0.8),
        sampler=Sampler.DPMPP_SDE_GPU,
        scheduler=Scheduler.KARRAS,
        component="Hyper-SD",
    ),
}

# What the distilled modes force besides their sampler and scheduler.
DISTILLED_GUIDANCE = GuidanceParams(
    scale=1.0,
    adaptive_scale=1.0,
    sharpness=0.0,
    size_scale_positive=1.0,
    size_scale_negative=1.0,
    size_scale_end=0.0,
)


def apply_performance(params: GenerationParams) -> GenerationParams:
    """Return the parameters with everything that the performance mode forces.

    The LoRA of the mode is not added here: it joins the list after the LoRA limit was applied.
    """
    mode = MODES[params.sampling.performance]
    if mode.sampler is None or mode.scheduler is None:
        return params
    return replace(
        params,
        sampling=replace(params.sampling, sampler=mode.sampler, scheduler=mode.scheduler),
        models=replace(params.models, refiner=None, refiner_switch=1.0),
        guidance=DISTILLED_GUIDANCE,
    )
