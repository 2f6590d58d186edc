"""What sampling begins from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fooocus_core.events import GeneratedImage
from fooocus_core.params import Image, Size
from fooocus_core.sampling.inpaint_blend import KnownPart
from fooocus_core.sampling.refiner import Model
from fooocus_core.unet.patch import UNetPatch


def as_painted(image: Image) -> Image:
    """Finish a picture by leaving it as it is."""
    return image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """The beginning of every picture of a generation.

    Attributes:
        size: Size that the UNet is told, eight times the latent's.
        recorded_size: Size that the record of a picture names.
        latent: The VAE's scale, (1, 4, h, w) float32 on the CPU; ``None`` for a blank start.
        denoise: Share of the schedule that is walked; 1.0 starts from pure noise.
        known: What of the picture stays as it is, for each model that paints; empty = nothing.
        patches: Attached to the base model's UNet while it works.
        is_tiled: Whether the picture is decoded in tiles.
        finish: From the painted picture to the one that is handed over.
        finished: What is handed over if there is nothing to paint.
    """

    size: Size
    recorded_size: Size
    latent: Tensor | None = None
    denoise: float = 1.0
    known: Mapping[Model, KnownPart] = field(default_factory=dict)
    patches: tuple[UNetPatch, ...] = ()
    is_tiled: bool = False
    finish: Callable[[Image], Image] = as_painted
    finished: tuple[GeneratedImage, ...] = ()
