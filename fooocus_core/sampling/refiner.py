"""Base and refiner share a run: which model makes which steps, and how one takes over.

Knows models only as denoisers; files, prompts and pictures are handed in or stay outside.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.choices import RefinerSwap
from fooocus_core.loading.checkpoint import CheckpointKind
from fooocus_core.loading.memory import memory_errors
from fooocus_core.sampling.noise import SeededNoise
from fooocus_core.sampling.noise_levels import NoiseModel
from fooocus_core.sampling.run import Leg, SamplingRun, Turn, make_leg, sample, walk
from fooocus_core.sampling.samplers.base import Denoiser
from fooocus_core.sampling.schedules import swap_sigmas
from fooocus_core.text.encoder import TextConditioning

# A refiner with a VAE of its own takes over only if there is little of a start picture to keep.
_MOSTLY_NOISE = 0.9
_REST_EXPONENT = 0.834


class Model(StrEnum):
    """One of the two models of a run."""

    BASE = "base"
    REFINER = "refiner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who makes the steps of a picture.

    Attributes:
        first: The model that begins; its VAE encodes what is started from.
        last: The model that ends, maybe the same; its VAE decodes.
        swap: How ``last`` takes over from ``first``; a model takes over from itself unnoticed in
            ``JOINT``.
    """

    first: Model
    last: Model
    swap: RefinerSwap


def choose_route(
    refiner: CheckpointKind | None,
    asked: RefinerSwap,
    *,
    denoise: float,
    steps: int,
    switch_step: int,
) -> Route:
    """Decide who makes the steps of a picture.

    A refiner that keeps its VAE (SD 1.5) decides by how much of the start is kept; others, and
    the base if it refines itself, do as asked.

    Args:
        refiner: Its kind; ``None`` = there is none.
        asked: Used unless the refiner decides.
        denoise: Share of the schedule that is walked.
        steps: Of the whole run.
        switch_step: 0-based step before which (``JOINT``: after which) the refiner takes over.

    Source:
        lllyasviel/Fooocus 2.5.5, its choice of models by denoising strength.
    """
    if refiner is not CheckpointKind.SD15:
        last = Model.REFINER if refiner else Model.BASE
        return Route(first=Model.BASE, last=last, swap=asked)
    if denoise > _MOSTLY_NOISE:
        return Route(first=Model.BASE, last=Model.REFINER, swap=RefinerSwap.VAE)
    rest = max(steps - switch_step, 0) / steps
    alone = Model.BASE if denoise > rest**_REST_EXPONENT else Model.REFINER
    return Route(first=alone, last=alone, swap=RefinerSwap.JOINT)


def refiner_conditioning(
    base: TextConditioning, refiner: CheckpointKind, final_norm: nn.LayerNorm
) -> TextConditioning:
    """Take from a base model's conditioning what a refiner understands.

    Args:
        base: Of the base model: states of CLIP-L, then of CLIP-G; without their final norms.
        refiner: Kind of the refiner.
        final_norm: Of the base's CLIP-L.

    Returns:
        An SDXL base model gets ``base``, an SDXL refiner the states of CLIP-G and the pooled
        vector, an SD 1.5 model the normed states of CLIP-L and a pooled vector of width 0; float32
        on the CPU.
    """
    clip_l_width = final_norm.weight.numel()
    match refiner:
        case CheckpointKind.SDXL:
            return base
        case CheckpointKind.SDXL_REFINER:
            return replace(base, embeddings=base.embeddings[..., clip_l_width:])
        case CheckpointKind.SD15:
            normed = functional.layer_norm(
                base.embeddings[..., :clip_l_width],
                final_norm.normalized_shape,
                final_norm.weight.to("cpu", torch.float32),
                final_norm.bias.to("cpu", torch.float32),
                final_norm.eps,
            )
            return TextConditioning(embeddings=normed, pooled=base.pooled[:, :0])


