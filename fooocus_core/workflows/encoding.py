"""Pictures become latents: which model's VAE encodes, and with which noise."""

from __future__ import annotations

import torch
from torch import Tensor

from fooocus_core.loading.checkpoint import CheckpointKind
from fooocus_core.loading.store import Models
from fooocus_core.params import Size
from fooocus_core.plan import Plan
from fooocus_core.sampling.refiner import Model, Route, choose_route
from fooocus_core.vae.codec import PIXELS_PER_LATENT, encode
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources

_SEED_RANGE = 2**32


class PictureEncoder:
    """Encodes the pictures of one generation, one after the other.

    The order of the calls is part of the result: all draw from one stream of noise, seeded with the
    seed of the last picture.
    """

    def __init__(
        self, plan: Plan, models: Models, resources: Resources, reporter: Reporter
    ) -> None:
        """Start the stream of noise; the plan has pictures."""
        self._plan = plan
        self._models = models
        self._resources = resources
        self._reporter = reporter
        self._random = torch.Generator().manual_seed(plan.pictures[-1].seed % _SEED_RANGE)

    def route(self, denoise: float) -> Route:
        """Who makes the steps if this share of the schedule is walked."""
        return plan_route(self._plan, self._models, denoise)

    def has_vae(self, model: Model) -> bool:
        """Whether a model has latents of its own: all but refiners that work on the base's."""
        refiner = self._models.refiner
        return model is Model.BASE or (refiner is not None and refiner.vae is not None)

    def encode(
        self, pixels: Tensor, model: Model, *, crop: bool = True, tiled: bool = False
    ) -> Tensor:
        """Encode a picture for a model.

        Args:
            pixels, crop, tiled: As for :func:`fooocus_core.vae.codec.encode`.
            model: One without latents of its own gets those of the base model.

        Returns:
            (1, 4, H // 8, W // 8) float32 on the CPU, the VAE's scale.

        Raises:
            RunCancelled: The run was asked to stop.
            NotFiniteError: The latent has values that are not finite.
            DeviceMemoryError: The device has not enough memory.
        """
        refiner = self._models.refiner
        vae = self._models.base.vae
        if model is Model.REFINER and refiner is not None and refiner.vae is not None:
            vae = refiner.vae
        self._resources.models.bring_vae(vae)
        return encode(
            vae,
            pixels,
            generator=self._random,
            warn=self._reporter.warn,
            check=self._reporter.check_cancelled,
            crop=crop,
            tiled=tiled,
        )


def plan_route(plan: Plan, models: Models, denoise: float) -> Route:
    """Who makes the steps of a plan's pictures if this share of the schedule is walked."""
    kind = models.refiner.kind if models.refiner else None
    return choose_route(
        CheckpointKind.SDXL if plan.refines_itself else kind,
        plan.params.models.refiner_swap,
        denoise=denoise,
        steps=plan.steps,
        switch_step=plan.switch_step,
    )


def latent_size(latent: Tensor) -> Size:
    """Size in pixels of the picture that a latent, (1, 4, h, w), is decoded to."""
    height, width = latent.shape[-2:]
    return Size(width * PIXELS_PER_LATENT, height * PIXELS_PER_LATENT)
