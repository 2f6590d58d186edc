"""What an inpaint or outpaint works on, as far as it is decided without a model."""

from __future__ import annotations

from dataclasses import dataclass

from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.masks import has_hole, make_mask
from fooocus_core.images.outpaint import extend_sides
from fooocus_core.images.region import Region, find_region
from fooocus_core.params import Image, InpaintParams, Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hole:
    """A picture with something to fill.

    Attributes:
        image: uint8 (H, W, 3), its sides extended.
        mask: uint8 (H, W), of the extended picture; white = fill.
        region: The part that is worked on.
        working_size: Size that the region is brought to.
    """

    image: Image
    mask: Mask
    region: Region
    working_size: Size


def find_hole(asked: InpaintParams) -> Hole | None:
    """Make the mask, extend the sides and find the region.

    Returns:
        ``None`` if nothing is masked and no side is extended.

    Raises:
        InvalidInputError: The request cannot be carried out: the extended picture has too many
            pixels, nothing is masked since 30 % of a side is less than a pixel, or the region is
            too thin to be painted.
    """
    mask = make_mask(asked.mask, size_of(asked.image), grow=asked.grow, invert=asked.invert)
    if not asked.extend and not has_hole(mask):
        return None
    image, mask = extend_sides(asked.image, mask, asked.extend)
    return _hole(image, mask, asked.field)


def hole_in(image: Image, mask: Mask, field: float) -> Hole | None:
    """What a mask that is ready leaves of a picture of its size.

    Args:
        field: Share of the picture that is worked on, 0.0-1.0.

    Returns:
        ``None`` if nothing is masked.

    Raises:
        InvalidInputError: The region is too thin to be painted.
    """
    return _hole(image, mask, field) if has_hole(mask) else None


def _hole(image: Image, mask: Mask, field: float) -> Hole:
    region = find_region(mask, field)
    return Hole(image=image, mask=mask, region=region, working_size=region.working_size)
