from __future__ import annotations

import random

from tools.drawing import draw
from tools.exam import exam, held_out, is_held_out
from tools.train_tiny import draw_latents


def test_no_question_is_asked_twice() -> None:
    assert len(exam()) == len(held_out()) == 400


def test_prompts_say_all_that_is_judged() -> None:
    for question in exam():
        words = question.prompt.replace(",", " ").split()
        assert all(thing.colour in words for thing in question.facts.things)
        assert question.facts.background in [None, *words]


def test_questions_are_of_every_kind() -> None:
    facts = [question.facts for question in exam()]

    assert sum(item.scene is not None for item in facts) == 40
    assert sum(len(item.things) > 1 for item in facts) == 80
    assert len({thing.kind for item in facts for thing in item.things}) == 15
    assert len({item.background for item in facts}) == 12 + 1


def test_training_never_sees_a_prompt_of_the_exam() -> None:
    rng, same = random.Random(2), random.Random(2)
    drawn = [draw(same, (64, 48)).caption for _ in range(100)]

    _, captions = draw_latents(rng, (512, 384), 3, 80)

    assert any(is_held_out(caption) for caption in drawn)
    assert not any(is_held_out(caption) for caption in captions)


def test_either_spelling_of_gray_is_held_out() -> None:
    prompt = next(prompt for prompt in held_out() if "gray" in prompt)

    assert is_held_out(prompt.replace("gray", "grey"))