def unchanged(latent: Tensor) -> Tensor:
    """Carry a latent over between models that share a VAE."""
    return latent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relay:
    """Two models that share the run of one picture.

    Attributes:
        first, last: The models; the same object twice if one makes all steps.
        swap: How ``last`` takes over.
        switch_step: 0-based step that ``last`` begins with (``JOINT``: the one before).
        is_sd15: Whether ``last`` is an SD 1.5 model.
        convert: Carries a latent over from the VAE of ``first`` to that of ``last``.
    """

    first: Turn
    last: Turn
    swap: RefinerSwap
    switch_step: int
    is_sd15: bool = False
    convert: Callable[[Tensor], Tensor] = unchanged

    def sample(self, run: SamplingRun, latent: Tensor, noise: SeededNoise) -> Tensor:
        """Sample a latent from its seed's noise.

        Args:
            run: Algorithm, schedule, number of steps.
            latent: As the VAE of ``first`` makes it, (1, 4, h, w) float32; zeros for a blank start.
            noise: Of the picture's seed, not used before.

        Returns:
            Finished latent for the VAE of ``last``, (1, 4, h, w) float32 on the CPU.

        Raises:
            DeviceMemoryError: The device ran out of memory.
        """
        match self.swap:
            case RefinerSwap.JOINT:
                return self._sample_jointly(run, latent, noise)
            case RefinerSwap.SEPARATE:
                return self._sample_separately(run, latent, noise)
            case RefinerSwap.VAE:
                return self._sample_with_vae_swap(run, latent, noise)

    def _sample_jointly(self, run: SamplingRun, latent: Tensor, noise: SeededNoise) -> Tensor:
        """One run; the model is exchanged within step ``switch_step``, after its first estimate."""
        if self.last is self.first:
            return sample(run, self.first, latent, noise)
        with ExitStack() as attached:
            attached.enter_context(self.first.attached())
            baton = _Baton(self.first.denoiser)

            def report(step: int, steps: int, denoised: Tensor) -> None:
                self.first.on_step(step, steps, denoised)
                if step == self.switch_step:
                    attached.close()
                    attached.enter_context(self.last.attached())
                    baton.holder = self.last.denoiser

            both = Turn(
                denoiser=baton,
                format=self.first.format,
                on_step=report,
                known=self.first.known,
            )
            return sample(run, both, latent, noise)

    def _sample_separately(self, run: SamplingRun, latent: Tensor, noise: SeededNoise) -> Tensor:
        """Two runs; the second goes on from the noisy latent that the first ended with."""
        begin = make_leg(run, self.first.denoiser.noise_model.levels, last_step=self.switch_step)
        start = noise.start()
        halfway = walk(begin, self.first, latent, start, noise)
        end = make_leg(run, self.last.denoiser.noise_model.levels, first_step=self.switch_step)
        return walk(end, self.last, halfway, torch.zeros_like(start), noise)

    def _sample_with_vae_swap(self, run: SamplingRun, latent: Tensor, noise: SeededNoise) -> Tensor:
        """Two runs; the first is finished early, the second starts from new noise on top of it."""
        recorder = _NoiseRecorder(self.first.denoiser)
        levels = recorder.noise_model.levels
        begin = make_leg(run, levels, last_step=self.switch_step, to_zero=True)
        recorded = replace(self.first, denoiser=recorder)
        early = walk(begin, recorded, latent, noise.start(), noise)
        with memory_errors("carrying the latent over to the refiner"):
            early = self.convert(early)
        end = Leg(
            sampler=run.sampler,
            sigmas=swap_sigmas(
                run.scheduler,
                run.steps,
                first_step=self.switch_step,
                sampler=run.sampler,
                is_sd15=self.is_sd15,
                denoise=run.denoise,
            ),
            first_step=self.switch_step,
            steps=run.steps,
        )
        noise.reseed()
        start = noise.start()
        start = start + recorder.mean - _mean_over_channels(start)
        return walk(end, self.last, early, start, noise)


class _Baton:
    """The denoiser of the model whose turn it is."""

    def __init__(self, holder: Denoiser) -> None:
        self.holder = holder
        # The schedule of the whole run is that of the model that begins.
        self.noise_model: NoiseModel = holder.noise_model

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.holder(x, sigma)


class _NoiseRecorder:
    """A denoiser that remembers the noise it last found, as a mean over the channels."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.noise_model: NoiseModel = denoiser.noise_model
        self.mean = torch.tensor(0.0)  # while no noise has been found
        self._denoiser = denoiser

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        denoised = self._denoiser(x, sigma)
        self.mean = _mean_over_channels((x - denoised) / sigma)
        return denoised


def _mean_over_channels(latent: Tensor) -> Tensor:
    return latent.mean(dim=1, keepdim=True)
