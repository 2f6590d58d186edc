"""Resizing of pictures and masks with Pillow's filters, the same on each of its versions."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np
from PIL import Image as PillowImage

from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.params import Image, Size

# What a picture is cropped from can have many more pixels than what is left: 1 GiB in Pillow.
_MAX_UNCROPPED = 2**28


class Fit(Enum):
    """What happens to a picture whose sides have another ratio than those it is to get."""

    STRETCH = auto()
    CROP = auto()
    SMEAR = auto()


def resample(image: Image | Mask, size: Size) -> Image:
    """Resize with an antialiased Lanczos filter, horizontally and then vertically.

    Args:
        image: uint8 (H, W, 3) or (H, W).
        size: Of the result; an equal one gives a copy.

    Returns:
        uint8 (height, width, 3) or (height, width).
    """
    return np.array(_resample(PillowImage.fromarray(image), size))


def resize_image(image: Image, size: Size, fit: Fit) -> Image:
    """Resize to a size whose ratio of sides may be another one.

    Args:
        image: uint8 (H, W, 3).
        size: Of the result.
        fit: ``STRETCH`` ignores the ratio, ``CROP`` fills the size and cuts off what is over at
            both ends, ``SMEAR`` shows all of the picture and stretches its edges over the rest.

    Raises:
        InvalidInputError: The picture is so thin that nothing of it would be left, or that it would
            have more than 2**28 pixels before it is cropped.

    Source:
        lllyasviel/Fooocus, modules/util.py.
    """
    picture = PillowImage.fromarray(image)
    if fit is Fit.STRETCH:
        return np.array(_resample(picture, size))
    inner = _resample(picture, _inner_size(size_of(image), size, fit))
    canvas = PillowImage.new("RGB", size)
    # Negative where the picture is larger, which cuts it off.
    canvas.paste(inner, (_margin(size.width, inner.width), _margin(size.height, inner.height)))
    if fit is Fit.SMEAR:
        _smear(canvas, inner)
    return np.array(canvas)


def check_croppable(given: Size, wanted: Size) -> None:
    """Refuse pictures that cannot be cropped to a size; see :func:`resize_image`.

    Raises:
        InvalidInputError: The picture is too thin.
    """
    _inner_size(given, wanted, Fit.CROP)


def _resample(picture: PillowImage.Image, size: Size) -> PillowImage.Image:
    lanczos = PillowImage.Resampling.LANCZOS
    # In two calls, since versions of Pillow differ in which direction they filter first.
    return picture.resize((size.width, picture.height), lanczos).resize(size, lanczos)


def _inner_size(given: Size, wanted: Size, fit: Fit) -> Size:
    ratio, wanted_ratio = given.width / given.height, wanted.width / wanted.height
    takes_width = wanted_ratio > ratio if fit is Fit.CROP else wanted_ratio < ratio
    if takes_width:
        size = Size(wanted.width, given.height * wanted.width // given.width)
    else:
        size = Size(given.width * wanted.height // given.height, wanted.height)
    if not 0 < size.width * size.height <= _MAX_UNCROPPED:
        raise InvalidInputError(
            f"A picture of {given.width}x{given.height} pixels is too thin to be shown in "
            f"{wanted.width}x{wanted.height}."
        )
    return size


def _margin(outer: int, inner: int) -> int:
    return outer // 2 - inner // 2


def _smear(canvas: PillowImage.Image, inner: PillowImage.Image) -> None:
    width, height = inner.size
    band = _margin(canvas.height, height)
    if band > 0:
        above = inner.resize((width, band), box=(0, 0, width, 0))
        below = inner.resize((width, band), box=(0, height, width, height))
        canvas.paste(above, (0, 0))
        canvas.paste(below, (0, band + height))
    band = _margin(canvas.width, width)
    if band > 0:
        left = inner.resize((band, height), box=(0, 0, 0, height))
        right = inner.resize((band, height), box=(width, 0, width, height))
        canvas.paste(left, (0, 0))
        canvas.paste(right, (band + width, 0))
