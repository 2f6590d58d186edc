from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from tools.coarse_ports import Ports, coarse_unet, find_ports, skips_above
from tools.control_lessons import Course, make_group, make_lesson
from tools.drawing import draw
from tools.image_prompt_lessons import Lesson
from tools.inpaint_lessons import Words
from tools.train_tiny_inpaint import CHECKPOINT

SIZE = (192, 128)
LEVEL = 1


@pytest.fixture(scope="module")
def checkpoint() -> Any:
    return build_checkpoint(read_weights(CHECKPOINT), plan_device(None, DeviceOptions()))


@pytest.fixture(scope="module")
def unet(checkpoint: Any) -> Any:
    return checkpoint.unet.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def lessons(checkpoint: Any) -> list[Lesson]:
    words, drawn = Words(checkpoint), random.Random(0)
    return [
        make_lesson(
            random.Random(number),
            words,
            make_group([draw(drawn, SIZE)], ControlKind.CPDS, lambda hint: hint),
            Course(level=0, sigma=(2.0, 6.0)[number % 2]),
        )
        for number in range(6)
    ]


@pytest.fixture(scope="module")
def ports(unet: Any, lessons: list[Lesson]) -> Ports:
    return find_ports(unet, LEVEL, lessons)


def means(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, 2**LEVEL)


def test_a_level_is_fed_what_reaches_it_in_the_whole_unet(
    unet: Any, lessons: list[Lesson], ports: Ports
) -> None:
    came: list[Tensor] = []
    first = unet.down_blocks[LEVEL].resnets[0]
    hook = first.register_forward_pre_hook(lambda _, inputs: came.append(inputs[0]))
    lesson = lessons[0]

    fed = ports.latent(means(lesson.noise.noisy))
    unet(*lesson.latents, **lesson.prompts)
    hook.remove()

    assert (fed - came[0]).norm() < 0.8 * came[0].norm()


def test_a_level_alone_tells_the_noise_of_coarse_latents(
    unet: Any, lessons: list[Lesson], ports: Ports
) -> None:
    lesson = lessons[1]
    latent, timestep = means(lesson.noise.noisy), lesson.noise.timestep

    handed = coarse_unet(unet, LEVEL, ports)(latent, timestep, **lesson.prompts).sample
    told = ports.outlet(torch.cat([handed, latent], 1))

    wanted = means(lesson.noise.target) * 2**LEVEL
    assert handed.shape[2:] == latent.shape[2:]
    assert (told - wanted).norm() < 0.5 * wanted.norm()


def test_the_whole_unet_stays_as_it_is(unet: Any, lessons: list[Lesson], ports: Ports) -> None:
    lesson = lessons[0]
    before = unet(*lesson.latents, **lesson.prompts).sample

    coarse_unet(unet, LEVEL, ports)

    assert torch.equal(unet(*lesson.latents, **lesson.prompts).sample, before)


def test_skip_connections_are_counted_down_to_a_level(unet: Any) -> None:
    assert [skips_above(unet, level) for level in (0, 1, 2)] == [0, 2, 4]
