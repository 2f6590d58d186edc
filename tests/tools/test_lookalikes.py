from __future__ import annotations

import random

import pytest

from tools.drawing import draw
from tools.lookalikes import SIZE, Lookalikes, without_background
from tools.picture_checks import SceneJudge, border_colour


@pytest.fixture(scope="module")
def lookalikes() -> Lookalikes:
    return Lookalikes(0)


def test_others_have_the_same_behind_their_things(lookalikes: Lookalikes) -> None:
    rng, judge = random.Random(1), SceneJudge()
    same = scenes = 0
    for _ in range(60):
        drawing = draw(rng, SIZE)
        other = lookalikes.of(drawing, rng)
        if drawing.facts.pattern:
            assert other is drawing.image
        elif drawing.background:
            assert other is not drawing.image
            same += border_colour(other) == drawing.background
        elif not drawing.facts.things:
            scenes += judge.scene(other) == judge.scene(drawing.image)
    # Large things may reach the rim.
    assert same >= 30
    assert scenes >= 4


def test_a_seed_decides_what_is_shown(lookalikes: Lookalikes) -> None:
    drawing = draw(random.Random(4), SIZE)

    one, other = (x.of(drawing, random.Random(2)) for x in (lookalikes, Lookalikes(0)))

    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("a red circle on a blue background", "a red circle"),
        ("a red circle on the left on an orange background", "a red circle on the left"),
        ("a small star, black background", "a small star"),
        ("three gray squares on yellow", "three gray squares"),
        ("a heart on grey", "a heart"),
        ("a red circle on the left", "a red circle on the left"),
        ("plain blue background", "plain blue background"),
        ("a girl on a chair", "a girl on a chair"),
    ],
)
def test_what_is_said_of_the_background_is_left_out(caption: str, left: str) -> None:
    assert without_background(caption) == left
