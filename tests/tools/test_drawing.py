from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from tools.drawing import WANDER, Drawing, draw
from tools.landscapes import GROUNDS, TIMES, draw_landscape
from tools.picture_checks import SceneJudge, border_colour
from tools.sheet import COLOURS, Sheet

SIZE = (144, 112)


def test_the_same_seed_draws_the_same_picture() -> None:
    first, second = (draw(random.Random(5), SIZE) for _ in range(2))

    assert first.caption == second.caption
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))


def test_seeds_draw_different_pictures() -> None:
    captions = {draw(random.Random(seed), SIZE).caption for seed in range(40)}

    assert len(captions) > 30


def test_things_stray_as_far_as_they_may_and_nothing_else_differs() -> None:
    def drawn(wander: float) -> Drawing:
        return draw(random.Random(8), (64, 48), shapes=1.0, wander=wander)

    exact, little, far = (drawn(wander) for wander in (0.0, 0.5, 1.0))
    places = np.array([drawing.facts.things[0].place for drawing in (exact, little, far)])
    assert exact.caption == far.caption
    assert places[1] - places[0] == pytest.approx((places[2] - places[0]) / 2)
    assert (places[2] != places[0]).all()


@pytest.mark.parametrize(("several", "numbers"), [(0.0, {1}), (0.5, {1, 2, 3}), (1.0, {2, 3})])
def test_as_many_shapes_are_shown_as_are_asked_for(several: float, numbers: set[int]) -> None:
    rng = random.Random(2)
    drawings = [draw(rng, (64, 48), shapes=1.0, several=several) for _ in range(60)]

    assert {len(drawing.facts.things) for drawing in drawings} == numbers


@pytest.mark.parametrize(("wander", "counts"), [(1.0, {4, 5, 6}), (WANDER, {5})])
def test_patterns_are_of_one_number_where_things_hardly_stray(
    wander: float, counts: set[int]
) -> None:
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(1), wander)

    assert {sheet.count() for _ in range(60)} == counts


def test_a_plain_background_has_the_colour_of_the_caption() -> None:
    rng = random.Random(1)
    drawings = [drawing for _ in range(200) if (drawing := draw(rng, SIZE)).background]

    said = 0
    for drawing in drawings:
        assert drawing.background is not None
        said += drawing.background in drawing.caption.replace("grey", "gray").split()
        corner = np.asarray(drawing.image)[0, 0].astype(int)
        assert np.abs(corner - COLOURS[drawing.background]).max() <= 11
    assert 0.85 * len(drawings) < said < len(drawings)


def test_where_no_background_is_said_it_is_mostly_white() -> None:
    rng = random.Random(1)
    unsaid = [
        drawing.background
        for _ in range(400)
        if (drawing := draw(rng, SIZE)).background
        and not drawing.facts.pattern
        and drawing.background not in drawing.caption.replace("grey", "gray")
    ]

    assert unsaid.count("white") > 0.5 * len(unsaid) > 2


def test_size_is_width_and_height() -> None:
    assert draw(random.Random(0), (96, 64)).image.size == (96, 64)


def test_border_colour_names_the_background() -> None:
    rng = random.Random(2)
    drawings = [drawing for _ in range(60) if (drawing := draw(rng, SIZE)).background]

    right = sum(border_colour(drawing.image) == drawing.background for drawing in drawings)

    assert right >= 0.97 * len(drawings)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("kind", GROUNDS)
def test_drawn_landscapes_are_recognised(judge: SceneJudge, kind: str, time: str) -> None:
    picture = draw_landscape(random.Random(9), SIZE, kind, time)

    assert judge.scene(picture) == (kind, time)


@pytest.fixture(scope="module")
def judge() -> SceneJudge:
    return SceneJudge()
