from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.images.preprocessors import canny_pyramid, cpds
from tools.control_lessons import (
    SHOWINGS,
    WINDOW,
    Album,
    Course,
    Group,
    make_group,
    make_lesson,
    missay,
)
from tools.drawing import Drawing, draw
from tools.embedded import Words, read_embedded
from tools.latents import latent_of

SIZE = (192, 128)


def unchanged(hint: Tensor) -> Tensor:
    return hint


@pytest.fixture(scope="module")
def words() -> Words:
    return read_embedded().words


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    rng = random.Random(3)
    return [draw(rng, SIZE) for _ in range(2)]


@pytest.fixture(scope="module")
def group(drawings: list[Drawing]) -> Group:
    return make_group(drawings, ControlKind.CPDS, unchanged)


@pytest.mark.parametrize("kind", CONTROL_FILES, ids=str)
def test_control_pictures_are_those_of_the_pipeline(
    kind: ControlKind, drawings: list[Drawing]
) -> None:
    shown = make_group(drawings, kind, unchanged).shown

    image = np.array(drawings[0].image)
    seen = cpds(image) if kind is ControlKind.CPDS else canny_pyramid(image, low=64, high=128)
    assert torch.allclose(
        shown[0].float() * 255, torch.from_numpy(seen).permute(2, 0, 1).float(), atol=0.2
    )


def test_latents_of_a_level_are_means_of_those_of_level_0(
    words: Words, group: Group, drawings: list[Drawing]
) -> None:
    lesson = make_lesson(random.Random(1), words, group, Course(level=2, sigma=4.0))

    noise = lesson.noise
    wide = noise.sigma.view(-1, 1, 1, 1)
    clean = noise.noisy * (wide**2 + 1).sqrt() - wide * noise.target / 4
    fine = latent_of(drawings[1].image, (SIZE[1] // 8, SIZE[0] // 8), 0)
    assert torch.allclose(clean[1], functional.avg_pool2d(fine, 4), atol=1e-4)


def test_a_drawing_is_shown_once_for_all_its_noises(words: Words, group: Group) -> None:
    lesson = make_lesson(random.Random(1), words, group, Course(level=2, noises=3))

    rows = {len(lesson.noise.noisy), len(lesson.said.context), len(lesson.said.pooled)}
    assert rows == {6}
    assert torch.equal(lesson.said.context[0], lesson.said.context[2])
    assert not torch.equal(lesson.noise.noisy[0], lesson.noise.noisy[2])
    assert len(lesson.shown) == 2


def test_an_album_shows_the_same_to_a_run_that_was_stopped() -> None:
    once, again = (Album("0", ControlKind.CPDS, unchanged, sizes=[SIZE]) for _ in range(2))
    for step in range(3):
        once.at(step, random.Random(step))

    groups = [album.at(200, random.Random(5)) for album in (once, again)]

    assert groups[0].captions == groups[1].captions
    assert torch.equal(groups[0].clean, groups[1].clean)


def test_an_album_shows_the_same_drawings_a_few_times_and_then_others() -> None:
    album = Album("0", ControlKind.CPDS, unchanged, sizes=[SIZE])

    shown = [album.at(step, random.Random(step)) for step in range(3 * WINDOW)]
    later = album.at(2 * SHOWINGS * WINDOW, random.Random(0))

    assert len({id(group) for group in shown}) < len(shown)
    assert all(later is not group for group in shown)


def test_a_wrong_caption_keeps_its_colours_and_says_no_place() -> None:
    rng = random.Random(2)
    said = "a small red circle on the left, blue background"

    wrong = [missay(said, rng) for _ in range(40)]

    assert all("red" in words and words.endswith(", blue background") for words in wrong)
    assert not any("left" in words for words in wrong)
    assert len(set(wrong)) > 10
    assert missay("two red stars on white", rng).split()[2].endswith("s")
    assert missay("a sunset over the sea", rng) == "a sunset over the sea"
