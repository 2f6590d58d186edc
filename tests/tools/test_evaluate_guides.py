from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as PillowImage

from fooocus_core.choices import ControlKind
from fooocus_core.params import Image, ImagePrompt, Size
from tools.drawing import Drawing, dots, gradient, one_shape, plain, scene
from tools.evaluate_guides import (
    KINDS,
    ask_beside,
    compare,
    edge_agreement,
    evaluate,
    guides,
    has_what_it_carries,
)
from tools.exam import exam
from tools.figures import SHAPES
from tools.picture_checks import border_colour
from tools.sheet import COLOURS, Sheet


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


def drawing_of(subject: Callable[[Sheet], str]) -> Drawing:
    sheet = Sheet(PillowImage.new("RGB", (128, 96)), random.Random(0))
    return Drawing(caption=subject(sheet), image=sheet.image, facts=sheet.facts)


@pytest.mark.parametrize(
    ("subject", "has_background", "has_edges"),
    [
        (one_shape, True, True),
        (plain, True, False),
        (dots, False, True),
        (gradient, False, False),
        (scene, False, True),
    ],
)
def test_guides_have_what_they_are_to_carry_over(
    subject: Callable[[Sheet], str], has_background: bool, has_edges: bool
) -> None:
    drawing = drawing_of(subject)

    assert has_what_it_carries(ControlKind.IMAGE_PROMPT, drawing) == has_background
    assert has_what_it_carries(ControlKind.PYRA_CANNY, drawing) == has_edges
    assert has_what_it_carries(ControlKind.CPDS, drawing)


def test_a_size_without_edges_is_refused() -> None:
    with pytest.raises(SystemExit, match="too few"):
        guides(ControlKind.PYRA_CANNY, 2, Size(1, 1))


class GuidedPainter:
    """Paints the shape that words ask for, on the background of the guide or on another."""

    def __init__(self, *, obeys: bool) -> None:
        self._obeys = obeys

    def paint(
        self, words: str, seed: int, *, size: Size, image_prompts: tuple[ImagePrompt, ...]
    ) -> PillowImage.Image:
        (guide,) = image_prompts
        rim = border_colour(PillowImage.fromarray(guide.image))
        asked = [q.facts for q in exam() if q.prompt.startswith(words)]
        facts = next((facts for facts in asked if facts.background == rim), asked[0])
        (thing,) = facts.things
        others = [name for name in COLOURS if name not in (rim, thing.colour)]
        sheet = Sheet(PillowImage.new("RGB", (size.width, size.height)), random.Random(seed))
        sheet.fill(rim if self._obeys else others[0])
        pen, paint = sheet.place(thing.kind, thing.colour, (*thing.place, 0.2))
        SHAPES[thing.kind](pen, paint, sheet.behind)
        return sheet.image


@pytest.mark.parametrize(("obeys", "right"), [(True, 6), (False, 0)])
def test_backgrounds_beside_words_are_counted(obeys: bool, right: int) -> None:
    scores, shown = ask_beside(GuidedPainter(obeys=obeys), 6, Size(288, 224))

    mark = scores.marks["background colour"]
    assert (mark.right, mark.asked) == (right, 6)
    assert str(scores.marks["shape"]) == "6/6 (100.0%)"
    assert len(shown) == 12


class NotingPainter:
    """Paints nothing, and notes to which share of the steps guides are to act."""

    def __init__(self) -> None:
        self.stops = list[float]()

    def paint(
        self, _words: str, _seed: int, *, size: Size, image_prompts: tuple[ImagePrompt, ...] = ()
    ) -> PillowImage.Image:
        self.stops += [prompt.stop for prompt in image_prompts]
        return PillowImage.new("RGB", (size.width, size.height), "blue")


@pytest.mark.parametrize("kind", KINDS)
def test_guides_act_to_the_share_of_the_steps_that_is_asked(kind: ControlKind) -> None:
    painter, size = NotingPainter(), Size(128, 96)

    shown = evaluate(painter, kind, guides(kind, 2, size), size, 0.8)
    ask_beside(painter, 2, size, 0.7)

    assert painter.stops == [0.8, 0.8, 0.7, 0.7]
    assert len(shown) == 2 * 3
