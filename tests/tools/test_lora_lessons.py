from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from fooocus_core.choices import Performance
from fooocus_core.performance import MODES
from tools.few_steps import Visited, plan_road
from tools.ink import draw_in_ink
from tools.latents import LATENT_GAIN
from tools.lora_lessons import (
    LIMIT,
    Base,
    Frame,
    ModeLessons,
    StyleLessons,
    as_batch,
    guided_estimate,
    plain_numbers,
    right_picture,
    say,
)

SMALL = Frame(level=3, count=2, part=2)
FAST = (Performance.EXTREME_SPEED, Performance.LIGHTNING, Performance.HYPER_SD)
CLEAN = torch.rand(2, 4, 6, 8, generator=torch.Generator().manual_seed(0)) - 0.5
GUIDED = torch.full((2, 4, 6, 8), 5.0)
KNOWN = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)


class Speaker:
    """Text encoders that tell nothing but whether anything is said."""

    def encode(self, captions: list[str], _style: str) -> tuple[Tensor, Tensor]:
        said = torch.tensor([float(bool(caption)) for caption in captions])
        return said.view(-1, 1, 1).expand(-1, 77, 128), torch.zeros(len(captions), 64)


class Painter:
    """A UNet whose noise prediction is what is said, 0 or 1."""

    def __call__(self, latent: Tensor, *given: Any, level: int, **_: Any) -> Tensor:
        said: Tensor = given[1].context[:, :1, 0, None, None]
        return said.expand_as(latent) * 2**level


@pytest.fixture
def base() -> Base:
    words: Any = Speaker()
    unet: Any = Painter()
    return Base(words=words, unet=unet)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("performance", FAST, ids=str)
def test_right_answers_lead_to_the_right_picture(performance: Performance, level: int) -> None:
    road = plan_road(MODES[performance], level)
    visited = road.visit(CLEAN, lambda x, _: x, 2, 0)
    wanted = CLEAN + 0.1

    batch = as_batch(visited, wanted, road)

    output = batch.target / 2**level
    reached = road.model.denoised(visited.state, output, visited.sigma)
    assert torch.allclose(reached, wanted, atol=1e-4)
    assert torch.equal(batch.noisy, road.model.scale_input(visited.state, visited.sigma))
    assert batch.timestep.tolist() == [int(road.model.levels.timestep(visited.sigma))] * 2


def test_the_drawing_is_right_after_itself_and_under_strong_noise() -> None:
    strong = right_picture(GUIDED, CLEAN, KNOWN, torch.tensor(100.0))
    weak = right_picture(GUIDED, CLEAN, KNOWN, torch.tensor(0.01))

    assert torch.allclose(strong, CLEAN, atol=0.01)
    assert torch.equal(weak[1], CLEAN[1])
    assert torch.allclose(weak[0], torch.full_like(weak[0], LIMIT), atol=1e-3)


def test_guidance_leads_away_from_an_empty_prompt(base: Base) -> None:
    road = plan_road(MODES[Performance.LIGHTNING], 2)
    said = say(base.words, ["a cat", ""], "", plain_numbers((1152, 896), 2))
    visited = Visited(state=CLEAN, sigma=torch.tensor(2.0))

    found = guided_estimate(base, road, said)(visited.state, visited.sigma)

    assert torch.allclose(found[0], CLEAN[0] - 4 * 2.0, atol=1e-5)
    assert torch.allclose(found[1], CLEAN[1], atol=1e-5)


@pytest.mark.parametrize("performance", FAST, ids=str)
def test_lessons_of_a_mode_depend_on_their_number_only(
    performance: Performance, base: Base
) -> None:
    lessons = ModeLessons(base, MODES[performance])

    one, other = (lessons.draw(random.Random(5), SMALL, {}) for _ in range(2))

    assert torch.equal(one.noise.noisy, other.noise.noisy)
    assert torch.equal(one.noise.target, other.noise.target)
    assert one.level == SMALL.level
    assert len(one.noise.noisy) == SMALL.count


def test_lessons_of_the_style_show_ink_on_paper(base: Base) -> None:
    lessons = StyleLessons(base.words, draw_in_ink)

    noise = lessons.draw(random.Random(3), SMALL, {}).noise

    sigma = noise.sigma.view(-1, 1, 1, 1)
    state = noise.noisy * (sigma**2 + 1).sqrt()
    clean = state - sigma * noise.target / 2**SMALL.level
    paper = (246 / 127.5 - 1) * LATENT_GAIN
    brightest = clean[:, :3].flatten(1).amax(1)
    assert torch.allclose(brightest, torch.tensor(paper), atol=0.05)
    colour = clean[:, :3].amax(1) - clean[:, :3].amin(1)
    assert colour.max() < 0.1
