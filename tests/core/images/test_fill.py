from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.images.fill import blur, fill_hole
from tests.golden import load_arrays


@pytest.mark.parametrize("radius", [512, 256, 128, 64, 33, 15, 5, 3])
def test_recorded_blurring(radius: int) -> None:
    cases = load_arrays("image-ops/box_blur")
    assert_array_equal(blur(cases["image"], radius), cases[f"k{radius}"], strict=True)


@pytest.mark.parametrize("number", range(3))
def test_recorded_filling(number: int) -> None:
    cases = load_arrays("image-ops/fooocus_fill")
    result = fill_hole(cases[f"c{number}_image"], cases[f"c{number}_mask"])
    assert_array_equal(result, cases[f"c{number}_out"], strict=True)


def test_recorded_filling_of_a_photograph() -> None:
    case = load_arrays("components/inpaint")
    assert_array_equal(fill_hole(case["img"], case["mask"]), case["fill"], strict=True)


def test_worked_numbers_of_filling() -> None:
    image = (np.arange(192).reshape(8, 8, 3) * 5 % 256).astype(np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 3:7] = 255
    filled = fill_hole(image, mask)
    assert filled[3, 4].tolist() == [132, 116, 121]
    assert filled[5, 6].tolist() == [133, 128, 133]
    assert filled.sum() == 24220


def test_pixels_outside_of_the_hole_are_kept() -> None:
    image = np.arange(75).reshape(5, 5, 3).astype(np.uint8)
    mask = np.array([[0, 126, 127, 128, 255]] * 5, np.uint8)
    filled = fill_hole(image, mask)
    assert_array_equal(filled[:, :2], image[:, :2])
    assert (filled[:, 2:] != image[:, 2:]).any(axis=(0, 2)).all()


def test_picture_without_a_hole_stays_as_it_is() -> None:
    image = np.arange(75).reshape(5, 5, 3).astype(np.uint8)
    assert_array_equal(fill_hole(image, np.zeros((5, 5), np.uint8)), image, strict=True)
