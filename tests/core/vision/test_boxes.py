"""Boxes: growing and drawing them."""

from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.params import Size
from fooocus_core.vision.boxes import draw_boxes, grow_boxes


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (0, [10, 20, 30, 40]),
        (5, [5, 15, 35, 45]),
        (-2.5, [12.5, 22.5, 27.5, 37.5]),
        (-15, [25, 35, 15, 25]),
        (64, [-54, -44, 94, 104]),
    ],
)
def test_each_side_moves_outwards(pixels: float, expected: list[float]) -> None:
    grown = grow_boxes(np.array([[10, 20, 30, 40]], np.float32), pixels)
    assert grown.dtype == np.float32
    assert grown.tolist() == [expected]


def test_boxes_are_drawn_with_both_edges_and_cut_at_the_picture() -> None:
    boxes = np.array([[1.9, 1, 3.2, 2.7], [-5, 4, 0, 99]], np.float32)
    expected = np.zeros((6, 8), np.uint8)
    expected[1:3, 1:4] = 255
    expected[4:, 0] = 255
    assert np.array_equal(draw_boxes(boxes, Size(8, 6)), expected)


@pytest.mark.parametrize(
    "box", [[5, 1, 2, 4], [1, 4, 5, 2], [20, 20, 30, 30]], ids=["left", "top", "beyond"]
)
def test_what_is_no_area_of_the_picture_is_not_drawn(box: list[float]) -> None:
    assert not draw_boxes(np.array([box], np.float32), Size(8, 6)).any()


def test_without_boxes_the_picture_is_black() -> None:
    assert np.array_equal(draw_boxes(np.zeros((0, 4), np.float32), Size(3, 2)), np.zeros((2, 3)))
