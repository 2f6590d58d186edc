from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.choices import Side
from fooocus_core.errors import InvalidInputError
from fooocus_core.images.outpaint import extend_sides
from fooocus_core.params import Extension
from tests.golden import load_arrays

CASES = load_arrays("image-ops/outpaint")
IMAGE = np.arange(10 * 7 * 3).reshape(10, 7, 3).astype(np.uint8)
MASK = np.arange(70).reshape(10, 7).astype(np.uint8)


@pytest.mark.parametrize("number", range(5))
def test_recorded_extending(number: int) -> None:
    image, mask, chosen, distances = (
        CASES[f"c{number}_{name}"] for name in ("image", "mask", "sel", "dist_ltrb")
    )
    pixels = dict(zip(("left", "top", "right", "bottom"), distances.tolist(), strict=True))
    extensions = [
        Extension(side=Side(word.capitalize()), pixels=pixels[word])
        for word in str(chosen).split(",")
    ]
    extended, extended_mask = extend_sides(image, mask, extensions)
    assert_array_equal(extended, CASES[f"c{number}_out_image"], strict=True)
    assert_array_equal(extended_mask, CASES[f"c{number}_out_mask"], strict=True)


@pytest.mark.parametrize(
    ("extension", "shape"),
    [
        (Extension(side=Side.LEFT), (10, 9)),
        (Extension(side=Side.TOP, pixels=0), (13, 7)),
        (Extension(side=Side.BOTTOM, pixels=-1), (13, 7)),
        (Extension(side=Side.RIGHT, pixels=1), (10, 8)),
    ],
    ids=["none", "zero", "negative", "given"],
)
def test_side_grows_by_its_pixels_or_by_30_percent(
    extension: Extension, shape: tuple[int, int]
) -> None:
    image, mask = extend_sides(IMAGE, MASK, [extension])
    assert image.shape == (*shape, 3)
    assert mask.shape == shape


@pytest.mark.parametrize("side", list(Side), ids=str)
def test_picture_is_unchanged_inside_of_the_extended_one(side: Side) -> None:
    image, mask = extend_sides(IMAGE, MASK, [Extension(side=side, pixels=4)])
    top, left = 4 * (side is Side.TOP), 4 * (side is Side.LEFT)
    inside = np.s_[top : top + 10, left : left + 7]
    assert_array_equal(image[inside], IMAGE, strict=True)
    assert_array_equal(mask[inside], MASK, strict=True)
    mask[inside] = 255
    assert (mask == 255).all()


def test_all_shares_are_those_of_the_given_picture() -> None:
    image, _ = extend_sides(IMAGE, MASK, [Extension(side=side) for side in Side])
    assert image.shape == (10 + 3 + 3, 7 + 2 + 2, 3)


def test_nothing_is_added_without_sides() -> None:
    image, mask = extend_sides(IMAGE, MASK, [])
    assert_array_equal(image, IMAGE, strict=True)
    assert_array_equal(mask, MASK, strict=True)


def test_result_with_too_many_pixels_is_refused() -> None:
    thin = np.zeros((30_000, 1, 3), np.uint8)
    with pytest.raises(InvalidInputError, match="3001x30000 pixels"):
        extend_sides(thin, thin[..., 0], [Extension(side=Side.LEFT, pixels=3000)])
