from __future__ import annotations

import random

import pytest
import torch

from tools.holes import draw_holes, fill_smoothly


def test_holes_are_drawn_from_the_seed_and_leave_something() -> None:
    holes = draw_holes(random.Random(1), 40, (18, 14))

    assert torch.equal(holes, draw_holes(random.Random(1), 40, (18, 14)))
    assert holes.shape == (40, 1, 18, 14)
    assert holes.min() >= 0
    assert holes.max() <= 1
    areas = holes.mean((1, 2, 3))
    assert 0.1 < areas.mean() < 0.5
    assert areas.max() < 1


@pytest.mark.parametrize("size", [(16, 16), (9, 13)], ids=["even", "odd"])
def test_one_colour_is_continued_as_it_is(size: tuple[int, int]) -> None:
    mask = torch.zeros(1, 1, *size)
    mask[..., 2:8, 3:9] = 1
    colour = torch.tensor([0.5, -1.0, 2.0, 0.0]).view(1, 4, 1, 1).expand(1, 4, *size)

    filled = fill_smoothly(torch.where(mask > 0, 9.0, colour), mask)

    assert torch.allclose(filled, colour, atol=1e-5)


def test_what_is_known_stays_as_it_is() -> None:
    latents = torch.randn(2, 4, 12, 10, generator=torch.Generator().manual_seed(0))
    mask = (draw_holes(random.Random(0), 2, (12, 10)) > 0).float()

    filled = fill_smoothly(latents, mask)

    assert torch.equal(filled * (1 - mask), latents * (1 - mask))


def test_each_half_of_a_hole_takes_the_colour_beside_it() -> None:
    latents = torch.ones(1, 1, 8, 32)
    latents[..., 16:] = -1
    mask = torch.zeros(1, 1, 8, 32)
    mask[..., 8:24] = 1

    filled = fill_smoothly(latents, mask)

    assert filled[..., 8].min() > 0.3
    assert filled[..., 23].max() < -0.3
