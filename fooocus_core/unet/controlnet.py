"""Control nets: what they add to a UNet's skip connections and middle block, and for how long.

Knows neither what a control picture shows nor where the networks come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor
from torch.nn import functional

from fooocus_core.params import Image
from fooocus_core.vae.codec import PIXELS_PER_LATENT, to_pixels


class StopLevels(Protocol):
    """Tells the noise level at a share of a run."""

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the run, 0.0 = before the first level, 1.0 = clean."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Control:
    """A network that reads a control picture, and how much that counts.

    Attributes:
        network: Made for the UNet that it controls, as that is now.
        hint: The control picture, (1, 3, 8 h, 8 w) float32, 0.0 to 1.0, for latents of (h, w); from
            :func:`make_hint`.
        weight: Factor on everything it adds; at 0.0 it is not asked.
        stop: Share of the run during which it acts, from the start; at 0.0 it never does, from 1.0
            on always.
        softness: How much less its shallow residuals count, 0.0 to 1.0; see
            :func:`soften_residuals`.
    """

    network: ControlNetModel
    hint: Tensor
    weight: float
    stop: float
    softness: float

    def is_active(self, sigma: Tensor, levels: StopLevels) -> bool:
        """Whether it acts at a noise level ``sigma``, () float32."""
        return self.weight != 0.0 and float(sigma) >= levels.percent_to_sigma(self.stop)

    def residuals(self, sample: Tensor, timestep: Tensor, **inputs: Any) -> list[Tensor]:
        """What it adds, given what the UNet is given: to each skip connection, then to the middle.

        The hint is read once for all rows of the batch.
        """
        skips, middle = self.network(
            sample,
            timestep,
            controlnet_cond=self.hint.to(sample),
            return_dict=False,
            **inputs,
        )
        softened = soften_residuals([*skips, middle], self.softness)
        return [residual * self.weight for residual in softened]


def make_hint(picture: Image, latent_height: int, latent_width: int) -> Tensor:
    """Make what a control net reads of a control picture.

    A picture that is not eight times as large as the latent is cropped at its centre to the
    latent's shape and resized, each pixel becoming the nearest one.

    Args:
        picture: uint8 (H, W, 3).
        latent_height, latent_width: Of the latent that is controlled.

    Returns:
        (1, 3, 8 latent_height, 8 latent_width) float32, 0.0 to 1.0, contiguous.
    """
    pixels = to_pixels(picture)
    size = PIXELS_PER_LATENT * latent_height, PIXELS_PER_LATENT * latent_width
    if pixels.shape[2:] == size:
        return pixels
    return functional.interpolate(_crop_centre(pixels, *size), size=size, mode="nearest-exact")


def soften_residuals(residuals: Sequence[Tensor], softness: float) -> list[Tensor]:
    """Reduce what a control net adds, the shallower the more.

    Args:
        residuals: From the outermost skip connection to the middle block, which keeps its own.
        softness: Share that is taken from the outermost; 0.0 is neutral.

    Returns:
        ``residual * (1 - softness * (1 - i / last))`` for each index ``i``.

    Source:
        lllyasviel/Fooocus, modules/patch.py (there with ten residuals, those of SDXL).
    """
    if softness <= 0.0:
        return list(residuals)
    last = len(residuals) - 1
    return [
        residual * (1.0 - softness * (1.0 - index / last))
        for index, residual in enumerate(residuals)
    ]


def control_residuals(
    controls: Sequence[Control], sample: Tensor, timestep: Tensor, **inputs: Any
) -> dict[str, Any]:
    """Ask controls what they add to one call of the UNet.

    Args:
        controls: Those that act at this noise level; their residuals are summed in this order.
        sample: Scaled latents, (B, 4, h, w), contiguous, as for the UNet.
        timestep: (B,), likewise.
        inputs: The UNet's ``encoder_hidden_states`` and ``added_cond_kwargs``.

    Returns:
        Arguments to add to the call of a ``UNet2DConditionModel``; none without controls.

    Source:
        arXiv:2302.05543, section 3.2.
    """
    if not controls:
        return {}
    each = [control.residuals(sample, timestep, **inputs) for control in controls]
    *skips, middle = (reduce(add, residuals) for residuals in zip(*each, strict=True))
    return {
        "down_block_additional_residuals": tuple(skips),
        "mid_block_additional_residual": middle,
    }


def _crop_centre(pixels: Tensor, height: int, width: int) -> Tensor:
    """Cut equal strips off two opposite sides to get the shape of ``height`` to ``width``."""
    have_height, have_width = pixels.shape[2:]
    have, wanted = have_width / have_height, width / height
    x = round((have_width - have_width * (wanted / have)) / 2) if have > wanted else 0
    y = round((have_height - have_height * (have / wanted)) / 2) if have < wanted else 0
    return pixels[:, :, y : have_height - y, x : have_width - x]
