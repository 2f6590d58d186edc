"""How a picture was made, as the record that goes into its file."""

from __future__ import annotations

from fooocus_core.catalog import ModelKind
from fooocus_core.events import ImageRecord
from fooocus_core.metadata.fields import RunRecord, UsedLora, UsedModel
from fooocus_core.metadata.image_record import make_image_record
from fooocus_core.params import OutputParams, Size
from fooocus_core.plan import Plan
from fooocus_core.workflows.prompts import EncodedPrompt
from fooocus_core.workflows.resources import Resources

_ENLARGING = ("Upscale (Fast)", "upscale_fast", "2x")


def describe_enlarging(output: OutputParams) -> ImageRecord | None:
    """The record of a picture that was only enlarged, or ``None`` if none was asked for."""
    if output.metadata is None:
        return None
    return ImageRecord(scheme=output.metadata, text=None, rows=(_ENLARGING,))


def describe_picture(
    plan: Plan, size: Size, prompt: EncodedPrompt, resources: Resources
) -> ImageRecord | None:
    """The record of one picture of a plan and of this size, or ``None`` if none was asked for."""
    params = plan.params
    if params.output.metadata is None:
        return None
    models, composed, defaults = params.models, prompt.composed, resources.config.defaults
    return make_image_record(
        RunRecord(
            prompt=composed.log_positive,
            negative_prompt=composed.log_negative,
            full_prompt=prompt.positive_texts,
            full_negative_prompt=composed.negative,
            expansion=prompt.expansion,
            styles=composed.styles,
            performance=params.sampling.performance,
            steps=plan.steps,
            size=size,
            guidance=params.guidance,
            default_adaptive_scale=defaults.adaptive_scale,
            base=_used(models.base, resources),
            refiner=_used(models.refiner, resources) if models.refiner else None,
            refiner_switch=models.refiner_switch,
            refiner_swap=models.refiner_swap,
            switch_step=params.sampling.switch_step,
            clip_skip=models.clip_skip,
            sampler=params.sampling.sampler,
            scheduler=params.sampling.scheduler,
            vae=models.vae,
            seed=composed.seed,
            freeu=params.freeu,
            loras=tuple(
                UsedLora(
                    name=lora.name,
                    hash=resources.short_hash(ModelKind.LORA, lora.name),
                    weight=lora.weight,
                )
                for lora in plan.loras
            ),
            scheme=params.output.metadata,
            created_by=defaults.created_by,
        )
    )


def _used(name: str, resources: Resources) -> UsedModel:
    return UsedModel(name=name, hash=resources.short_hash(ModelKind.CHECKPOINT, name))
