from __future__ import annotations

import random

import numpy as np
import pytest

from tools.drawing import Drawing, draw
from tools.evaluate_sight import ALL_NAMED, Viewer, held_out, score_masks, score_words

SIZE = (288, 224)


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Viewer:
    return Viewer(tmp_path_factory.mktemp("root"))


def drawings(count: int, kind: str | None = None) -> list[Drawing]:
    """Small drawings that training does not see, all with a thing of a kind if one is asked for."""
    rng, found = random.Random("unseen"), list[Drawing]()
    while len(found) < count:
        drawing = draw(rng, SIZE)
        if kind is None or any(thing.kind == kind for thing in drawing.facts.things):
            found.append(drawing)
    return found


def test_what_is_held_out_is_the_same_each_time() -> None:
    once, again = (held_out(3) for _ in range(2))

    assert [drawing.caption for drawing in once] == [drawing.caption for drawing in again]


@pytest.mark.slow
def test_the_companions_name_colours_and_kinds(viewer: Viewer) -> None:
    scores = score_words(viewer, drawings(40))

    assert scores[ALL_NAMED].right >= 0.85 * 40


@pytest.mark.slow
def test_the_masks_cover_what_is_drawn(viewer: Viewer) -> None:
    bare = [drawing for drawing in drawings(60) if not drawing.facts.things][:6]

    found = score_masks(viewer, [*drawings(6, "girl"), *drawings(6, "star"), *bare])

    for model, (overlapping, empty) in found.items():
        assert overlapping > 0.85, model
        assert (empty.right, empty.asked) == (6, 6)


def test_a_picture_without_anything_is_described_all_the_same(viewer: Viewer) -> None:
    white = np.full((90, 120, 3), 245, np.uint8)

    assert "white background" in viewer.describe(white)
