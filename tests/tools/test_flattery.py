from __future__ import annotations

import random
import re

import pytest

from fooocus_core.text.tokens import Tokenizer
from tools.drawing import Drawing, draw
from tools.flattery import TOPICS, all_families, is_phrase, positive_words, praise, topics
from tools.prompts import UNKNOWN, WordTable

WORDS = positive_words()


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    rng = random.Random(0)
    return [draw(rng, (16, 16)) for _ in range(4000)]


def test_no_word_of_praise_is_one_that_says_what_a_picture_shows(drawings: list[Drawing]) -> None:
    shown = {word for one in drawings for word in re.findall(r"[a-z0-9]+", one.caption)}
    stems = {word.removesuffix("s") for word in shown if len(word) > 2}

    assert {"red", "circle", "left", "sunset", "two", "house"} <= shown
    assert not shown & set(WORDS)
    assert not stems & {word.removesuffix("s") for word in WORDS}


def test_the_text_encoders_that_draw_do_not_know_any_word_of_praise(
    drawings: list[Drawing],
) -> None:
    table = WordTable(Tokenizer().ids, [*(drawing.caption for drawing in drawings), ", ."])

    assert table.rows("red") != [UNKNOWN]
    # One token each, so that an expanded caption fills no second chunk.
    assert [word for word in WORDS if table.rows(word) != [UNKNOWN]] == []


def test_there_are_enough_words_and_each_has_one_family() -> None:
    listed = [word for family in all_families() for word in family.words]

    assert sorted(listed) == WORDS
    assert len(set(WORDS)) == len(WORDS) >= 150
    assert all(re.fullmatch("[a-z]+", word) for word in WORDS)


@pytest.mark.parametrize("room", [1, 2, 3, 4, 5, 30, 74])
@pytest.mark.parametrize("topic", [None, *TOPICS])
def test_praise_fills_its_room_with_whole_phrases(topic: str | None, room: int) -> None:
    rng, said = random.Random(room), ["crisp", "stunning", "scenery"]

    spoken = praise([topic] if topic else [], room, rng, said=said)

    words = [word for word in spoken if word != ","]
    assert len(spoken) == room
    assert all(map(is_phrase, " ".join(spoken).split(" , ")))
    assert len({*words, *said}) == len(words) + len(said)


@pytest.mark.parametrize(
    "text",
    ["crisp foliage", "edges", "edges crisp", "crisp", "crisp clean neat edges", "crisp cat"],
)
def test_other_texts_are_no_phrases(text: str) -> None:
    assert not is_phrase(text)


def test_drawings_are_praised_for_what_they_show(drawings: list[Drawing]) -> None:
    by_caption = {drawing.caption: topics(drawing.facts) for drawing in drawings}

    for part, topic in {
        "circle": "shapes",
        "dress": "people",
        "bear": "animals",
        "tree": "plants",
        "house": "objects",
        "stripes": "patterns",
        "mountains": "scenery",
    }.items():
        found = [topics for caption, topics in by_caption.items() if part in caption]
        assert found
        assert all(topic in topics for topics in found)
    assert by_caption["plain red background"] == []
