from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tools.drawing import Drawing
from tools.ink import outlined
from tools.latents import latent_of
from tools.lora_checks import Likeness, coarse_size, compare, draw_tests, picture_of

LEVEL = 1
NUMBERS = ("rim", "colour", "shape", "paper", "ink", "lines")


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return draw_tests(6, LEVEL)


def small(image: Image.Image) -> Image.Image:
    return image.resize(coarse_size(LEVEL), Image.Resampling.BOX)


def numbers(likeness: Likeness) -> dict[str, float]:
    return {name: getattr(likeness, name) for name in NUMBERS}


def test_drawings_are_like_themselves(drawings: list[Drawing]) -> None:
    found = compare([small(drawing.image) for drawing in drawings], drawings)

    assert (found.error, found.rim, found.colour) == (0, 1, 1)
    assert found.shape > 0.85
    assert found.lines < 0.5


def test_drawings_in_ink_have_the_outlines_but_not_the_colours(drawings: list[Drawing]) -> None:
    found = compare([small(outlined(drawing.image)) for drawing in drawings], drawings)

    assert found.lines == 1
    assert found.paper > 0.8
    assert found.colour < 0.5


def test_other_pictures_are_told_apart(drawings: list[Drawing]) -> None:
    blank = [Image.new("RGB", coarse_size(LEVEL), (128, 20, 128)) for _ in drawings]

    found = compare(blank, drawings)

    assert numbers(found) == pytest.approx(dict.fromkeys(NUMBERS, 0.0), abs=0.2)
    assert found.error > 0.2


def test_latents_become_the_pictures_that_they_were_made_of(drawings: list[Drawing]) -> None:
    width, height = coarse_size(LEVEL)

    picture = picture_of(latent_of(drawings[0].image, (height, width), LEVEL))

    difference = np.abs(np.asarray(picture) - np.asarray(small(drawings[0].image)).astype(int))
    assert difference.max() <= 2


def test_tests_show_things_on_plain_backgrounds(drawings: list[Drawing]) -> None:
    assert all(drawing.background and drawing.facts.things for drawing in drawings)
    again = draw_tests(6, LEVEL)
    assert [drawing.caption for drawing in again] == [drawing.caption for drawing in drawings]
