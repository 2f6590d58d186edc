"""Whether anything is painted, and which passes an enhancement makes over each picture.

Each pass is asked for like a generation of its own; ``plan.py`` decides on it like on any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fooocus_core.choices import EnhanceOrder, EnhancePrompt, UpscaleVaryMethod
from fooocus_core.params import EnhanceParams, EnhanceRegion, GenerationParams, PromptParams
from fooocus_core.performance import MODES


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPass:
    """What is asked of one pass.

    Attributes:
        region: What is found and painted; ``None`` = the whole picture is varied or enlarged.
        params: What is asked of it as of a generation, without any picture.
        steps: Sampling steps; 0 = nothing is painted.
    """

    region: EnhanceRegion | None
    params: GenerationParams
    steps: int


def asks_for_passes(asked: EnhanceParams) -> bool:
    """Whether there is anything to do."""
    return bool(asked.regions) or asked.method is not UpscaleVaryMethod.DISABLED


def paints(params: GenerationParams) -> bool:
    """Whether anything is painted; if not, no base model, LoRA, refiner or VAE is needed."""
    if params.enhance and params.enhance.image is not None:
        return any(asked.steps > 0 for asked in asked_passes(params))
    return paints_pictures(params)


def paints_pictures(params: GenerationParams) -> bool:
    """Whether pictures are painted before any pass is made over them."""
    if params.enhance and params.enhance.image is not None:
        return False
    if params.upscale_vary and params.upscale_vary.method is UpscaleVaryMethod.UPSCALE_FAST_2:
        return False
    if params.inpaint and params.inpaint.show_mask:
        return False
    return not shows_guides(params)


def shows_guides(params: GenerationParams) -> bool:
    """Whether the guiding pictures are handed over as the networks are shown them."""
    return bool(params.image_prompts) and params.control.show_preprocessing


def asked_passes(params: GenerationParams) -> Iterator[AskedPass]:
    """The passes over each finished picture; all of them begin with the seed of the request.

    Args:
        params: What is asked, with everything that its performance mode forces.
    """
    asked = params.enhance
    if asked is None:
        return
    mode = MODES[params.sampling.performance]
    alone = replace(
        params,
        canvas=replace(params.canvas, count=1),
        upscale_vary=None,
        inpaint=None,
        image_prompts=(),
        enhance=None,
    )
    regions = [
        AskedPass(
            region=region,
            params=replace(alone, prompt=_prompt_of(region, params.prompt)),
            steps=params.sampling.steps or mode.steps,
        )
        for region in asked.regions
    ]
    if asked.method is UpscaleVaryMethod.DISABLED:
        yield from regions
        return
    usual = mode.upscale_steps if asked.method.enlarges else mode.steps
    is_painted = asked.method is not UpscaleVaryMethod.UPSCALE_FAST_2
    whole = AskedPass(
        region=None,
        params=replace(alone, prompt=_prompt_of_whole(asked, params.prompt)),
        steps=(params.sampling.steps or usual) if is_painted else 0,
    )
    yield from (whole, *regions) if asked.order is EnhanceOrder.BEFORE_FIRST else (*regions, whole)


def _prompt_of(region: EnhanceRegion, main: PromptParams) -> PromptParams:
    return replace(
        main,
        positive=region.prompt if region.prompt.strip() else main.positive,
        negative=region.negative_prompt if region.negative_prompt.strip() else main.negative,
    )


def _prompt_of_whole(asked: EnhanceParams, main: PromptParams) -> PromptParams:
    is_last = asked.order is EnhanceOrder.AFTER_LAST
    if is_last and asked.prompt_source is EnhancePrompt.LAST_FILLED and asked.regions:
        return _prompt_of(asked.regions[-1], main)
    return main
