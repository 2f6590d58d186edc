"""What sampling begins from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fooocus_core.params import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The beginning of every picture of a generation.

    Attributes:
        latent: The VAE's scale, (1, 4, h, w) float32 on the CPU; zeros for a blank start.
        size: Size that the UNet is told, eight times the latent's.
        denoise: Share of the schedule that is walked; 1.0 starts from pure noise.
    """

    latent: Tensor
    size: Size
    denoise: float
