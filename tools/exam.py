"""The prompts that the embedded model is examined with, which training never sees.

Each comes from the drawer of the world, so that what its picture must show is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from PIL import Image

from tools.drawing import equal_shapes, one_shape, scene, thing, two_shapes
from tools.sheet import Facts, Sheet

SEED = 400
SHARES: tuple[tuple[Callable[[Sheet], str], int], ...] = (
    (one_shape, 240),
    (two_shapes, 40),
    (equal_shapes, 40),
    (thing, 40),
    (scene, 40),
)
KIND_WORDS = {"field": ("field", "meadow"), "sea": ("sea", "ocean")}
PAPER = (72, 56)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt, and what its picture must show."""

    prompt: str
    facts: Facts


@cache
def exam() -> tuple[Question, ...]:
    """Return the questions: no prompt twice, and nothing asked that a prompt does not say."""
    rng = random.Random(SEED)
    questions: dict[str, Question] = {}
    for subject, count in SHARES:
        wanted = len(questions) + count
        while len(questions) < wanted:
            sheet = Sheet(Image.new("RGB", PAPER), rng)
            prompt = subject(sheet)
            if _says_all(prompt, sheet.facts):
                questions.setdefault(prompt, Question(prompt=prompt, facts=sheet.facts))
    return tuple(questions.values())


@cache
def held_out() -> frozenset[str]:
    """Return the captions that training must not use."""
    return frozenset(question.prompt for question in exam())


def _says_all(prompt: str, facts: Facts) -> bool:
    words = prompt.replace(",", " ").split()
    colours = {item.colour for item in facts.things} | {facts.background}
    if facts.scene:
        kind = facts.scene[0]
        if not facts.things:
            return any(word in words for word in KIND_WORDS.get(kind, (kind,)))
        return False
    return all(colour in words for colour in colours if colour)


def is_held_out(caption: str) -> bool:
    """Tell whether a caption belongs to the exam, in either spelling of gray."""
    return caption.replace("grey", "gray") in held_out()
