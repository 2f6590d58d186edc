"""Blacking out pictures that are not safe for work."""

from __future__ import annotations

import numpy as np

from fooocus_core.params import Image
from fooocus_core.workflows.resources import Resources


def censor(image: Image, resources: Resources) -> Image:
    """The picture itself, or a black one of its size if it is not safe for work.

    Raises:
        InvalidInputError: The picture is too thin to be checked.
        ModelNotFoundError: The safety checker is missing.
        ModelFileError: The safety checker cannot be used.
        DeviceMemoryError: The device has not enough memory.
    """
    checker = resources.auxiliary.safety_checker()
    resources.models.bring_image_reader(checker.network)
    return np.zeros_like(image) if checker.is_unsafe(image) else image
