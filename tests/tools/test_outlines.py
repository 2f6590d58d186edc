from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from tools.drawing import Drawing, draw
from tools.outlines import kind_map, overlap, thing_mask
from tools.sheet import Sheet

SIZE = (144, 112)


def drawings(kind: str, count: int = 3) -> list[Drawing]:
    rng, found = random.Random(5), list[Drawing]()
    while len(found) < count:
        drawing = draw(rng, SIZE)
        if any(thing.kind == kind for thing in drawing.facts.things):
            found.append(drawing)
    return found


def test_the_mask_of_a_shape_is_where_its_paint_is() -> None:
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(0))
    sheet.fill("blue")
    pen, paint = sheet.place("square", "red", (0.5, 0.5, 0.25))
    pen.box(-1, -1, 1, 1, paint)

    mask = thing_mask(Drawing(image=sheet.image, caption="", facts=sheet.facts))

    assert mask.shape == SIZE[::-1]
    assert mask[28 + 1 : 84, 44 + 1 : 100].all()
    assert mask.sum() == pytest.approx(56 * 56, rel=0.05)


def test_a_map_tells_things_apart_by_their_kinds() -> None:
    (drawing,) = [d for d in drawings("sitting girl", 20) if len(d.facts.things) == 2][:1]

    numbers = kind_map(drawing, ["chair", "sitting girl"])

    assert set(np.unique(numbers)) == {0, 1, 2}
    assert np.array_equal(numbers > 0, thing_mask(drawing))
    assert np.argwhere(numbers == 1).mean(axis=0)[0] > np.argwhere(numbers == 2).mean(axis=0)[0]


def test_where_nothing_stands_the_mask_is_empty() -> None:
    rng = random.Random(1)
    bare = [d for _ in range(60) if not (d := draw(rng, SIZE)).facts.things]

    assert len(bare) > 5
    assert not any(thing_mask(drawing).any() for drawing in bare)


def test_overlap_is_intersection_over_union() -> None:
    one, other = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    assert overlap(one, other) == 1.0
    one[0], other[:, :2] = True, True
    assert overlap(one, other) == pytest.approx(2 / 6)
