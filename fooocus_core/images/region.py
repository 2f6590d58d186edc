"""The part of a picture that an inpaint works on, cutting it out and pasting it back.

Source: lllyasviel/Fooocus, modules/inpaint_worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.masks import binarize, soft_mask
from fooocus_core.images.resize import resample
from fooocus_core.images.sizes import (
    UPSCALER_SCALE,
    WORK_SIDE,
    check_paintable,
    size_for_area,
    square_side,
)
from fooocus_core.params import Image, Size

_MARGIN = 1.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A box of pixels.

    Attributes:
        top, left: First row and column.
        bottom, right: The row and column after the last one.
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Size:
        """Of the box."""
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def is_small(self) -> bool:
        """Whether the upscaler enlarges what is cut out, before the working size is made."""
        return square_side(self.size) < WORK_SIDE

    @property
    def working_size(self) -> Size:
        """Of the picture that is painted, about 1024x1024 pixels.

        Raises:
            InvalidInputError: The box is too thin.
        """
        scale = UPSCALER_SCALE if self.is_small else 1
        enlarged = Size(self.size.width * scale, self.size.height * scale)
        size = size_for_area(enlarged, WORK_SIDE)
        check_paintable(size)
        return size

    def of(self, array: Image | Mask) -> Image:
        """The box of an array, (H, W) or (H, W, 3); not a copy."""
        return array[self.top : self.bottom, self.left : self.right]


def find_region(mask: Mask, field: float) -> Region:
    """Find the box around a hole that is worked on.

    A square around everything masked, 15 % larger, cut off at the picture's edges; then grown on
    its shorter side, pixel by pixel, until it is large enough.

    Args:
        mask: uint8 (H, W); any level above 0 counts.
        field: Share of the picture's height and width that the box has at least, 0.0-1.0;
            1.0 = the whole picture.

    Raises:
        InvalidInputError: The mask is empty, or the share is out of range.
    """
    if not 0.0 <= field <= 1.0:
        raise InvalidInputError(f"The share of the picture to work on is {field:g}, not 0-1.")
    box, size = _square_around(mask), size_of(mask)
    if field == 1.0:
        return Region(top=0, bottom=size.height, left=0, right=size.width)
    return _grown(box, size, field)


def cut_out(
    image: Image, mask: Mask, region: Region, enlarge: Callable[[Image], Image]
) -> tuple[Image, Mask]:
    """Cut a region out of a picture and its mask, and bring both to the working size.

    Args:
        image, mask: The whole picture, uint8 (H, W, 3), and its mask, uint8 (H, W).
        region: What is cut out.
        enlarge: The upscaler; called only if the region :attr:`~Region.is_small`.

    Returns:
        uint8 (h, w, 3), and a mask of 0 and 255, uint8 (h, w).

    Raises:
        InvalidInputError: The region is too thin.
    """
    part = enlarge(region.of(image)) if region.is_small else region.of(image)
    size = region.working_size
    return resample(part, size), binarize(resample(region.of(mask), size))


def paste_back(image: Image, mask: Mask, region: Region, painted: Image) -> Image:
    """Put a painted region back; pixels outside of the softened mask stay as they are.

    Order: resize the painted picture to the region and put it in, then, float32,
    ``new * w + old * (1 - w)`` with w = soft mask / 255, clip to 0-255, *truncate*.

    Args:
        image, mask: The whole picture, uint8 (H, W, 3), and its mask, uint8 (H, W).
        region: What was cut out.
        painted: uint8 (h, w, 3), of any size.

    Returns:
        uint8, shape of ``image``.
    """
    new = image.copy()
    region.of(new)[:] = resample(painted, region.size)
    weight = soft_mask(mask)[..., None].astype(np.float32) / 255.0
    mixed = new.astype(np.float32) * weight + image.astype(np.float32) * (1.0 - weight)
    return mixed.clip(0, 255).astype(np.uint8)


def _square_around(mask: Mask) -> Region:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise InvalidInputError("Nothing of the picture is masked, so there is nothing to repaint.")
    top, bottom, left, right = (int(edge) for edge in (*rows[[0, -1]], *columns[[0, -1]]))
    middle_row, middle_column = (top + bottom) // 2, (left + right) // 2
    reach = int(max((bottom - top) // 2, (right - left) // 2) * _MARGIN)
    box = Region(
        top=middle_row - reach,
        bottom=middle_row + reach + 1,
        left=middle_column - reach,
        right=middle_column + reach + 1,
    )
    return _clamped(box, size_of(mask))


def _grown(box: Region, size: Size, field: float) -> Region:
    while box.size.height < size.height * field or box.size.width < size.width * field:
        is_flat = box.size.height < box.size.width
        rows = int(is_flat or box.size.width == size.width)
        columns = int(not is_flat or box.size.height == size.height)
        larger = Region(
            top=box.top - rows,
            bottom=box.bottom + rows,
            left=box.left - columns,
            right=box.right + columns,
        )
        box = _clamped(larger, size)
    return box


def _clamped(box: Region, size: Size) -> Region:
    return Region(
        top=max(box.top, 0),
        bottom=min(box.bottom, size.height),
        left=max(box.left, 0),
        right=min(box.right, size.width),
    )
