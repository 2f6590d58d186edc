from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.images.arrays import Mask
from fooocus_core.images.masks import (
    binarize,
    erode_or_dilate,
    fill_small_holes,
    has_hole,
    make_mask,
    soft_mask,
)
from fooocus_core.images.resize import resample
from fooocus_core.params import Image, Size
from tests.golden import load_arrays, load_picture

SIZE = Size(6, 4)


def grey(*levels: int) -> Image:
    """A drawn mask with one row of colours without a colour."""
    return np.repeat(np.array(levels, np.uint8)[None, :, None], 3, axis=2)


def square(shape: tuple[int, int] = (9, 9)) -> Mask:
    mask = np.zeros(shape, np.uint8)
    mask[3:6, 3:6] = 255
    return mask


@pytest.mark.parametrize(
    "name", [name for name in load_arrays("image-ops/erode_dilate") if name != "mask_in"]
)
def test_recorded_eroding_and_dilating(name: str) -> None:
    cases = load_arrays("image-ops/erode_dilate")
    result = erode_or_dilate(cases["mask_in"], float(name.removeprefix("k")))
    assert_array_equal(result, cases[name], strict=True)


@pytest.mark.parametrize("amount", [5, -7])
def test_recorded_eroding_and_dilating_of_a_drawn_mask(amount: int) -> None:
    result = erode_or_dilate(load_picture("mask_a")[..., 0], amount)
    assert_array_equal(result, load_arrays("components/imageops")[f"erode_{amount}"], strict=True)


@pytest.mark.parametrize(
    ("amount", "count"), [(-2, 0), (-1, 0), (0, 14), (1, 35), (2, 63)], ids=str
)
def test_worked_numbers_of_eroding_and_dilating(amount: int, count: int) -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[3:6, 2:7] = 255
    mask[4, 4] = 0
    assert np.count_nonzero(erode_or_dilate(mask, amount)) == count


@pytest.mark.parametrize("shape", [(1, 1), (1, 8192), (40_000, 2)], ids=str)
def test_masks_of_all_shapes_are_dilated(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[0, 0] = 255
    expected = min(shape[0], 65) * min(shape[1], 65)
    assert np.count_nonzero(erode_or_dilate(mask, 64)) == expected


@pytest.mark.parametrize("number", [0, 1])
def test_recorded_softening(number: int) -> None:
    cases = load_arrays("image-ops/morphological_open")
    result = soft_mask(cases[f"c{number}_mask"])
    assert_array_equal(result, cases[f"c{number}_out"], strict=True)


def test_recorded_softening_of_a_drawn_mask() -> None:
    result = soft_mask(load_picture("mask_a")[..., 0])
    assert_array_equal(result, load_arrays("components/inpaint_worker")["softmask"], strict=True)


def test_softened_pixel_falls_by_eight_per_pixel() -> None:
    mask = np.zeros((1, 40), np.uint8)
    mask[0, 0] = 255
    expected = [255, *range(248, 0, -8)]
    assert soft_mask(mask)[0].tolist() == expected + [0] * (40 - len(expected))


def test_levels_up_to_127_are_no_hole() -> None:
    levels = np.array([[0, 1, 127, 128, 255]], np.uint8)
    assert binarize(levels).tolist() == [[0, 0, 0, 255, 255]]
    assert soft_mask(levels[:, :3]).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("level", "expected"), [(0, False), (127, False), (128, True)], ids=str)
def test_hole_needs_a_level_above_127(level: int, expected: bool) -> None:
    assert has_hole(np.full((2, 2), level, np.uint8)) is expected


def test_no_mask_is_a_black_one() -> None:
    assert_array_equal(make_mask(None, SIZE), np.zeros((4, 6), np.uint8), strict=True)


def test_mask_of_the_pictures_size_keeps_low_levels_and_whitens_high_ones() -> None:
    mask = make_mask(grey(0, 1, 127, 128, 200, 255), Size(6, 1))
    assert mask.tolist() == [[0, 1, 127, 255, 255, 255]]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((200, 0, 0), 200),
        ((0, 255, 255), 255),
        ((0, 255, 126), 0),
        ((127, 127, 127), 127),
        ((126, 255, 1), 255),
    ],
    ids=str,
)
def test_coloured_mask_counts_by_its_first_channel_and_by_its_mean(
    colour: tuple[int, int, int], expected: int
) -> None:
    assert make_mask(np.array([[colour]], np.uint8), Size(1, 1)).item() == expected


def test_mask_of_another_size_is_resized_to_black_and_white() -> None:
    drawn = load_picture("mask_a")
    mask = make_mask(drawn, Size(100, 90))
    mean = resample(drawn, Size(100, 90)).mean(axis=2)
    assert_array_equal(mask, np.where(mean > 127, 255, 0).astype(np.uint8), strict=True)


def test_grey_mask_of_another_size_is_black() -> None:
    drawn = np.full((3, 3, 3), 127, np.uint8)
    assert not make_mask(drawn, SIZE).any()


def test_mask_grows_before_it_is_inverted() -> None:
    drawn = np.repeat(square()[..., None], 3, axis=2)
    mask = make_mask(drawn, Size(9, 9), grow=1, invert=True)
    assert np.count_nonzero(mask == 0) == 25


def test_inverted_missing_mask_is_white() -> None:
    assert (make_mask(None, SIZE, invert=True) == 255).all()


def test_drawn_mask_is_left_as_it_was() -> None:
    drawn = np.repeat(square()[..., None], 3, axis=2)
    before = drawn.copy()
    make_mask(drawn, Size(9, 9), grow=2, invert=True)
    assert_array_equal(drawn, before)


@pytest.mark.parametrize("number", range(3))
def test_small_holes_are_filled_as_recorded(number: int) -> None:
    recorded = load_arrays("components/segmentation")
    mask = np.where(recorded["holes_masks"][number], 255, 0).astype(np.uint8)
    filled = fill_small_holes(mask)
    assert filled.dtype == np.uint8
    assert_array_equal(filled == 255, recorded["holes_filled"][number])


@pytest.mark.parametrize(("width", "is_filled"), [(19, True), (20, False)])
def test_a_hole_of_400_pixels_stays(width: int, is_filled: bool) -> None:
    mask = np.full((60, 60), 255, np.uint8)
    mask[10:30, 5 : 5 + width] = 0
    assert (fill_small_holes(mask).min() == 255) == is_filled


def test_areas_that_touch_at_a_corner_are_one_hole() -> None:
    mask = np.full((60, 60), 255, np.uint8)
    mask[10:26, 10:26] = mask[26:42, 26:42] = 0  # 256 pixels each
    assert_array_equal(fill_small_holes(mask), mask)
    mask[25, 25] = 255
    assert fill_small_holes(mask).min() == 255


def test_small_areas_at_the_border_are_filled_too() -> None:
    mask = np.full((60, 60), 255, np.uint8)
    mask[:10, :10] = 0
    mask[30:] = 0
    filled = fill_small_holes(mask)
    assert (filled[:30].min(), filled[30:].max()) == (255, 0)


@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_of_one_level_stays(level: int) -> None:
    mask = np.full((60, 60), level, np.uint8)
    assert_array_equal(fill_small_holes(mask), mask)


def test_a_small_empty_mask_becomes_white() -> None:
    assert fill_small_holes(np.zeros((10, 10), np.uint8)).min() == 255
