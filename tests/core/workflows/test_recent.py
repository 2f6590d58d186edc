"""What was made lately is not made again."""

from __future__ import annotations

import numpy as np
import pytest

from fooocus_core.workflows.recent import Recent, content_key


class Maker:
    """Makes texts and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"thing {self.count}"


@pytest.fixture
def make() -> Maker:
    return Maker()


def test_what_is_there_is_not_made_again(make: Maker) -> None:
    recent: Recent[str] = Recent(2)
    assert [recent.get("a", make) for _ in range(3)] == ["thing 1"] * 3
    assert recent.get("b", make) == "thing 2"


def test_what_was_not_asked_for_the_longest_makes_room(make: Maker) -> None:
    recent: Recent[str] = Recent(2)
    for key in ("a", "b", "a", "c"):
        recent.get(key, make)
    assert [recent.get(key, make) for key in ("c", "a")] == ["thing 3", "thing 1"]
    assert recent.get("b", make) == "thing 4"


def test_nothing_is_there_after_a_failure_or_after_forgetting(make: Maker) -> None:
    recent: Recent[str] = Recent(2)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: str(1 / 0))
    assert recent.get("a", make) == "thing 1"
    recent.clear()
    assert recent.get("a", make) == "thing 2"


def test_that_there_is_nothing_to_make_is_remembered() -> None:
    recent: Recent[str | None] = Recent(2)
    asked: list[str] = []
    for _ in range(2):
        assert recent.get("a", lambda: asked.append("a")) is None
    assert asked == ["a"]


def test_pictures_that_show_the_same_have_the_same_key() -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert content_key(picture) == content_key(np.asfortranarray(picture))
    assert content_key(picture) != content_key(picture.reshape(4, 2, 3))
    assert content_key(picture) != content_key(picture + np.uint8(1))
