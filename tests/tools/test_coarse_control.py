from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor

from fooocus_core.choices import ControlKind
from tools.coarse_control import HINT_SIZE, coarse_control, skips_above, with_hint
from tools.control_lessons import Course, make_group, make_lesson
from tools.drawing import draw
from tools.embedded import EmbeddedModel, read_embedded
from tools.guide_lessons import Lesson

SIZE = (192, 128)
LEVEL = 1


@pytest.fixture(scope="module")
def embedded() -> EmbeddedModel:
    return read_embedded()


@pytest.fixture(scope="module")
def unet(embedded: EmbeddedModel) -> Any:
    return embedded.unet


@pytest.fixture(scope="module")
def lesson(embedded: EmbeddedModel) -> Lesson:
    group = make_group([draw(random.Random(0), SIZE)], ControlKind.CPDS, lambda hint: hint)
    course = Course(level=0, noises=2, sigma=4.0)
    return make_lesson(random.Random(0), embedded.words, group, course)


def test_a_level_gives_the_last_residuals_of_the_whole_network(unet: Any, lesson: Lesson) -> None:
    network: Any = ControlNetModel.from_unet(unet)  # type: ignore[no-untyped-call]
    for layer in network.controlnet_down_blocks:
        torch.nn.init.eye_(layer.weight[:, :, 0, 0])
    came: list[Tensor] = []
    first = network.down_blocks[LEVEL].resnets[0]
    first.register_forward_pre_hook(lambda _, inputs: came.append(inputs[0]))
    prompts = {**lesson.prompts, "return_dict": False}

    with torch.no_grad():
        size = tuple(8 * side for side in lesson.noise.noisy.shape[2:])
        shown = torch.zeros(2, 3, *size)
        whole, middle = network(*lesson.latents, controlnet_cond=shown, **prompts)
        level = coarse_control(network, LEVEL, torch.nn.Identity())
        _, timestep = lesson.latents
        nothing = torch.zeros(1)
        ours, lowest = level(came[0], timestep, controlnet_cond=nothing, **prompts)

    wanted = whole[skips_above(unet, LEVEL) :]
    assert len(ours) == len(wanted)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, wanted, strict=True))
    assert torch.allclose(lowest, middle, atol=1e-4)


def test_hints_of_examples_vary_with_what_is_shown(unet: Any, lesson: Lesson) -> None:
    example = with_hint(unet, lesson, torch.Generator().manual_seed(0))

    assert example.added is not None
    count, _, *places = lesson.noise.noisy.shape
    assert example.added.shape == (count, unet.conv_in.out_channels, *places)
    assert torch.equal(example.added[0], example.added[1])
    assert float(example.added.square().mean().sqrt()) == pytest.approx(HINT_SIZE, rel=1e-3)
    assert float(example.added.mean((0, 2, 3)).abs().max()) < 1e-3
    assert example.noise is lesson.noise


def test_skip_connections_are_counted_down_to_a_level(unet: Any) -> None:
    assert [skips_above(unet, level) for level in (0, 1, 2)] == [0, 2, 4]
