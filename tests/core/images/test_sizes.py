from __future__ import annotations

import math
from typing import Any

import pytest

from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.sizes import (
    MAX_PIXELS,
    WorkingSize,
    check_pixel_count,
    latent_grid_size,
    size_for_area,
    square_side,
    working_size,
)
from fooocus_core.params import Size
from tests.golden import load_arrays, load_cases

METHODS = [method for method in UpscaleVaryMethod if method is not UpscaleVaryMethod.DISABLED]
CUSTOM = UpscaleVaryMethod.UPSCALE_CUSTOM


def size_id(case: dict[str, Any]) -> str:
    return f"{case['w']}x{case['h']}"


def plan_id(case: dict[str, Any]) -> str:
    return f"{case['w']}x{case['h']} {case['method']} {case.get('upscale_value')}"


@pytest.mark.parametrize("case", load_cases("image-ops/sizes"), ids=size_id)
def test_side_of_the_square_with_a_pictures_area(case: dict[str, Any]) -> None:
    assert square_side(Size(case["w"], case["h"])) == case["shape_ceil"]


def test_side_of_the_square_of_further_sizes() -> None:
    for height, width, side in load_arrays("components/imageops")["ceil"].tolist():
        assert square_side(Size(int(width), int(height))) == side


def test_size_for_an_area_of_a_further_size() -> None:
    height, width, _ = load_arrays("components/imageops")["set_ceil_1024_shape"].tolist()
    assert size_for_area(Size(512, 384), 1024) == Size(width, height)


@pytest.mark.parametrize("side", [1024, 2048])
@pytest.mark.parametrize("case", load_cases("image-ops/sizes")[:-1], ids=size_id)
def test_size_for_an_area(case: dict[str, Any], side: int) -> None:
    size = size_for_area(Size(case["w"], case["h"]), side)
    assert [size.height, size.width] == case["set"][str(side)]


@pytest.mark.parametrize("side", [1024, 2048])
@pytest.mark.parametrize("size", [Size(5000, 1), Size(1, 5000), Size(8192, 1), Size(1, 1)], ids=str)
def test_too_thin_and_too_small_pictures_are_refused(size: Size, side: int) -> None:
    with pytest.raises(InvalidInputError, match="too small or too thin"):
        size_for_area(size, side)


@pytest.mark.parametrize("side", [1024, 1408, 2048])
@pytest.mark.parametrize("size", [Size(3, 3), Size(3, 750), Size(10_000, 40)], ids=str)
def test_pictures_within_the_stated_limits_are_taken(size: Size, side: int) -> None:
    result = size_for_area(size, side)
    assert result.width * result.height == pytest.approx(side * side, rel=0.16)


@pytest.mark.parametrize(
    "case",
    # The reference falls back to a factor of 2 at exactly 5; here 5 is what the schema says it is.
    [case for case in load_cases("image-ops/uov_plan") if case.get("upscale_value") != 5.0],
    ids=plan_id,
)
def test_working_size(case: dict[str, Any]) -> None:
    method = UpscaleVaryMethod(case["method"])
    target = working_size(Size(case["w"], case["h"]), method, case.get("upscale_value"))
    assert [target.size.height, target.size.width] == case["work_hw"]
    assert target.is_final == case.get("direct_return", False)
    latent = None if target.is_final else [target.size.height // 8, target.size.width // 8]
    assert latent == case["latent_hw"]


def test_custom_factor_of_five_enlarges_five_times() -> None:
    target = working_size(Size(768, 512), CUSTOM, 5.0)
    assert target == WorkingSize(size=Size(3840, 2560), is_final=True)


def test_other_methods_ignore_the_factor() -> None:
    target = working_size(Size(768, 512), UpscaleVaryMethod.UPSCALE_2, 5.0)
    assert target == WorkingSize(size=Size(1536, 1024))


@pytest.mark.parametrize("size", [Size(5000, 1), Size(1, 8192)], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_thin_pictures_can_neither_be_varied_nor_enlarged(
    size: Size, method: UpscaleVaryMethod
) -> None:
    with pytest.raises(InvalidInputError, match="too thin"):
        working_size(size, method)


def test_single_pixel_can_be_enlarged_but_not_varied() -> None:
    assert working_size(Size(1, 1), UpscaleVaryMethod.UPSCALE_2).size == Size(1024, 1024)
    with pytest.raises(InvalidInputError, match="too small"):
        working_size(Size(1, 1), UpscaleVaryMethod.VARY_SUBTLE)


def test_picture_without_a_latent_is_only_enlarged_fast() -> None:
    # Its area is that of a working picture already, so it would be kept as thin as it is.
    size = Size(150_000, 3)
    assert working_size(size, UpscaleVaryMethod.UPSCALE_FAST_2).size == Size(300_000, 6)
    with pytest.raises(
        InvalidInputError, match="300000x6 pixels, the picture is too thin to be painted"
    ):
        working_size(size, UpscaleVaryMethod.UPSCALE_2)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_meaningless_factors_are_refused(factor: float) -> None:
    with pytest.raises(InvalidInputError, match="cannot be enlarged"):
        working_size(Size(512, 512), CUSTOM, factor)


def test_result_with_too_many_pixels_is_refused() -> None:
    check_pixel_count(Size(MAX_PIXELS, 1))
    with pytest.raises(InvalidInputError, match="89478486x1 pixels; 89478485 are allowed"):
        check_pixel_count(Size(MAX_PIXELS + 1, 1))


def test_a_picture_loses_the_pixels_that_have_no_latent() -> None:
    assert latent_grid_size(Size(1333, 777)) == Size(1328, 776)
    assert latent_grid_size(Size(1024, 8)) == Size(1024, 8)
