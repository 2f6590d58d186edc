from __future__ import annotations

import random

import pytest
from PIL import Image

from tools.drawing import equal_shapes, one_shape, scene, thing, two_shapes
from tools.exam import Question
from tools.picture_checks import SceneJudge, things_on
from tools.scores import MARKS, Scores
from tools.sheet import Sheet

SIZE = (432, 336)


@pytest.fixture(scope="module")
def judge() -> SceneJudge:
    return SceneJudge()


def drawn(seed: int, subject: str = "one_shape") -> tuple[Question, Image.Image]:
    subjects = {
        "one_shape": one_shape, "two_shapes": two_shapes, "equal_shapes": equal_shapes,
        "thing": thing, "scene": scene,
    }  # fmt: skip
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(seed))
    prompt = subjects[subject](sheet)
    return Question(prompt=prompt, facts=sheet.facts), sheet.image


@pytest.mark.parametrize("subject", ["one_shape", "two_shapes", "equal_shapes", "thing", "scene"])
def test_drawings_show_what_they_show(judge: SceneJudge, subject: str) -> None:
    scores = Scores(judge=judge)
    for seed in range(40):
        question, picture = drawn(seed, subject)
        if question.facts.scene is None or not question.facts.things:
            scores.add(question, picture)

    asked = [score for score in scores.marks.values() if score.asked]
    assert asked
    assert all(score.right >= 0.9 * score.asked for score in asked)


def test_another_picture_is_wrong(judge: SceneJudge) -> None:
    question, _ = drawn(1)
    other = (0, 0, 0) if question.facts.background != "black" else (255, 255, 255)
    scores = Scores(judge=judge)

    wrong = scores.add(question, Image.new("RGB", SIZE, other))

    assert [text.split(":")[0] for text in wrong] == [
        "background colour", "number", "object colour", "shape", "position",
    ]  # fmt: skip
    assert all(scores.marks[name].right == 0 for name in MARKS)


def test_mirrored_pictures_have_other_positions(judge: SceneJudge) -> None:
    scores = Scores(judge=judge)
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(0))
    sheet.fill("blue")
    pen, paint = sheet.place("circle", "red", (0.25, 0.5, 0.2))
    pen.disc(0, 0, 1, paint)
    question = Question(prompt="", facts=sheet.facts)

    assert scores.add(question, sheet.image) == []
    flipped = sheet.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert scores.add(question, flipped) == ["position: 0.75 0.50"]


def test_specks_are_no_things() -> None:
    picture = Image.new("RGB", SIZE, (40, 90, 214))
    picture.paste((214, 40, 40), (100, 100, 200, 200))
    picture.paste((255, 255, 255), (300, 300, 306, 306))

    (seen,) = things_on(picture)

    assert (seen.kind, seen.colour) == ("square", "red")
