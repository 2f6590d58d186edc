from __future__ import annotations

import random

import numpy as np
from PIL import Image

from tools.drawing import WANDER, draw
from tools.ink import INK, PAPER, draw_in_ink, edges, look_at, outlined

SIZE = (288, 224)


def square() -> Image.Image:
    image = Image.new("RGB", SIZE, (40, 90, 214))
    image.paste((245, 208, 60), (100, 60, 180, 140))
    return image


def test_outlines_are_where_colours_meet() -> None:
    values = np.asarray(outlined(square()))

    assert tuple(values[100, 100]) == INK
    assert tuple(values[100, 140]) == tuple(values[10, 10]) == PAPER


def test_gradients_have_no_edges() -> None:
    ramp = np.linspace(40, 220, SIZE[1], dtype=np.uint8)[:, None, None]
    image = Image.fromarray(np.broadcast_to(ramp, (SIZE[1], SIZE[0], 3)).copy())

    assert not edges(image).any()


def test_ink_is_told_from_colours() -> None:
    plain, drawn = look_at(square()), look_at(outlined(square()))

    assert (plain.paper, plain.ink) == (0, 0)
    assert drawn.paper > 0.8
    assert 0.01 < drawn.ink < 0.2


def test_a_drawing_in_ink_shows_what_the_same_drawing_in_colour_shows() -> None:
    plain = draw(random.Random(4), SIZE, wander=WANDER)
    drawn = draw_in_ink(random.Random(4), SIZE)

    assert drawn.caption == plain.caption
    assert drawn.image.tobytes() == outlined(plain.image).tobytes()
