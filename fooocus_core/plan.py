"""From what is asked to what will be done: every decision that needs no model.

Reads the lists of styles, wildcards and files; loads nothing. What was asked stays unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.downloads import (
    CONTROL_FILES,
    UPSCALER,
    ModelFile,
    image_prompt_files,
    inpaint_files,
)
from fooocus_core.images.arrays import size_of
from fooocus_core.images.hole import Hole, find_hole
from fooocus_core.images.resize import check_croppable
from fooocus_core.images.sizes import WorkingSize, latent_grid_size, working_size
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    Lora,
    PromptParams,
    Size,
)
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
_NO_PROMPTS = ComposedPrompts(pictures=(), loras=(), wants_expansion=False, warnings=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided about one generation.

    Attributes:
        params: The request with everything that its performance mode forces, without what does
            nothing, and with the prompts and the refiner switch of its inpainting.
        files: Needed beside the models and LoRAs.
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
    warnings: tuple[str, ...]


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
    params = apply_performance(_without_equal_refiner(asked))
    hole = find_hole(params.inpaint) if params.inpaint else None
    params, left_out = _without_idle_parts(params, hole)
    working = _working_size(params)
    params, unguided = _without_idle_guides(params, working)
    control_size = _control_size(params, working, hole)
    patch = _inpaint_patch(params)
    refines_itself = patch is not None and params.models.refiner is None
    params = _with_inpaint_settings(params, refines_itself=refines_itself)
    mode = MODES[params.sampling.performance]
    steps = _usual_steps(params, mode)
    needs_models = _needs_models(params)
    composed = _compose(params, mode, library, check) if needs_models else _NO_PROMPTS
    return Plan(
        params=params,
        files=_needed_files(params),
        size=_final_size(params.canvas),
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
        warnings=(*left_out, *unguided, *composed.warnings),
    )


def picture_seeds(canvas: CanvasParams) -> list[int]:
    """Seed of each picture: counted up from the first one, within 0..2^63-1."""
    step = 0 if canvas.same_seed else 1
    return [(canvas.seed + index * step) % SEED_COUNT for index in range(canvas.count)]


def _without_equal_refiner(params: GenerationParams) -> GenerationParams:
    if params.models.refiner != params.models.base:
        return params
    return replace(params, models=replace(params.models, refiner=None))


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


def _control_size(params: GenerationParams, working: WorkingSize | None, hole: Hole | None) -> Size:
    """The size that is painted, unless that is blank: then the one that was asked for.

    Raises:
        InvalidInputError: A picture is too thin to become a control picture of that size.
    """
    size = _final_size(params.canvas)
    if hole is not None:
        size = latent_grid_size(hole.working_size)
    elif working is not None:
        size = latent_grid_size(working.size)
    for prompt in params.image_prompts:
        if prompt.kind in CONTROL_FILES:
            check_croppable(size_of(prompt.image), size)
    return size


def _inpaint_patch(params: GenerationParams) -> ModelFile | None:
    files = inpaint_files(params.inpaint.engine) if params.inpaint else ()
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


def _needs_models(params: GenerationParams) -> bool:
    if params.upscale_vary and params.upscale_vary.method is UpscaleVaryMethod.UPSCALE_FAST_2:
        return False
    if params.inpaint and params.inpaint.show_mask:
        return False
    return not _shows_guides(params)


def _shows_guides(params: GenerationParams) -> bool:
    return bool(params.image_prompts) and params.control.show_preprocessing


def _working_size(params: GenerationParams) -> WorkingSize | None:
    asked = params.upscale_vary
    if asked is None:
        return None
    return working_size(size_of(asked.image), asked.method, asked.factor)


def _needed_files(params: GenerationParams) -> tuple[ModelFile, ...]:
    guides = {
        file: None
        for prompt in params.image_prompts
        for file in image_prompt_files(prompt.kind, params.control)
    }
    if _shows_guides(params):
        return tuple(guides)
    upscaler = (UPSCALER,) if params.upscale_vary and params.upscale_vary.method.enlarges else ()
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


def _final_size(canvas: CanvasParams) -> Size:
    return Size(
        canvas.forced_width or canvas.size.width, canvas.forced_height or canvas.size.height
    )
