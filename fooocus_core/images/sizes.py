"""How large a picture is worked on: sizes in, sizes out; knows no pixels.

Source: lllyasviel/Fooocus, modules/util.py and modules/async_worker.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.errors import InvalidInputError
from fooocus_core.params import Size

# Pillow's own limit for pictures that it reads; results keep to it, too.
MAX_PIXELS = 89_478_485
# Small pictures are brought to the area of the square with this side.
WORK_SIDE = 1024
# By how much the published upscaling network enlarges each side.
UPSCALER_SCALE = 4

_GRID = 64
_LATENT_GRID = 8
_MAX_VARIED_SIDE = 2048
# Larger pictures are not painted again after enlarging them.
_MAX_PAINTED_SIDE = 2800
_DEFAULT_FACTOR = 2.0
_FACTORS: Mapping[UpscaleVaryMethod, float] = {
    UpscaleVaryMethod.UPSCALE_15: 1.5,
    UpscaleVaryMethod.UPSCALE_2: 2.0,
    UpscaleVaryMethod.UPSCALE_FAST_2: 2.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingSize:
    """What becomes of a picture that is varied or enlarged.

    Attributes:
        size: It is brought to this size, by enlarging it with the upscaler first unless it is
            varied.
        is_final: It is not painted again: it is enlarged fast, or too large.
    """

    size: Size
    is_final: bool = False


def working_size(size: Size, method: UpscaleVaryMethod, factor: float | None = None) -> WorkingSize:
    """Decide the size that a picture is varied or enlarged at.

    Args:
        size: Of the given picture.
        method: Not ``DISABLED``.
        factor: By how much ``UPSCALE_CUSTOM`` enlarges each side; ``None`` = 2.

    Raises:
        InvalidInputError: The picture is too small or too thin, or the factor is meaningless.
    """
    if not method.enlarges:
        side = min(max(square_side(size), WORK_SIDE), _MAX_VARIED_SIDE)
        return _painted(size_for_area(size, side))
    scale = _scale(method, factor)
    side = _square_side(size.height * scale, size.width * scale)
    is_final = method is UpscaleVaryMethod.UPSCALE_FAST_2 or side > _MAX_PAINTED_SIDE
    if side < WORK_SIDE:
        enlarged = Size(size.width * UPSCALER_SCALE, size.height * UPSCALER_SCALE)
        result = size_for_area(enlarged, WORK_SIDE)
    else:
        result = Size(int(size.width * scale), int(size.height * scale))
    return WorkingSize(size=result, is_final=True) if is_final else _painted(result)


def square_side(size: Size) -> float:
    """Side of the square with a picture's area, rounded up to a multiple of 64."""
    return _square_side(size.height, size.width)


def size_for_area(size: Size, side: float) -> Size:
    """The size at which a picture has about the area of a square, with sides of n times 64.

    A picture whose :func:`square_side` is ``side`` keeps its size, on the grid of 64 or not.

    Args:
        size: Of the picture.
        side: Of the square, a multiple of 64.

    Raises:
        InvalidInputError: A side would vanish, because the picture is too small or too thin.
    """
    width, height = size
    for _ in range(256):
        current = _square_side(height, width)
        if abs(current - side) < 0.1:
            break
        scale = side / current
        height, width = _on_grid(height * scale), _on_grid(width * scale)
        if not height or not width:
            raise InvalidInputError(
                f"The picture is too small or too thin to be brought to the area of {side:g}x"
                f"{side:g} pixels; one with both sides above 2 pixels, and neither more than 250 "
                "times as long as the other, can be."
            )
    return Size(width, height)


def latent_grid_size(size: Size) -> Size:
    """The size that a picture has after encoding: each side floored to a multiple of 8."""
    width, height = (side // _LATENT_GRID * _LATENT_GRID for side in size)
    return Size(width, height)


def check_paintable(size: Size) -> None:
    """Refuse pictures that have no latent.

    Raises:
        InvalidInputError: A side is shorter than 8 pixels.
    """
    if min(size) < _LATENT_GRID:
        raise InvalidInputError(
            f"Brought to {size.width}x{size.height} pixels, the picture is too thin to be painted; "
            f"both sides need {_LATENT_GRID} pixels at least."
        )


def check_pixel_count(size: Size) -> None:
    """Refuse results that are too large.

    Raises:
        InvalidInputError: There are more than :data:`MAX_PIXELS` pixels.
    """
    if size.width * size.height > MAX_PIXELS:
        raise InvalidInputError(
            f"The result would have {size.width}x{size.height} pixels; {MAX_PIXELS} are allowed."
        )


def _painted(size: Size) -> WorkingSize:
    check_paintable(size)
    return WorkingSize(size=size)


def _square_side(height: float, width: float) -> float:
    return math.ceil(math.pow(height * width, 0.5) / _GRID) * _GRID


def _on_grid(length: float) -> int:
    return round(length / _GRID) * _GRID


def _scale(method: UpscaleVaryMethod, factor: float | None) -> float:
    if method is not UpscaleVaryMethod.UPSCALE_CUSTOM:
        return _FACTORS[method]
    if factor is None:
        return _DEFAULT_FACTOR
    if not 0 < factor < math.inf:
        raise InvalidInputError(f"A picture cannot be enlarged {factor:g} times.")
    return factor
