from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.downloads import UPSCALER
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import Mask
from fooocus_core.images.fill import fill_hole
from fooocus_core.images.masks import soft_mask
from fooocus_core.images.region import Region, cut_out, find_region, paste_back
from fooocus_core.images.resize import resample
from fooocus_core.params import Image, Size
from fooocus_core.vision.upscaler import Upscaler, load_upscaler
from tests.golden import load_arrays, load_cases, load_picture
from tests.networks import CPU_PLAN

WORKER = load_arrays("image-ops/inpaint_worker")
PHOTO_WORKER = load_arrays("components/inpaint_worker")


@pytest.fixture(scope="module")
def upscaler(weights: Path) -> Upscaler:
    return load_upscaler(weights / "upscale_models" / UPSCALER.name, CPU_PLAN)


def repeat_pixels(image: Image) -> Image:
    """What the network was replaced by in the recording."""
    return image.repeat(4, axis=0).repeat(4, axis=1)


def refuse(image: Image) -> Image:
    raise AssertionError("the upscaler is not needed")


def boxes_id(case: dict[str, Any]) -> str:
    return f"{case['w']}x{case['h']} {case['boxes_tblr'][0]} {case['k']}"


def mask_with(shape: tuple[int, int], *boxes: tuple[int, int, int, int], level: int = 255) -> Mask:
    mask = np.zeros(shape, np.uint8)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = level
    return mask


def edges(region: Region) -> list[int]:
    return [region.top, region.bottom, region.left, region.right]


def worker_case(number: int) -> dict[str, Any]:
    prefix = f"c{number}_"
    return {
        name.removeprefix(prefix): value
        for name, value in WORKER.items()
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("case", load_cases("image-ops/interested_area"), ids=boxes_id)
def test_recorded_region(case: dict[str, Any]) -> None:
    mask = mask_with((case["h"], case["w"]), *case["boxes_tblr"])
    assert edges(find_region(mask, case["k"])) == case["solved"]
    assert edges(find_region(mask, 0.0)) == case["initial"]


def test_grey_pixels_widen_the_region() -> None:
    mask = mask_with((100, 100), (50, 51, 50, 51)) + mask_with(
        (100, 100), (20, 21, 50, 51), level=1
    )
    assert find_region(mask, 0.0).size == Size(35, 35)


@pytest.mark.parametrize("field", [0.0, 0.5, 1.0])
def test_empty_mask_has_no_region(field: float) -> None:
    with pytest.raises(InvalidInputError, match="nothing to repaint"):
        find_region(mask_with((64, 64)), field)


@pytest.mark.parametrize("field", [-0.1, 1.1, float("nan")])
def test_share_out_of_range_is_refused(field: float) -> None:
    with pytest.raises(InvalidInputError, match="not 0-1"):
        find_region(mask_with((64, 64), (0, 9, 0, 9)), field)


@pytest.mark.parametrize(
    ("size", "is_small", "working_size"),
    [
        (Size(1, 1), True, Size(1024, 1024)),
        (Size(47, 1), True, Size(7296, 128)),
        (Size(960, 960), True, Size(1024, 1024)),
        (Size(1001, 1003), False, Size(1001, 1003)),
        (Size(4000, 3000), False, Size(1152, 896)),
    ],
    ids=str,
)
def test_working_size_of_a_region(size: Size, is_small: bool, working_size: Size) -> None:
    region = Region(top=3, bottom=3 + size.height, left=5, right=5 + size.width)
    assert region.size == size
    assert region.is_small is is_small
    assert region.working_size == working_size


@pytest.mark.parametrize("size", [Size(8192, 1), Size(150_000, 7)], ids=str)
def test_thin_region_cannot_be_worked_on(size: Size) -> None:
    region = Region(top=0, bottom=size.height, left=0, right=size.width)
    with pytest.raises(InvalidInputError, match="too thin"):
        _ = region.working_size


# Of the two that are filled, one is enough by default.
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_recorded_working_picture(number: int) -> None:
    case = worker_case(number)
    region = find_region(case["mask"], float(case["k"]))
    assert edges(region) == case["area"].tolist()
    image, mask = cut_out(case["image"], case["mask"], region, repeat_pixels)
    assert image.shape[:2] == mask.shape == tuple(case["work_hw"])
    assert_array_equal(image[::16, ::16], case["work_image_sub"])
    assert_array_equal(mask[::16, ::16], case["work_mask_sub"])
    assert np.count_nonzero(mask == 255) == case["work_mask_count255"]
    filled = fill_hole(image, mask) if case["use_fill"] else image
    assert_array_equal(filled[::16, ::16], case["work_fill_sub"])


@pytest.mark.parametrize("number", range(3))
def test_recorded_pasting(number: int) -> None:
    case = worker_case(number)
    region = find_region(case["mask"], float(case["k"]))
    assert_array_equal(soft_mask(case["mask"]), case["soft_mask"], strict=True)
    result = paste_back(case["image"], case["mask"], region, case["g2"])
    assert_array_equal(result, case["g2_result"], strict=True)


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=[pytest.mark.slow] * (number != 1)) for number in range(4)],
)
def test_recorded_working_photograph(number: int, upscaler: Upscaler) -> None:
    mask = load_picture("mask_a")[..., 0]
    field, is_filled = PHOTO_WORKER[f"w{number}_param"].tolist()
    region = find_region(mask, field)
    assert edges(region) == PHOTO_WORKER[f"w{number}_area"].tolist()
    image, cut_mask = cut_out(load_picture("photo_a"), mask, region, upscaler.enlarge)
    assert image.shape == tuple(PHOTO_WORKER[f"w{number}_shape"])
    filled = fill_hole(image, cut_mask) if is_filled else image
    assert_array_equal(cut_mask[::8, ::8], PHOTO_WORKER[f"w{number}_mask"])
    assert_alike(image[::8, ::8], PHOTO_WORKER[f"w{number}_image_ds"])
    assert_alike(filled[::8, ::8], PHOTO_WORKER[f"w{number}_fill_ds"])


def assert_alike(actual: Image, expected: Image) -> None:
    """Equal within what is allowed for pictures that went through a network."""
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() <= 0.1


def test_recorded_pasting_into_a_photograph() -> None:
    mask = load_picture("mask_a")[..., 0]
    painted = resample(load_picture("photo_c"), Size(1024, 1024))
    result = paste_back(load_picture("photo_a"), mask, find_region(mask, 0.618), painted)
    assert_array_equal(result, PHOTO_WORKER["post"], strict=True)


def test_large_region_is_not_enlarged() -> None:
    image = np.arange(1100 * 1100 * 3).reshape(1100, 1100, 3).astype(np.uint8)
    mask = mask_with((1100, 1100), (0, 9, 0, 9))
    part, _ = cut_out(image, mask, find_region(mask, 1.0), refuse)
    assert_array_equal(part, resample(image, Size(1024, 1024)), strict=True)


def test_pixels_outside_of_the_softened_mask_stay_as_they_are() -> None:
    image = np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    mask = mask_with((150, 200), (60, 80, 90, 120))
    painted = np.full((64, 64, 3), 7, np.uint8)
    result = paste_back(image, mask, find_region(mask, 1.0), painted)
    outside = soft_mask(mask) == 0
    assert_array_equal(result[outside], image[outside])
    assert (result[mask == 255] == 7).all()


def test_pasting_leaves_the_given_picture_as_it_was() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    mask = mask_with((64, 64), (10, 20, 10, 20))
    paste_back(image, mask, find_region(mask, 0.5), np.full((64, 64, 3), 255, np.uint8))
    assert not image.any()
