"""Counts how often pictures show what exam questions ask for.

Knows nothing about how the pictures were made.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from tools.exam import Question
from tools.figures import SHAPES
from tools.picture_checks import SceneJudge, SeenThing, border_colour, things_on
from tools.sheet import Facts, Thing

PLACE_ERROR = 0.1  # of a side: named places are at least twice as far apart
COLOUR_SHARE = 0.3  # of a house, a girl and so on, that the asked colour must have
MARKS = ("background colour", "number", "object colour", "shape", "position", "scene")


@dataclass(slots=True)
class Score:
    """How many were right, of how many asked."""

    right: int = 0
    asked: int = 0

    def add(self, *, right: bool) -> None:
        """Count one."""
        self.right += right
        self.asked += 1

    def __str__(self) -> str:
        share = f" ({self.right / self.asked:.1%})" if self.asked else ""
        return f"{self.right}/{self.asked}{share}"


class Scores:
    """Scores of all marks over a set of pictures."""

    def __init__(self, judge: SceneJudge) -> None:
        self.marks = {name: Score() for name in MARKS}
        self._judge = judge

    def add(self, question: Question, picture: Image.Image) -> list[str]:
        """Judge a picture; returns what is wrong with it."""
        facts = question.facts
        if facts.scene is not None:
            seen = self._judge.scene(picture)
            return self._mark("scene", right=seen == facts.scene, seen=" ".join(seen))
        rim = border_colour(picture)
        wrong = self._mark("background colour", right=rim == facts.background, seen=rim)
        seen_things = things_on(picture)
        number = len(seen_things)
        wrong += self._mark("number", right=number == len(facts.things), seen=str(number))
        for wanted, found in _pairs(facts, seen_things):
            wrong += self._add_thing(wanted, found)
        return wrong

    def _add_thing(self, wanted: Thing, found: SeenThing | None) -> list[str]:
        if found is None:
            return [
                text
                for mark in ("object colour", "shape", "position")
                for text in self._mark(mark, right=False, seen="nothing")
            ]
        near = all(
            abs(here - there) <= PLACE_ERROR
            for here, there in zip(found.place, wanted.place, strict=True)
        )
        place = "{:.2f} {:.2f}".format(*found.place)
        return [
            *self._mark("object colour", right=_has_colour(found, wanted), seen=found.colour),
            *self._mark("shape", right=found.kind == wanted.kind, seen=found.kind),
            *self._mark("position", right=near, seen=place),
        ]

    def _mark(self, name: str, *, right: bool, seen: str) -> list[str]:
        self.marks[name].add(right=right)
        return [] if right else [f"{name}: {seen}"]


def _has_colour(found: SeenThing, wanted: Thing) -> bool:
    if wanted.kind in SHAPES:
        return found.colour == wanted.colour
    return found.shares[wanted.colour] >= COLOUR_SHARE


def _pairs(facts: Facts, seen: list[SeenThing]) -> list[tuple[Thing, SeenThing | None]]:
    """Give every asked thing the nearest of those seen that no other has."""
    left, pairs = list(seen), list[tuple[Thing, SeenThing | None]]()
    for thing in facts.things:
        nearest = min(left, key=lambda found: _distance(found, thing), default=None)
        if nearest is not None:
            left.remove(nearest)
        pairs.append((thing, nearest))
    return pairs


def _distance(found: SeenThing, wanted: Thing) -> float:
    x, y = (here - there for here, there in zip(found.place, wanted.place, strict=True))
    return x * x + y * y
