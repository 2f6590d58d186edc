"""From what is asked to what will be done: every decision that needs no model.

Reads the lists of styles, wildcards and files; loads nothing. What was asked stays unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import InpaintEngine, UpscaleVaryMethod
from fooocus_core.downloads import (
    CONTROL_FILES,
    SAFETY_CHECKER,
    UPSCALER,
    ModelFile,
    enhance_files,
    image_prompt_files,
    inpaint_files,
)
from fooocus_core.images.arrays import size_of
from fooocus_core.images.hole import Hole, find_hole
from fooocus_core.images.resize import check_croppable
from fooocus_core.images.sizes import WorkingSize, latent_grid_size, working_size
from fooocus_core.params import (
    CanvasParams,
    EnhanceRegion,
    GenerationParams,
    Lora,
    PromptParams,
    Size,
)
from fooocus_core.passes import asked_passes, asks_for_passes, paints_pictures, shows_guides
from fooocus_core.performance import MODES, PerformanceMode, apply_performance
from fooocus_core.prompt.compose import (
    ComposedPrompt,
    ComposedPrompts,
    LoraChoice,
    compose_prompts,
)
from fooocus_core.prompt.styles import StyleLibrary
from fooocus_core.prompt.wildcards import Wildcards

SEED_COUNT = 2**63

_UNPATCHED_FROM = 0.8
_NO_HOLE = (
    "The inpainting was left out: nothing of the mask is brighter than 127 and no side is to be "
    "extended."
)
_NOT_GUIDED = (
    "The image prompts were left out: a picture that is enlarged and not painted again cannot be "
    "guided."
)
_NOT_PAINTED = (
    "The picture is only enlarged, and not painted again: it becomes larger than 2800x2800 pixels."
)
_ONE_PICTURE = "One picture is made, not {count}: an enlarged picture that is not painted again."
_NOT_ENHANCED = (
    "The enhancement was left out: it works on painted pictures, and none is painted here."
)
_NO_PROMPTS = ComposedPrompts(pictures=(), loras=(), wants_expansion=False, warnings=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided about one generation.

    Attributes:
        params: The request with everything that its performance mode forces, without what does
            nothing, and with the prompts and the refiner switch of its inpainting.
        files: Needed beside the models, LoRAs and optional networks.
        size: Size of a blank start, in pixels; the latent grid floors it to a multiple of 8.
        working_size: What the picture to vary or enlarge is brought to; ``None`` = there is none.
        hole: What is filled or extended; ``None`` = nothing.
        control_size: Of the control pictures, in pixels.
        steps: Sampling steps per picture.
        switch_step: 0-based step after which a refiner takes over.
        needs_models: Whether anything is painted, or made ready for it; if not, there are no
            texts and LoRAs either.
        inpaint_patch: Merged into the base model's UNet, whose first layer then gets the inpaint
            head; ``None`` = neither.
        refines_itself: Whether the base model, without patch and head, is its own refiner.
        loras: All LoRAs in the order in which they are merged.
        pictures: Seed and texts of each picture.
        wants_expansion: Whether the prompt expansion continues each main prompt.
        passes: Made over each finished picture, in order.
        warnings: What was asked for and could not be had, one sentence each.
    """

    params: GenerationParams
    files: tuple[ModelFile, ...]
    size: Size
    working_size: WorkingSize | None
    hole: Hole | None
    control_size: Size
    steps: int
    switch_step: int
    needs_models: bool
    inpaint_patch: ModelFile | None
    refines_itself: bool
    loras: tuple[Lora, ...]
    pictures: tuple[ComposedPrompt, ...]
    wants_expansion: bool
    passes: tuple[EnhancePass, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancePass:
    """One pass over a finished picture, as far as it is decided without that.

    Attributes:
        region: What is found and painted; ``None`` = the whole picture is varied or enlarged.
        plan: Its texts, LoRAs and numbers; what depends on the picture is missing.
    """

    region: EnhanceRegion | None
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The lists that planning looks things up in."""

    styles: StyleLibrary
    wildcards: Wildcards
    catalog: Catalog
    max_loras: int


def make_plan(
    asked: GenerationParams, library: Library, check: Callable[[], None] = lambda: None
) -> Plan:
    """Decide sizes, steps, seeds, texts and LoRAs.

    Args:
        asked: What is asked for.
        library: Styles, wildcards and files.
        check: Called for each picture; what it raises ends the planning.

    Raises:
        InvalidInputError: A style, wildcard or weight cannot be used, or a picture is too small,
            too thin, or with its new sides too large.
    """
    params = apply_performance(_without_equal_refiner(_without_idle_work(asked)))
    hole = find_hole(params.inpaint) if params.inpaint else None
    params, left_out = _without_idle_parts(params, hole)
    working = _working_size(params)
    params, unguided = _without_idle_guides(params, working)
    control_size = _control_size(params, working, hole)
    patch = _inpaint_patch(params.inpaint.engine) if params.inpaint else None
    refines_itself = patch is not None and params.models.refiner is None
    params = _with_inpaint_settings(params, refines_itself=refines_itself)
    mode = MODES[params.sampling.performance]
    steps = _usual_steps(params, mode)
    needs_models = paints_pictures(params)
    composed = _compose(params, mode, library, check) if needs_models else _NO_PROMPTS
    params, unenhanced = _without_enhancing_nothing(params, working, needs_models=needs_models)
    passes = tuple(_passes(params, library, check))
    warnings = (*left_out, *unguided, *_shortened(params, working), *unenhanced, *composed.warnings)
    return Plan(
        params=params,
        files=_all_files(params, hole),
        size=params.canvas.final_size,
        working_size=working,
        hole=hole,
        control_size=control_size,
        steps=params.sampling.steps or steps,
        # The steps of the mode, not an overridden number: Fooocus computes it before overriding.
        switch_step=params.sampling.switch_step or round(steps * params.models.refiner_switch),
        needs_models=needs_models,
        inpaint_patch=patch,
        refines_itself=refines_itself,
        loras=(*composed.loras, *_mode_loras(mode)),
        pictures=composed.pictures,
        wants_expansion=composed.wants_expansion,
        passes=passes,
        # Once each: all read the same wildcards.
        warnings=tuple(
            dict.fromkeys((*warnings, *(text for one in passes for text in one.plan.warnings)))
        ),
    )


def picture_seeds(canvas: CanvasParams) -> list[int]:
    """Seed of each picture: counted up from the first one, within 0..2^63-1."""
    step = 0 if canvas.same_seed else 1
    return [(canvas.seed + index * step) % SEED_COUNT for index in range(canvas.count)]


def _without_equal_refiner(params: GenerationParams) -> GenerationParams:
    if params.models.refiner != params.models.base:
        return params
    return replace(params, models=replace(params.models, refiner=None))


def _without_idle_work(params: GenerationParams) -> GenerationParams:
    """Leave out an enhancement that does nothing, or the pictures that one replaces."""
    asked = params.enhance
    if asked is None or not asks_for_passes(asked):
        return replace(params, enhance=None)
    if asked.image is None:
        return params
    canvas = replace(params.canvas, count=1)
    return replace(params, canvas=canvas, upscale_vary=None, inpaint=None, image_prompts=())


def _without_idle_parts(
    params: GenerationParams, hole: Hole | None
) -> tuple[GenerationParams, tuple[str, ...]]:
    """Leave out what asks for nothing; also says what that was, if it should have had an effect."""
    asked = params.upscale_vary
    if asked is not None and asked.method is UpscaleVaryMethod.DISABLED:
        params = replace(params, upscale_vary=None)
    if params.inpaint is not None and hole is None:
        return replace(params, inpaint=None), (_NO_HOLE,)
    return params, ()


def _without_idle_guides(
    params: GenerationParams, working: WorkingSize | None
) -> tuple[GenerationParams, tuple[str, ...]]:
    """Leave out the image prompts that steer nothing; also says so, if they should have."""
    shows_mask = params.inpaint is not None and params.inpaint.show_mask
    acting = tuple(
        prompt
        for prompt in params.image_prompts
        if prompt.weight != 0.0 and prompt.stop > 0.0 and not shows_mask
    )
    if acting and working and working.is_final:
        return replace(params, image_prompts=()), (_NOT_GUIDED,)
    return replace(params, image_prompts=acting), ()


def _without_enhancing_nothing(
    params: GenerationParams, working: WorkingSize | None, *, needs_models: bool
) -> tuple[GenerationParams, tuple[str, ...]]:
    """Leave out an enhancement if no picture is painted for it; also says so."""
    is_painted = needs_models and not (working and working.is_final)
    if params.enhance is None or params.enhance.image is not None or is_painted:
        return params, ()
    return replace(params, enhance=None), (_NOT_ENHANCED,)


def _passes(
    params: GenerationParams, library: Library, check: Callable[[], None]
) -> Iterator[EnhancePass]:
    for asked in asked_passes(params):
        plan = make_plan(asked.params, library, check)
        patch = _inpaint_patch(asked.region.engine) if asked.region else None
        plan = replace(plan, steps=asked.steps, inpaint_patch=patch)
        yield EnhancePass(region=asked.region, plan=plan)


def _shortened(params: GenerationParams, working: WorkingSize | None) -> Iterator[str]:
    """What to say of a picture that is only enlarged."""
    if params.upscale_vary is None or working is None or not working.is_final:
        return
    if params.upscale_vary.method is not UpscaleVaryMethod.UPSCALE_FAST_2:
        yield _NOT_PAINTED
    if params.canvas.count > 1:
        yield _ONE_PICTURE.format(count=params.canvas.count)


def _control_size(params: GenerationParams, working: WorkingSize | None, hole: Hole | None) -> Size:
    """The size that is painted, unless that is blank: then the one that was asked for.

    Raises:
        InvalidInputError: A picture is too thin to become a control picture of that size.
    """
    size = params.canvas.final_size
    if hole is not None:
        size = latent_grid_size(hole.working_size)
    elif working is not None:
        size = latent_grid_size(working.size)
    for prompt in params.image_prompts:
        if prompt.kind in CONTROL_FILES:
            check_croppable(size_of(prompt.image), size)
    return size


def _inpaint_patch(engine: InpaintEngine) -> ModelFile | None:
    files = inpaint_files(engine)
    return files[-1] if files else None


def _with_inpaint_settings(params: GenerationParams, *, refines_itself: bool) -> GenerationParams:
    if params.inpaint is None:
        return params
    models = params.models
    if refines_itself:
        models = replace(models, refiner_switch=_UNPATCHED_FROM)
    prompt = _with_line(params.inpaint.prompt, params.prompt)
    return replace(params, prompt=prompt, models=models)


def _with_line(first: str, prompt: PromptParams) -> PromptParams:
    """Put a text above the prompt."""
    texts = [text for text in (first, prompt.positive) if text]
    return replace(prompt, positive="\n".join(texts))


def _usual_steps(params: GenerationParams, mode: PerformanceMode) -> int:
    asked = params.upscale_vary
    return mode.upscale_steps if asked and asked.method.enlarges else mode.steps


def _working_size(params: GenerationParams) -> WorkingSize | None:
    asked = params.upscale_vary
    if asked is None:
        return None
    return working_size(size_of(asked.image), asked.method, asked.factor)


def _all_files(params: GenerationParams, hole: Hole | None) -> tuple[ModelFile, ...]:
    later = enhance_files(params.enhance) if params.enhance else ()
    checker = (SAFETY_CHECKER,) if params.output.censor else ()
    return tuple(dict.fromkeys((*_needed_files(params, hole), *later, *checker)))


def _needed_files(params: GenerationParams, hole: Hole | None) -> tuple[ModelFile, ...]:
    guides = {
        file: None
        for prompt in params.image_prompts
        for file in image_prompt_files(prompt.kind, params.control)
    }
    if shows_guides(params):
        return tuple(guides)
    enlarges = params.upscale_vary is not None and params.upscale_vary.method.enlarges
    is_small = hole is not None and hole.region.is_small
    upscaler = (UPSCALER,) if enlarges or is_small else ()
    if params.inpaint is None or params.inpaint.show_mask:
        return (*upscaler, *guides)
    return (*upscaler, *inpaint_files(params.inpaint.engine), *guides)


def _compose(
    params: GenerationParams,
    mode: PerformanceMode,
    library: Library,
    check: Callable[[], None],
) -> ComposedPrompts:
    return compose_prompts(
        params.prompt,
        seeds=picture_seeds(params.canvas),
        loras=LoraChoice(
            given=params.models.loras,
            files=tuple(_files_without(library.catalog, _mode_loras(mode))),
            limit=library.max_loras,
        ),
        styles=library.styles,
        wildcards=library.wildcards,
        check=check,
    )


def _mode_loras(mode: PerformanceMode) -> tuple[Lora, ...]:
    return (mode.lora,) if mode.lora else ()


def _files_without(catalog: Catalog, loras: Sequence[Lora]) -> list[str]:
    taken = {lora.name for lora in loras}
    return [name for name in catalog.names(ModelKind.LORA) if name not in taken]
