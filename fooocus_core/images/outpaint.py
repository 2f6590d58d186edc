"""Extending a picture by its sides: the new parts are holes in its mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fooocus_core.choices import Side
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.sizes import check_pixel_count
from fooocus_core.params import Extension, Image, Size

_DEFAULT_SHARE = 0.3


def extend_sides(image: Image, mask: Mask, extensions: Sequence[Extension]) -> tuple[Image, Mask]:
    """Extend a picture and its mask by the given sides.

    The new parts of the picture repeat the edge next to them; those of the mask are white.

    Args:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W).
        extensions: At most one per side. No, zero or negative pixels mean 30 % of the given
            picture's height or width, rounded down.

    Raises:
        InvalidInputError: The result has too many pixels.
    """
    size = size_of(image)
    added = {extension.side: _pixels(extension, size) for extension in extensions}
    rows = (added.get(Side.TOP, 0), added.get(Side.BOTTOM, 0))
    columns = (added.get(Side.LEFT, 0), added.get(Side.RIGHT, 0))
    check_pixel_count(Size(size.width + sum(columns), size.height + sum(rows)))
    return (
        np.pad(image, (rows, columns, (0, 0)), mode="edge"),
        np.pad(mask, (rows, columns), mode="constant", constant_values=255),
    )


def _pixels(extension: Extension, size: Size) -> int:
    if extension.pixels is not None and extension.pixels > 0:
        return extension.pixels
    is_vertical = extension.side in (Side.TOP, Side.BOTTOM)
    return int(_DEFAULT_SHARE * (size.height if is_vertical else size.width))
