from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.choices import Side
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.hole import Hole, find_hole, hole_in
from fooocus_core.images.region import Region
from fooocus_core.params import Extension, Image, InpaintParams, Size

LEFT = (Extension(side=Side.LEFT),)


def picture(height: int = 60, width: int = 100) -> Image:
    return np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)


def drawn(height: int = 60, width: int = 100) -> Image:
    mask = np.zeros((height, width, 3), np.uint8)
    mask[20:30, 40:50] = 255
    return mask


def found(asked: InpaintParams) -> Hole:
    hole = find_hole(asked)
    assert hole is not None
    return hole


def test_masked_part_is_found() -> None:
    hole = found(InpaintParams(image=picture(), mask=drawn(), field=0.0))
    assert_array_equal(hole.image, picture())
    assert_array_equal(hole.mask, drawn()[..., 0])
    assert hole.region == Region(top=20, bottom=29, left=40, right=49)
    assert hole.working_size == Size(1024, 1024)


def test_region_of_an_extended_picture_holds_the_new_part() -> None:
    hole = found(InpaintParams(image=picture(), extend=LEFT, field=0.0))
    assert hole.image.shape == (60, 130, 3)
    assert np.count_nonzero(hole.mask) == 60 * 30
    assert hole.region == Region(top=0, bottom=60, left=0, right=48)


def test_mask_and_extension_are_combined() -> None:
    hole = found(InpaintParams(image=picture(), mask=drawn(), extend=LEFT))
    assert np.count_nonzero(hole.mask) == 60 * 30 + 100


def test_mask_grows_and_is_inverted() -> None:
    hole = found(InpaintParams(image=picture(), mask=drawn(), grow=1, invert=True))
    assert np.count_nonzero(hole.mask == 0) == 12 * 12


@pytest.mark.parametrize("mask", [None, np.full((9, 9, 3), 127, np.uint8)], ids=["none", "grey"])
def test_nothing_masked_and_nothing_extended_is_no_hole(mask: Image | None) -> None:
    assert find_hole(InpaintParams(image=picture(), mask=mask)) is None


@pytest.mark.parametrize("size", [(1, 5000), (1, 8192)], ids=str)
def test_thin_picture_is_refused(size: tuple[int, int]) -> None:
    asked = InpaintParams(image=picture(*size), invert=True)
    with pytest.raises(InvalidInputError, match="too thin"):
        find_hole(asked)


def test_small_part_of_a_thin_picture_can_be_painted() -> None:
    mask = np.zeros((1, 8192, 3), np.uint8)
    mask[0, 100:140] = 255
    hole = found(InpaintParams(image=picture(1, 8192), mask=mask, field=0.0))
    assert hole.region.size == Size(43, 1)


def test_single_pixel_can_be_painted() -> None:
    hole = found(InpaintParams(image=picture(1, 1), invert=True))
    assert hole.working_size == Size(1024, 1024)


def test_extension_by_less_than_a_pixel_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="nothing to repaint"):
        find_hole(InpaintParams(image=picture(1, 1), extend=LEFT))


def test_too_large_result_is_refused() -> None:
    extend = (Extension(side=Side.TOP, pixels=1_000_000),)
    with pytest.raises(InvalidInputError, match="100x1000060 pixels"):
        find_hole(InpaintParams(image=picture(), extend=extend))


def test_a_ready_mask_keeps_its_grey_levels() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[40:50, 40:50] = 200
    mask[70, 70] = 100
    hole = hole_in(picture(), mask, 0.0)
    assert hole is not None
    assert np.array_equal(hole.mask, mask)
    assert (hole.region.top, hole.region.bottom) == (38, 73)


def test_a_ready_mask_without_anything_bright_has_no_hole() -> None:
    assert hole_in(picture(), np.full((100, 100), 127, np.uint8), 0.5) is None
