"""Control pictures against the recorded ones, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from fooocus_core.images.preprocessors import canny_pyramid, cpds, trace_edges
from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.params import Image, Size
from tests.golden import load_arrays

RECORDED = load_arrays("image-ops/preprocessors")
PHOTOGRAPH = load_arrays("components/preprocessors")
NUMBERS = range(3)


def thresholds(number: int) -> dict[str, int]:
    low, high = RECORDED[f"c{number}_thr"].tolist()
    return {"low": low, "high": high}


def flat(height: int, width: int, colour: object) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def worked_example() -> Image:
    ramp = np.add.outer(np.arange(32) * 7, np.arange(48) * 5).astype(np.uint8)
    return np.dstack([ramp, ramp[::-1], 255 - ramp])


def assert_grey(image: Image, expected: NDArray[np.uint8]) -> None:
    assert_array_equal(image, np.dstack([expected] * 3), strict=True)


@pytest.mark.parametrize("number", NUMBERS)
def test_recorded_edges_before_they_are_stretched(number: int) -> None:
    edges = trace_edges(RECORDED[f"c{number}_image"], **thresholds(number))

    assert_array_equal(edges, RECORDED[f"c{number}_pyramid_float"], strict=True)


@pytest.mark.parametrize("number", NUMBERS)
def test_recorded_canny_pyramid(number: int) -> None:
    drawn = canny_pyramid(RECORDED[f"c{number}_image"], **thresholds(number))

    assert_grey(drawn, RECORDED[f"c{number}_canny"])


@pytest.mark.parametrize(("low", "high"), [(64, 128), (20, 90)])
def test_recorded_canny_pyramid_of_a_photograph(low: int, high: int) -> None:
    drawn = canny_pyramid(PHOTOGRAPH["inp"], low=low, high=high)

    assert_grey(drawn, PHOTOGRAPH[f"canny_{low}_{high}"])


@pytest.mark.parametrize("number", NUMBERS)
def test_recorded_cpds(number: int) -> None:
    assert_grey(cpds(RECORDED[f"c{number}_image"]), RECORDED[f"c{number}_cpds"])


def test_recorded_cpds_of_a_photograph() -> None:
    assert_grey(cpds(PHOTOGRAPH["inp"]), PHOTOGRAPH["cpds"])


def test_worked_example_of_the_canny_pyramid() -> None:
    drawn = canny_pyramid(worked_example(), low=64, high=128)[..., 0]

    assert drawn.sum() == 79205
    assert drawn[5, :8].tolist() == [44, 46, 44, 40, 38, 36, 31, 22]


def test_worked_example_of_cpds() -> None:
    drawn = cpds(worked_example())[..., 0]

    assert drawn.sum() == 201865
    assert drawn[5, :6].tolist() == [210, 213, 218, 221, 225, 230]


@pytest.mark.parametrize("colour", [0, 255, (200, 10, 90)], ids=["black", "white", "red"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (64, 64)], ids=str)
def test_a_picture_of_one_colour_gives_black(shape: tuple[int, int], colour: object) -> None:
    image = flat(*shape, colour)

    assert_array_equal(canny_pyramid(image, low=64, high=128), flat(*shape, 0), strict=True)
    assert_array_equal(cpds(image), flat(*shape, 0), strict=True)


def test_edges_rarer_than_a_percentile_are_white() -> None:
    image = flat(64, 64, 0)
    image[30:32, 30:32] = 255

    drawn = cpds(image)

    assert set(np.unique(drawn)) == {0, 255}
    assert drawn[30, 30].tolist() == [255, 255, 255]


def test_a_single_pixel_makes_a_control_picture_of_the_size_asked_for() -> None:
    image = resize_image(flat(1, 1, (9, 80, 200)), Size(72, 64), Fit.CROP)

    assert image.shape == (64, 72, 3)
    assert not canny_pyramid(image, low=64, high=128).any()
    assert not cpds(image).any()


def test_the_picture_itself_stays_as_it_is() -> None:
    image = worked_example()

    canny_pyramid(image, low=64, high=128)
    cpds(image)

    assert_array_equal(image, worked_example(), strict=True)
