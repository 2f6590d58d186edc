from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.choices import ControlKind
from fooocus_core.params import Image, Size
from tools.evaluate_guides import KINDS, compare, edge_agreement, guides


def square(left: int, colour: tuple[int, int, int] = (250, 250, 250)) -> Image:
    picture = np.full((128, 128, 3), 20, np.uint8)
    picture[40:90, left : left + 50] = colour
    return picture


def test_a_picture_agrees_with_itself() -> None:
    seen = compare(square(30), square(30))

    assert (seen.colour, seen.rim, seen.edges) == (0.0, True, 1.0)
    assert seen.structure == pytest.approx(1.0)


def test_a_moved_shape_agrees_less() -> None:
    seen = compare(square(10), square(60))

    assert seen.rim
    assert seen.edges < 0.5
    assert seen.structure < 0.5


def test_other_colours_are_told_by_their_distance() -> None:
    red, green = (np.full((64, 64, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 140, 0)))

    seen = compare(red, green)

    assert seen.colour == pytest.approx((200 + 140) / 3)
    assert not seen.rim


def test_edges_may_be_off_by_a_little() -> None:
    one, other = (np.zeros((100, 100), np.uint8) for _ in range(2))
    one[50], other[54] = 255, 255

    assert 0.5 < edge_agreement(one, other) < 1.0
    assert edge_agreement(one, np.zeros_like(one)) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_guides_are_the_same_each_time(kind: ControlKind) -> None:
    once, again = (guides(kind, 3, Size(128, 96)) for _ in range(2))

    assert [drawing.caption for drawing in once] == [drawing.caption for drawing in again]


def test_guides_have_what_they_are_to_carry_over() -> None:
    shown = guides(ControlKind.IMAGE_PROMPT, 8, Size(128, 96))
    traced = guides(ControlKind.PYRA_CANNY, 8, Size(128, 96))

    assert all(drawing.background for drawing in shown)
    assert not any("gradient" in drawing.caption for drawing in traced)
