from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tools.drawing import one_shape
from tools.evaluate_tiny import (
    Album,
    evaluate,
    evaluate_negative,
    machine,
    make_sheet,
    processor_name,
    table,
)
from tools.exam import Question
from tools.figures import SHAPES
from tools.sheet import COLOURS, Facts, Sheet

SIZE = (288, 224)


class DrawingPainter:
    """Draws what it is asked for, as the exam's questions were drawn; never a forbidden colour."""

    def __init__(self, *, obeys: bool = True) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self._obeys = obeys

    def paint(self, prompt: str, seed: int, *, negative: str = "") -> Image.Image:
        self.asked.append((prompt, seed, negative))
        if prompt in QUESTIONS:
            return drawn(seed - 1000)[1]
        shape, background = prompt.split()[1], prompt.split()[4]
        colours = [name for name in COLOURS if name != background]
        if self._obeys:
            colours = [name for name in colours if name != negative]
        sheet = Sheet(Image.new("RGB", SIZE), random.Random(seed))
        sheet.fill(background)
        pen, paint = sheet.place(shape, colours[0], (0.5, 0.5, 0.3))
        SHAPES[shape](pen, paint, sheet.behind)
        return sheet.image


def drawn(index: int) -> tuple[Question, Image.Image]:
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(index))
    return Question(prompt=f"{one_shape(sheet)}, {index}", facts=sheet.facts), sheet.image


EXAM = tuple(drawn(index)[0] for index in range(4))
QUESTIONS = {question.prompt for question in EXAM}


def test_pictures_that_show_what_is_asked_get_all_marks(tmp_path: Path) -> None:
    scores = evaluate(Album(DrawingPainter(), tmp_path), EXAM, 1)

    assert str(scores.marks["background colour"]) == "4/4 (100.0%)"
    assert str(scores.marks["shape"]) == "4/4 (100.0%)"


def test_pictures_of_something_else_do_not(tmp_path: Path) -> None:
    others = []
    for question in EXAM:
        (thing,) = question.facts.things
        background = next(name for name in COLOURS if name != question.facts.background)
        colour = next(name for name in COLOURS if name not in (thing.colour, background))
        facts = Facts(things=[replace(thing, colour=colour)], background=background)
        others.append(Question(prompt=question.prompt, facts=facts))

    scores = evaluate(Album(DrawingPainter(), tmp_path), tuple(others), 1)

    assert str(scores.marks["background colour"]) == "0/4 (0.0%)"
    assert str(scores.marks["object colour"]) == "0/4 (0.0%)"
    assert str(scores.marks["shape"]) == "4/4 (100.0%)"


def test_what_is_painted_is_kept(tmp_path: Path) -> None:
    painter = DrawingPainter()
    for every in (2, 1, 1):
        evaluate(Album(painter, tmp_path), EXAM, every)

    assert sorted(seed for _, seed, _ in painter.asked) == [1000, 1001, 1002, 1003]


@pytest.mark.parametrize(("obeys", "right"), [(True, 4), (False, 0)])
def test_a_forbidden_colour_has_to_go(tmp_path: Path, obeys: bool, right: int) -> None:
    painter = DrawingPainter(obeys=obeys)

    score = evaluate_negative(Album(painter, tmp_path), 12)

    assert (score.right, score.asked) == (right, 4)
    forbidden = [negative for _, _, negative in painter.asked if negative]
    assert len(forbidden) == 4


def test_the_table_has_a_row_for_every_mark(tmp_path: Path) -> None:
    album = Album(DrawingPainter(), tmp_path)

    marks = {**evaluate(album, EXAM, 4).marks, "negative colour": evaluate_negative(album, 24)}
    rows = table(marks).splitlines()

    assert rows[0] == "| background colour | 1/1 (100.0%) |"
    assert rows[-1] == "| negative colour | 2/2 (100.0%) |"


def test_processors_are_named_as_the_system_names_them() -> None:
    described = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\n"

    assert processor_name(described) == "Some CPU @ 2 GHz"
    assert processor_name("processor\t: 0\nhart\t: 1\n") is None
    assert re.fullmatch(r"\S.*, \d+ cores", machine())


def test_a_sheet_has_room_for_all() -> None:
    sheet = make_sheet([("one", Image.new("RGB", SIZE, "red"))] * 6, columns=5)

    assert sheet.size == (5 * 288, 2 * (224 + 14))
