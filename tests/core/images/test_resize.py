from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fooocus_core.errors import InvalidInputError
from fooocus_core.images.arrays import size_of
from fooocus_core.images.resize import Fit, check_croppable, resample, resize_image
from fooocus_core.images.sizes import size_for_area
from fooocus_core.params import Size
from tests.golden import load_arrays, load_picture

CASES = load_arrays("image-ops/resize")
MODES = dict(enumerate(Fit))
PLAIN = -1
SMALL = (np.add.outer(np.arange(8) * 24, np.arange(8) * 3)[..., None] + np.arange(3)).astype(
    np.uint8
)


def cases(*modes: int) -> list[int]:
    return [n for n in range(26) if int(CASES[f"c{n}_mode"]) in modes]


@pytest.mark.parametrize("number", cases(*MODES))
def test_recorded_resizing(number: int) -> None:
    width, height = CASES[f"c{number}_target_wh"].tolist()
    fit = MODES[int(CASES[f"c{number}_mode"])]
    result = resize_image(CASES[f"c{number}_in"], Size(width, height), fit)
    assert_array_equal(result, CASES[f"c{number}_out"], strict=True)


@pytest.mark.parametrize("number", cases(PLAIN))
def test_recorded_resampling(number: int) -> None:
    size = Size(*(int(side) for side in CASES[f"c{number}_target_wh"]))
    result = resample(CASES[f"c{number}_in"], size)
    assert_array_equal(result, CASES[f"c{number}_out"], strict=True)


@pytest.mark.parametrize("name", ["s", "l", "sq", "odd"])
def test_recorded_photograph(name: str) -> None:
    expected, photo = load_arrays("components/imageops"), load_picture("photo_b")
    height, width, _ = expected[f"resample_{name}"].shape
    size = Size(width, height)
    for mode, fit in MODES.items():
        result = resize_image(photo, size, fit)
        assert_array_equal(result, expected[f"resize_{name}_m{mode}"], strict=True)
    assert_array_equal(resample(photo, size), expected[f"resample_{name}"], strict=True)


def test_recorded_resampling_to_an_area() -> None:
    photo = load_picture("photo_b")
    result = resample(photo, size_for_area(size_of(photo), 512))
    assert_array_equal(result, load_arrays("components/imageops")["set_ceil_512"], strict=True)


def test_equal_size_gives_a_copy() -> None:
    result = resample(SMALL, size_of(SMALL))
    assert_array_equal(result, SMALL, strict=True)
    assert not np.shares_memory(result, SMALL)


def test_mask_is_resized_like_the_channels_of_a_picture() -> None:
    size = Size(13, 5)
    assert_array_equal(resample(SMALL[..., 0], size), resample(SMALL, size)[..., 0], strict=True)


def test_picture_too_thin_to_be_shown_completely_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="500x1 pixels is too thin to be shown in 64x64"):
        resize_image(np.zeros((1, 500, 3), np.uint8), Size(64, 64), Fit.SMEAR)


def test_picture_too_thin_to_be_cropped_without_a_huge_one_in_between_is_refused() -> None:
    given, wanted = Size(1, 9000), Size(512, 512)
    with pytest.raises(InvalidInputError, match="1x9000 pixels is too thin to be shown in 512x512"):
        resize_image(np.zeros((9000, 1, 3), np.uint8), wanted, Fit.CROP)
    with pytest.raises(InvalidInputError, match="1x9000 pixels is too thin to be shown in 512x512"):
        check_croppable(given, wanted)


def test_thin_picture_is_cropped() -> None:
    result = resize_image(np.full((300, 1, 3), 7, np.uint8), Size(64, 48), Fit.CROP)
    assert_array_equal(result, np.full((48, 64, 3), 7, np.uint8), strict=True)
