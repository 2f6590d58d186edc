from __future__ import annotations

import random

import pytest
from PIL import Image

from tools.drawing import dots, draw
from tools.lookalikes import SIZE, Lookalikes, without_background
from tools.picture_checks import SceneJudge, border_colour, things_on
from tools.sheet import Facts, Sheet


@pytest.fixture(scope="module")
def lookalikes() -> Lookalikes:
    return Lookalikes(0)


def test_others_have_the_same_behind_their_things(lookalikes: Lookalikes) -> None:
    rng, judge = random.Random(1), SceneJudge()
    rims, scenes = [], []
    for _ in range(150):
        facts = draw(rng, SIZE).facts
        other = lookalikes.of(facts, rng)
        assert (other is None) == (facts.pattern is not None)
        if other is not None and facts.background:
            rims.append(border_colour(other) == facts.background)
        elif other is not None:
            scenes.append(judge.scene(other) == facts.scene)
    # Large things may reach the rim, and hide landscapes.
    assert sum(rims) > 0.97 * len(rims) > 60
    assert sum(scenes) > 0.8 * len(scenes) > 20


def test_nothing_is_like_a_pattern_and_no_pattern_like_anything(lookalikes: Lookalikes) -> None:
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(0))
    dots(sheet)
    assert sheet.facts.background is not None
    assert lookalikes.of(sheet.facts, random.Random(0)) is None

    plain = Facts(background=sheet.facts.background)
    shown = [lookalikes.of(plain, random.Random(number)) for number in range(60)]
    assert len({image.tobytes() for image in shown if image}) > 10
    assert max(len(things_on(image)) for image in shown if image) <= 3


def test_a_seed_decides_what_is_shown(lookalikes: Lookalikes) -> None:
    facts = Facts(background="blue")

    one, same, other = (
        x.of(facts, random.Random(2)) for x in (lookalikes, Lookalikes(0), Lookalikes(1))
    )

    assert one is not None
    assert one == same
    assert one != other


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
