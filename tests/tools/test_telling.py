from __future__ import annotations

import random

import pytest
from PIL import Image

from tools.drawing import draw
from tools.sheet import Facts, Pattern, Thing
from tools.telling import all_tags, missing_in, sentence, sentence_words, tags

LEAST_WORDS = 6  # a captioner ends no earlier


def thing(
    kind: str, colour: str, place: tuple[float, float] = (0.5, 0.5), size: float = 0.22
) -> Thing:
    return Thing(
        kind=kind,
        colour=colour,
        place=place,
        size=size,
        paint=(0, 0, 0),
        behind=Image.new("RGB", (1, 1)),
    )


def on_blue(*things: Thing) -> Facts:
    return Facts(things=[*things], background="blue")


LEFT, RIGHT = (0.27, 0.5), (0.73, 0.52)
CASES = [
    (on_blue(thing("circle", "red")), "a red circle on a blue background"),
    (
        on_blue(thing("star", "orange", (0.22, 0.24), 0.13)),
        "a small orange star in the top left corner on a blue background",
    ),
    (
        on_blue(thing("ring", "cyan", (0.74, 0.5), 0.34)),
        "a large cyan ring on the right on a blue background",
    ),
    (
        on_blue(thing("cross", "red", RIGHT), thing("heart", "green", LEFT)),
        "a green heart to the left of a red cross on a blue background",
    ),
    (
        on_blue(thing("cross", "red", (0.5, 0.7)), thing("heart", "green", (0.48, 0.3))),
        "a green heart above a red cross on a blue background",
    ),
    (
        on_blue(thing("cross", "red", LEFT), thing("cross", "red", RIGHT)),
        "two red crosses on a blue background",
    ),
    (
        on_blue(*(thing("star", "red", (x, 0.5)) for x in (0.25, 0.5, 0.75))),
        "three red stars on a blue background",
    ),
    (on_blue(), "nothing but a plain blue background"),
    (
        Facts(pattern=Pattern(kind="checks", colours=("red", "white"))),
        "a checkerboard of red and white squares",
    ),
    (Facts(scene=("sea", "sunset")), "a landscape with the sea at sunset"),
    (
        Facts(things=[thing("house", "white")], scene=("sea", "night")),
        "a white house by the sea at night",
    ),
    (
        Facts(
            things=[thing("chair", "brown"), thing("sitting girl", "red")], scene=("field", "day")
        ),
        "a girl in a red dress sitting on a chair in a field on a sunny day",
    ),
]


@pytest.mark.parametrize(("facts", "words"), CASES, ids=[words for _, words in CASES])
def test_a_sentence_tells_what_there_is(facts: Facts, words: str) -> None:
    assert sentence(facts) == words
    assert missing_in(words, facts) == []


def test_sentences_of_drawings_have_known_words_and_are_long_enough() -> None:
    rng, known = random.Random(0), set(sentence_words())

    told = [sentence(draw(rng, (36, 28)).facts).split() for _ in range(400)]

    assert {word for words in told for word in words} <= known
    assert min(map(len, told)) >= LEAST_WORDS
    assert len({" ".join(words) for words in told}) > 300


def test_tags_of_drawings_are_on_the_list_once() -> None:
    rng, listed = random.Random(0), all_tags()

    found = set[str]().union(*(tags(draw(rng, (36, 28)).facts) for _ in range(400)))

    assert len(set(listed)) == len(listed)
    assert found <= set(listed)


def test_tags_name_people_colours_and_places() -> None:
    facts = Facts(
        things=[thing("chair", "brown"), thing("sitting girl", "red")], scene=("field", "day")
    )

    assert tags(facts) == {
        *("1girl", "solo", "sitting", "red_dress", "brown_chair", "outdoors", "grass", "blue_sky")
    }
    assert tags(on_blue(thing("ring", "cyan"))) == {
        *("no_humans", "cyan_ring", "simple_background", "blue_background")
    }


def test_the_order_of_colours_in_a_pattern_does_not_matter() -> None:
    striped = Facts(pattern=Pattern(kind="vertical stripes", colours=("red", "white")))

    assert missing_in("vertical stripes of white and red", striped) == []
    assert missing_in("horizontal stripes of red and blue", striped) == [
        "vertical stripes",
        "white",
    ]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("a red circle on a green background", ["blue background"]),
        ("a red square on a blue background", ["red circle"]),
        ("a blue circle on a red background", ["red circle", "blue background"]),
    ],
)
def test_what_a_text_does_not_name_is_missing(text: str, missing: list[str]) -> None:
    assert missing_in(text, on_blue(thing("circle", "red"))) == missing
