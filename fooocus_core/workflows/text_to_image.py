"""The start of a picture that is made from text alone."""

from __future__ import annotations

from fooocus_core.params import Size
from fooocus_core.vae.codec import PIXELS_PER_LATENT
from fooocus_core.workflows.start import Start


def blank_start(size: Size) -> Start:
    """Nothing but a size, each side floored to a multiple of 8 pixels."""
    width, height = (side // PIXELS_PER_LATENT * PIXELS_PER_LATENT for side in size)
    return Start(size=Size(width, height), recorded_size=size)
