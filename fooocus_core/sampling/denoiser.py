"""One denoising call: a noisy latent and its level become an estimate of the clean latent.

Knows the UNet and what it is fed; knows neither samplers nor where the inputs come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fooocus_core.params import GuidanceParams
from fooocus_core.sampling.guidance import adaptive_guidance
from fooocus_core.sampling.noise_levels import TRAINED_LEVELS, NoiseModel
from fooocus_core.sampling.sharpness import soften
from fooocus_core.unet.controlnet import Control, control_residuals
from fooocus_core.unet.image_attention import ImagePrompts
from fooocus_core.unet.size_conditioning import PromptSide

MAX_REPEATS = 4


class Conditioning(Protocol):
    """What a prompt became."""

    @property
    def embeddings(self) -> Tensor:
        """Token embeddings, (1, 77 n, d)."""

    @property
    def pooled(self) -> Tensor:
        """Vector of the whole prompt, (1, P)."""


class SizeSource(Protocol):
    """Gives the numbers that a UNet is told about the picture's size."""

    def time_ids(self, side: PromptSide, timestep: float) -> tuple[float, ...]:
        """The numbers for one row of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    """The prompts of one UNet call; row i of the tensors belongs to ``sides[i]``."""

    sides: tuple[PromptSide, ...]
    embeddings: Tensor
    pooled: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guides:
    """The pictures that steer a run beside its prompts.

    Attributes:
        controls: Control pictures, in the order in which their residuals are summed; their networks
            are where the UNet is.
        image_prompts: Attached to the UNet by whoever runs the denoiser; ``None`` = there are none.
    """

    controls: Sequence[Control] = ()
    image_prompts: ImagePrompts | None = None


NO_GUIDES = Guides()


class GuidedDenoiser:
    """A UNet guided by a positive and a negative prompt.

    Attributes:
        noise_model: What the UNet was trained on.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        positive: Conditioning,
        negative: Conditioning,
        *,
        guidance: GuidanceParams,
        size: SizeSource,
        noise_model: NoiseModel,
        max_repeats: int = MAX_REPEATS,
        guides: Guides = NO_GUIDES,
    ) -> None:
        """Lay out the prompts for the UNet.

        Args:
            unet: In any dtype; everything outside of it stays float32.
            positive: What to draw.
            negative: What to avoid; not used at guidance scale 1.
            guidance: Scales and sharpness. Its size scales are those of ``size``.
            size: Sizes that the UNet is told.
            noise_model: What the UNet was trained on.
            max_repeats: How often the shorter prompt may be repeated to run both in one call; 1
                runs prompts of different lengths one by one.
            guides: Pictures that steer beside the prompts.
        """
        self.noise_model = noise_model
        self._unet: Any = unet  # diffusers hides its call, dtype and device from type checkers
        self._guidance = guidance
        self._size = size
        self._guides = guides
        is_guided = not math.isclose(guidance.scale, 1.0)
        self._batches = _lay_out(positive, negative, is_guided=is_guided, max_repeats=max_repeats)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Estimate the clean latent.

        Args:
            x: Latent with noise, (1, 4, h, w) float32, on the UNet's device.
            sigma: Its level, ().

        Returns:
            (1, 4, h, w) float32.
        """
        timestep = self.noise_model.levels.timestep(sigma)
        scaled = self.noise_model.scale_input(x, sigma).to(self._unet.dtype)
        levels = self.noise_model.levels
        active = [control for control in self._guides.controls if control.is_active(sigma, levels)]
        outputs = {
            side: output
            for batch in self._batches
            for side, output in self._predict(batch, scaled, timestep, active).items()
        }
        denoised = {
            side: self.noise_model.denoised(x, output, sigma) for side, output in outputs.items()
        }
        progress = progress_at(timestep, self._unet.dtype)
        return guided_estimate(x, denoised, self._guidance, progress)

    def _predict(
        self, batch: _Batch, x: Tensor, timestep: Tensor, controls: Sequence[Control]
    ) -> dict[PromptSide, Tensor]:
        sizes = [self._size.time_ids(side, float(timestep)) for side in batch.sides]
        rows = len(batch.sides)
        # Contiguous, because torch's group norm on a CPU is inexact on channels-last memory.
        latents = x.expand(rows, -1, -1, -1).contiguous(), timestep.expand(rows)
        prompts: dict[str, Any] = {
            "encoder_hidden_states": batch.embeddings.to(x),
            "added_cond_kwargs": {
                "text_embeds": batch.pooled.to(x),
                "time_ids": torch.tensor(sizes, dtype=torch.float32, device=x.device),
            },
        }
        if self._guides.image_prompts is not None:
            progress = progress_at(timestep, x.dtype)
            self._guides.image_prompts.begin_call(batch.sides, progress)
        residuals = control_residuals(controls, *latents, **prompts)
        output: Tensor = self._unet(*latents, **prompts, **residuals, return_dict=False)[0]
        return {side: output[row : row + 1].float() for row, side in enumerate(batch.sides)}


def progress_at(timestep: Tensor, dtype: torch.dtype) -> float:
    """How far a run is, 0.0 at the noisiest timestep, 1.0 at the last.

    Computed in the UNet's ``dtype``, because the reference reads it back from there: float16 rounds
    it visibly.
    """
    return float(1 - timestep.to(dtype) / (TRAINED_LEVELS - 1))


def guided_estimate(
    x: Tensor, denoised: dict[PromptSide, Tensor], guidance: GuidanceParams, progress: float
) -> Tensor:
    """Combine the estimates of both prompts.

    Works on noise predictions ``x - denoised``, not divided by the level: the positive one is
    softened, then both are combined.

    Args:
        x: Latent with noise, (1, 4, h, w) float32.
        denoised: Estimate per prompt, each like ``x``; a lone positive one is the result as is.
        guidance: Scales and sharpness.
        progress: 0.0 at the first timestep, 1.0 at the last.

    Returns:
        (1, 4, h, w) float32.

    Source:
        lllyasviel/Fooocus, modules/patch.py.
    """
    positive = denoised[PromptSide.POSITIVE]
    negative = denoised.get(PromptSide.NEGATIVE)
    if negative is None:
        return positive
    softened = soften(x - positive, positive, sharpness=guidance.sharpness, progress=progress)
    combined = adaptive_guidance(
        softened,
        x - negative,
        scale=guidance.scale,
        adaptive_scale=guidance.adaptive_scale,
        progress=progress,
    )
    return x - combined


def _lay_out(
    positive: Conditioning, negative: Conditioning, *, is_guided: bool, max_repeats: int
) -> list[_Batch]:
    """One call for both prompts, negative first, if their lengths can be made equal cheaply."""
    alone = _Batch(
        sides=(PromptSide.POSITIVE,), embeddings=positive.embeddings, pooled=positive.pooled
    )
    if not is_guided:
        return [alone]
    lengths = positive.embeddings.shape[1], negative.embeddings.shape[1]
    common = math.lcm(*lengths)
    if common > max_repeats * min(lengths):
        other = _Batch(
            sides=(PromptSide.NEGATIVE,), embeddings=negative.embeddings, pooled=negative.pooled
        )
        return [alone, other]
    # Repeating all tokens leaves attention as it was, up to rounding.
    pair = [
        side.embeddings.repeat(1, common // side.embeddings.shape[1], 1)
        for side in (negative, positive)
    ]
    return [
        _Batch(
            sides=(PromptSide.NEGATIVE, PromptSide.POSITIVE),
            embeddings=torch.cat(pair),
            pooled=torch.cat([negative.pooled, positive.pooled]),
        )
    ]
