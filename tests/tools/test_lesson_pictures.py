from __future__ import annotations

import random

import torch

from tools.lesson_pictures import PART, draw_lesson, wear
from tools.train_tiny import DEFAULT_SIZE


def test_lessons_are_parts_of_the_listed_sizes() -> None:
    sizes = [draw_lesson(random.Random(seed)).image.size for seed in range(20)]

    assert sizes.count(tuple(side // PART for side in DEFAULT_SIZE)) > 4
    assert len(set(sizes)) > 4


def test_worn_pictures_resemble_what_they_were() -> None:
    pictures = torch.full((64, 3, 16, 16), 0.4)
    pictures[..., 8:] = 0.8

    worn = wear(pictures, torch.Generator().manual_seed(0))

    same = (worn == pictures).all(dim=(1, 2, 3))
    assert 0.1 < same.float().mean() < 0.5
    assert 0 <= worn.min() < worn.max() <= 1
    assert (worn - pictures).abs().mean() < 0.1


def test_the_generator_decides_how_pictures_are_worn() -> None:
    pictures = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    one, same, other = (wear(pictures, torch.Generator().manual_seed(n)) for n in (3, 3, 4))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
