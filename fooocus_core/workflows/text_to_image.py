"""The start of a picture that is made from text alone."""

from __future__ import annotations

from fooocus_core.images.sizes import latent_grid_size
from fooocus_core.params import Size
from fooocus_core.workflows.start import Start


def blank_start(size: Size) -> Start:
    """Nothing but a size, each side floored to a multiple of 8 pixels."""
    return Start(size=latent_grid_size(size), recorded_size=size)
