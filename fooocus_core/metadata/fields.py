"""The record of one picture as ordered rows, and as the text that goes into its file.

Knows nothing of plans, models and files; whoever runs a plan fills in a :class:`RunRecord`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from fooocus_core.choices import (
    DEFAULT_VAE,
    EXPANSION_STYLE,
    MetadataScheme,
    Performance,
    RefinerSwap,
    Sampler,
    Scheduler,
)
from fooocus_core.params import FreeUParams, GuidanceParams, Size

VERSION = "Fooocus v2.5.5"
NONE = "None"

Row = tuple[str, str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedModel:
    """A model file by its catalog name, and the short hash of its content."""

    name: str
    hash: str

    @property
    def stem(self) -> str:
        """The file's name without folder and last extension."""
        return PurePosixPath(self.name).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedLora(UsedModel):
    """A LoRA file and its weight."""

    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """How one picture was made.

    Attributes:
        prompt, negative_prompt: The prompts as filled in, line by line.
        full_prompt, full_negative_prompt: The texts that were encoded, expansion included.
        expansion: Text of the prompt expansion; ``None`` = it did not run.
        styles: Styles used, without the expansion.
        steps: Steps of the run, whatever decided on them.
        guidance: What was used, i.e. what the performance mode forces.
        default_adaptive_scale: The configured one; an equal scale is not mentioned.
        switch_step: The refiner step asked for, if one was.
        vae: Catalog name; ``None`` = the VAE of the base checkpoint.
        seed: Seed of this picture.
        loras: In the order in which they were applied, the performance mode's included.
        created_by: Mentioned unless empty.
    """

    prompt: str
    negative_prompt: str
    full_prompt: tuple[str, ...]
    full_negative_prompt: tuple[str, ...]
    expansion: str | None
    styles: tuple[str, ...]
    performance: Performance
    steps: int
    size: Size
    guidance: GuidanceParams
    default_adaptive_scale: float
    base: UsedModel
    refiner: UsedModel | None
    refiner_switch: float
    refiner_swap: RefinerSwap
    switch_step: int | None
    clip_skip: int
    sampler: Sampler
    scheduler: Scheduler
    vae: str | None
    seed: int
    freeu: FreeUParams | None
    loras: tuple[UsedLora, ...]
    scheme: MetadataScheme
    created_by: str = ""


def make_rows(record: RunRecord) -> tuple[Row, ...]:
    """The record as (label, key, value) rows, in the order of the reference.

    Values are texts and numbers, and tuples of numbers as text. Absent: what says nothing beyond
    a default, such as a clip skip of 1.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/async_worker.py.
    """
    return (*_prompt_rows(record), *_model_rows(record), *_sampling_rows(record))


def _prompt_rows(record: RunRecord) -> Iterator[Row]:
    ran = (EXPANSION_STYLE,) if record.expansion is not None else ()
    scales = (
        record.guidance.size_scale_positive,
        record.guidance.size_scale_negative,
        record.guidance.size_scale_end,
    )
    yield "Prompt", "prompt", record.prompt
    yield "Negative Prompt", "negative_prompt", record.negative_prompt
    yield "Fooocus V2 Expansion", "prompt_expansion", record.expansion or ""
    yield "Styles", "styles", str([*ran, *record.styles])
    yield "Performance", "performance", record.performance.value
    yield "Steps", "steps", record.steps
    yield "Resolution", "resolution", str((record.size.width, record.size.height))
    yield "Guidance Scale", "guidance_scale", float(record.guidance.scale)
    yield "Sharpness", "sharpness", float(record.guidance.sharpness)
    yield "ADM Guidance", "adm_guidance", str(tuple(map(float, scales)))


def _model_rows(record: RunRecord) -> Iterator[Row]:
    yield "Base Model", "base_model", record.base.name
    yield "Refiner Model", "refiner_model", record.refiner.name if record.refiner else NONE
    yield "Refiner Switch", "refiner_switch", float(record.refiner_switch)
    if record.refiner and record.switch_step is not None:
        yield "Overwrite Switch", "overwrite_switch", record.switch_step
    if record.refiner and record.refiner_swap is not RefinerSwap.JOINT:
        yield "Refiner Swap Method", "refiner_swap_method", record.refiner_swap.value


def _sampling_rows(record: RunRecord) -> Iterator[Row]:
    if record.guidance.adaptive_scale != record.default_adaptive_scale:
        yield "CFG Mimicking from TSNR", "adaptive_cfg", float(record.guidance.adaptive_scale)
    if record.clip_skip > 1:
        yield "CLIP Skip", "clip_skip", record.clip_skip
    yield "Sampler", "sampler", record.sampler.value
    yield "Scheduler", "scheduler", record.scheduler.value
    yield "VAE", "vae", record.vae or DEFAULT_VAE
    yield "Seed", "seed", str(record.seed)
    if record.freeu:
        scales = (record.freeu.b1, record.freeu.b2, record.freeu.s1, record.freeu.s2)
        yield "FreeU", "freeu", str(tuple(map(float, scales)))
    for number, lora in enumerate(record.loras, start=1):
        yield f"LoRA {number}", f"lora_combined_{number}", f"{lora.name} : {float(lora.weight)}"
    yield "Metadata Scheme", "metadata_scheme", record.scheme.value
    yield "Version", "version", VERSION
