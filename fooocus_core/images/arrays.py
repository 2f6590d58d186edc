"""Pictures and masks as arrays: their sizes and their channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fooocus_core.errors import InvalidInputError
from fooocus_core.params import Image, Size

Mask = NDArray[np.uint8]  # (H, W); white = the part that is painted again


def size_of(image: Image | Mask) -> Size:
    """Width and height of a picture or mask."""
    return Size(image.shape[1], image.shape[0])


def to_rgb(image: NDArray[np.uint8]) -> Image:
    """Bring a picture to three channels; what is transparent becomes white.

    Order for four channels, float32: ``alpha / 255``, ``colour * alpha + 255 * (1 - alpha)``,
    clip to 0-255, *truncate*.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Returns:
        uint8 (H, W, 3); the array itself if it has this shape.

    Raises:
        InvalidInputError: It is not uint8, or has another number of channels.
    """
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype != np.uint8 or channels not in (1, 3, 4):
        raise InvalidInputError(
            f"A picture of shape {image.shape} and type {image.dtype} cannot be used; it has to be "
            "uint8 with 1, 3 or 4 channels."
        )
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return image if channels == 3 else _over_white(image)


def _over_white(image: NDArray[np.uint8]) -> Image:
    colour = image[..., :3].astype(np.float32)
    alpha = image[..., 3:].astype(np.float32) / 255.0
    mixed: NDArray[np.float32] = colour * alpha + 255.0 * (1.0 - alpha)
    return mixed.clip(0, 255).astype(np.uint8)
