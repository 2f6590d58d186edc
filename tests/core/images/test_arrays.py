from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import size_of, to_rgb
from fooocus_core.params import Size
from tests.golden import load_arrays


@pytest.mark.parametrize("kind", ["gray", "one", "rgba"])
def test_channels_are_brought_to_three(kind: str) -> None:
    cases = load_arrays("image-ops/hwc3")
    assert_array_equal(to_rgb(cases[f"{kind}_in"]), cases[f"{kind}_out"], strict=True)


def test_transparency_becomes_white() -> None:
    cases = load_arrays("components/imageops")
    assert_array_equal(to_rgb(cases["hwc3_rgba_in"]), cases["hwc3_rgba"], strict=True)


def test_rgb_picture_is_kept_as_it_is() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    assert to_rgb(image) is image


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["two channels", "five channels", "one dimension", "float"],
)
def test_other_arrays_are_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="uint8 with 1, 3 or 4 channels"):
        to_rgb(image)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3)], ids=["mask", "picture"])
def test_size_is_width_and_height(shape: tuple[int, ...]) -> None:
    assert size_of(np.zeros(shape, np.uint8)) == Size(width=5, height=2)
