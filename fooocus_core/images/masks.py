"""Masks: uint8 (H, W) arrays in which white is the part that is painted again."""

from __future__ import annotations

import cv2
import numpy as np

from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.resize import resample
from fooocus_core.params import Image, Size

# Of a mask that a network made, in pixels.
_SMALL_HOLE = 400
# Grey levels above it are part of the hole.
_THRESHOLD = 127
_FEATHER_STEPS = 32
_FEATHER_FALL = 8
_BOX = (3, 3)


def make_mask(drawn: Image | None, size: Size, *, grow: int = 0, invert: bool = False) -> Mask:
    """Make the mask of a picture from what was drawn.

    One of the picture's size keeps the grey levels of its first channel and becomes white where
    the mean of its channels is above 127; one of another size is resized, and is black elsewhere.

    Order: the above, grow, invert.

    Args:
        drawn: uint8 (H, W, 3), white = repaint; ``None`` = nothing.
        size: Of the picture.
        grow: Pixels to dilate (positive) or erode (negative) by.
        invert: Repaint what is black instead.

    Returns:
        uint8 (height, width) of ``size``.
    """
    mask = erode_or_dilate(_levels(drawn, size), grow)
    return 255 - mask if invert else mask


def has_hole(mask: Mask) -> bool:
    """Whether there is anything to repaint: a level above 127."""
    return bool((mask > _THRESHOLD).any())


def binarize(mask: Mask) -> Mask:
    """255 above 127, else 0."""
    return np.where(mask > _THRESHOLD, 255, 0).astype(np.uint8)


def erode_or_dilate(mask: Mask, amount: float) -> Mask:
    """Dilate (positive) or erode (negative) by ``int(amount)`` pixels in all eight directions."""
    times = int(amount)
    box = np.ones(_BOX, dtype=np.uint8)
    if times > 0:
        return cv2.dilate(mask, box, iterations=times).astype(np.uint8)
    if times < 0:
        return cv2.erode(mask, box, iterations=-times).astype(np.uint8)
    return mask


def fill_small_holes(mask: Mask) -> Mask:
    """Make black areas of fewer than 400 pixels white, also those at the border.

    Args:
        mask: Black and white; black pixels that touch at a corner belong together.

    Source:
        facebookresearch/segment-anything (Apache-2.0), segment_anything/utils/amg.py.
    """
    _, areas, statistics, _ = cv2.connectedComponentsWithStats(255 - mask, connectivity=8)
    is_small = statistics[:, cv2.CC_STAT_AREA] < _SMALL_HOLE
    is_small[0] = False  # what is white already
    return np.where(is_small[areas], 255, mask).astype(np.uint8)


def soft_mask(mask: Mask) -> Mask:
    """Feather the outside of a mask: 255 in the hole, down to 0 in steps of 8 per pixel.

    Order, int16: 256 where the mask is above 127, else 0; 32 times the maximum of itself and
    (itself dilated by a 3x3 box, minus 8); clip to 0-255.

    Source:
        lllyasviel/Fooocus, modules/inpaint_worker.py.
    """
    levels = np.where(mask > _THRESHOLD, 256, 0).astype(np.int16)
    box = np.ones(_BOX, dtype=np.uint8)
    for _ in range(_FEATHER_STEPS):
        levels = np.maximum(levels, cv2.dilate(levels, box).astype(np.int16) - _FEATHER_FALL)
    return levels.clip(0, 255).astype(np.uint8)


def _levels(drawn: Image | None, size: Size) -> Mask:
    if drawn is None:
        return np.zeros((size.height, size.width), dtype=np.uint8)
    if size_of(drawn) == size:
        return np.maximum(drawn[..., 0], _white_where_bright(drawn))
    return _white_where_bright(resample(drawn, size))


def _white_where_bright(image: Image) -> Mask:
    # The mean of the channels is above 127 if and only if their sum is above 127 per channel.
    is_bright = image.sum(axis=2, dtype=np.uint16) > _THRESHOLD * image.shape[2]
    return np.where(is_bright, 255, 0).astype(np.uint8)
