"""The start of a picture that is made from text alone."""

from __future__ import annotations

import torch

from fooocus_core.params import Size
from fooocus_core.vae.codec import PIXELS_PER_LATENT
from fooocus_core.workflows.start import Start


def blank_start(size: Size) -> Start:
    """An empty latent of the size, each side floored to a multiple of 8 pixels."""
    width, height = size.width // PIXELS_PER_LATENT, size.height // PIXELS_PER_LATENT
    return Start(
        latent=torch.zeros(1, 4, height, width),
        size=Size(width * PIXELS_PER_LATENT, height * PIXELS_PER_LATENT),
        denoise=1.0,
    )
