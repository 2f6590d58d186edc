"""Pre-filling the hole of a picture with what surrounds it."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter

from fooocus_core.images.arrays import Mask
from fooocus_core.params import Image

# Radius of the blur, and how often it is applied.
_BLURS = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))
_HOLE_FROM = 127


def fill_hole(image: Image, mask: Mask) -> Image:
    """Blur the surroundings into the hole, with ever smaller boxes.

    Order, for each radius and repetition: box blur of the whole picture (edges replicated, rounded
    to uint8 every time), then the pixels outside of the hole are restored.

    Args:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W); 127 and above is the hole.

    Source:
        lllyasviel/Fooocus, modules/inpaint_worker.py.
    """
    is_kept = np.repeat((mask < _HOLE_FROM)[..., None], 3, axis=2)
    filled = image
    for radius, times in _BLURS:
        for _ in range(times):
            filled = np.where(is_kept, image, blur(filled, radius))
    return filled


def blur(image: Image, radius: int) -> Image:
    """Mean of a box of ``2 * radius + 1`` pixels, edges replicated, rounded to uint8."""
    # Pillow's own: its fixed-point arithmetic is part of the result.
    blurred = PillowImage.fromarray(image).filter(ImageFilter.BoxBlur(radius))
    return np.asarray(blurred)
