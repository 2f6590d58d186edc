"""From what is asked to what will be done: every decision that needs no model.

Reads the lists of styles, wildcards and files; loads nothing. What was asked stays unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fooocus_core.catalog import Catalog, ModelKind
from fooocus_core.params import CanvasParams, GenerationParams, Lora, Size
from fooocus_core.performance import MODES, apply_performance
from fooocus_core.prompt.compose import ComposedPrompt, LoraChoice, compose_prompts
from fooocus_core.prompt.styles import StyleLibrary
from fooocus_core.prompt.wildcards import Wildcards

SEED_COUNT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided about one generation.

    Attributes:
        params: The request with everything that its performance mode forces.
        size: Size of the pictures, in pixels; the latent grid floors it to a multiple of 8.
        steps: Sampling steps per picture.
        switch_step: 0-based step after which a refiner takes over.
        loras: All LoRAs in the order in which they are merged.
        pictures: Seed and texts of each picture.
        wants_expansion: Whether the prompt expansion continues each main prompt.
        warnings: What was asked for and could not be had, one sentence each.
    """

    params: GenerationParams
    size: Size
    steps: int
    switch_step: int
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
        InvalidInputError: A style, wildcard or weight cannot be used.
    """
    params = apply_performance(_without_equal_refiner(asked))
    mode = MODES[params.sampling.performance]
    mode_lora = (mode.lora,) if mode.lora else ()
    composed = compose_prompts(
        params.prompt,
        seeds=picture_seeds(params.canvas),
        loras=LoraChoice(
            given=params.models.loras,
            files=tuple(_files_without(library.catalog, mode_lora)),
            limit=library.max_loras,
        ),
        styles=library.styles,
        wildcards=library.wildcards,
        check=check,
    )
    return Plan(
        params=params,
        size=_final_size(params.canvas),
        steps=params.sampling.steps or mode.steps,
        # The step counts of the mode, not an overridden one: Fooocus computes it before overriding.
        switch_step=params.sampling.switch_step or round(mode.steps * params.models.refiner_switch),
        loras=(*composed.loras, *mode_lora),
        pictures=composed.pictures,
        wants_expansion=composed.wants_expansion,
        warnings=composed.warnings,
    )


def picture_seeds(canvas: CanvasParams) -> list[int]:
    """Seed of each picture: counted up from the first one, within 0..2^63-1."""
    step = 0 if canvas.same_seed else 1
    return [(canvas.seed + index * step) % SEED_COUNT for index in range(canvas.count)]


def _without_equal_refiner(params: GenerationParams) -> GenerationParams:
    if params.models.refiner != params.models.base:
        return params
    return replace(params, models=replace(params.models, refiner=None))


def _files_without(catalog: Catalog, loras: Sequence[Lora]) -> list[str]:
    taken = {lora.name for lora in loras}
    return [name for name in catalog.names(ModelKind.LORA) if name not in taken]


def _final_size(canvas: CanvasParams) -> Size:
    return Size(
        canvas.forced_width or canvas.size.width, canvas.forced_height or canvas.size.height
    )
