from __future__ import annotations

import json
import random
import re
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.loading.control_lora import (
    control_weights,
    empty_control_net,
    load_control_net,
)
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.params import ControlParams
from tools.control_tensors import PUSHES, make_tensors, write_file
from tools.guide_lessons import PIXELS, Course, Lesson, draw_lesson
from tools.train_tiny_control import Trainer, clean_errors

MOST_BYTES = 1_500_000
MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "control_lora_sdxl_rank128.json"
SMALL = Course(count=1, part=8)  # small enough for a test
KIND = ControlKind.PYRA_CANNY
PLAN = plan_device(None, DeviceOptions())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(KIND, tmp_path, seed=0, steps=4, rate=1e-3)


@pytest.fixture(scope="module")
def shipped() -> Path:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        return root / "controlnet"


def lesson(trainer: Trainer, number: int = 0) -> Lesson:
    return draw_lesson(random.Random(number), trainer.words, trainer.show, SMALL)


def layout(names: list[str]) -> set[str]:
    """Names without the numbers of blocks and layers."""
    return {re.sub(r"\.\d+(?=\.)", ".N", name) for name in names}


@pytest.mark.parametrize("kind", list(CONTROL_FILES), ids=str)
def test_before_training_a_control_net_pushes_by_brightness(
    kind: ControlKind, tmp_path: Path
) -> None:
    trainer = Trainer(kind, tmp_path, seed=0, steps=4, rate=1e-3)
    shown, push = lesson(trainer, 1), PUSHES[kind]
    brightness = functional.avg_pool2d(shown.shown, PIXELS)[:, :1] - push.middle
    kernel = torch.tensor(push.kernel)[None, None]
    share = push.gain * (1 - ControlParams().softness)

    with torch.no_grad():
        moved = trainer.predict(shown) - trainer.predict(shown, controlled=False)

    wanted = -share * functional.conv2d(brightness, kernel, padding=1)
    assert wanted.abs().max() > 0.1
    assert (moved[:, :3] - wanted).square().mean() < 0.05 * wanted.square().mean()
    assert moved[:, 3].square().mean() < 0.05 * wanted.square().mean()


def test_steps_teach_every_tensor(trainer: Trainer) -> None:
    before = make_tensors(trainer.unet, PUSHES[KIND], 0)

    for number in range(3):
        trainer.learn(lesson(trainer, number))

    still = {name for name, value in trainer.tensors.items() if torch.equal(value, before[name])}
    assert still == set()


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.learn(lesson(trainer, 0))
    trainer.descent.save()
    trainer.learn(lesson(trainer, 1))

    stopped = Trainer(KIND, tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()
    stopped.learn(lesson(stopped, 1))

    pairs = [(trainer.tensors[name], stopped.tensors[name]) for name in trainer.tensors]
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_file_is_read_by_the_pipeline_as_it_was_trained(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.learn(lesson(trainer))
    write_file(trainer.tensors, tmp_path / "control.safetensors")

    network = load_control_net(tmp_path / "control.safetensors", trainer.unet, PLAN)

    state = control_weights(
        trainer.tensors, empty_control_net(trainer.tensors, trainer.unet), trainer.unet, PLAN
    )
    assert network.state_dict().keys() == state.keys()
    for name, value in network.state_dict().items():
        assert torch.allclose(value, state[name], atol=2e-3)


@pytest.mark.parametrize("kind", list(CONTROL_FILES), ids=str)
def test_shipped_files_have_the_published_layout(kind: ControlKind, shipped: Path) -> None:
    path = shipped / CONTROL_FILES[kind].name

    tensors = read_weights(path).tensors

    assert layout(list(tensors)) == layout(list(json.loads(MANIFEST.read_text())))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert path.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("kind", list(CONTROL_FILES), ids=str)
def test_shipped_control_nets_help_on_drawings_they_have_not_seen(
    kind: ControlKind, shipped: Path, tmp_path: Path
) -> None:
    file = shipped / CONTROL_FILES[kind].name
    trainer = Trainer(kind, tmp_path, seed=0, steps=4, rate=1e-3, start=file)

    errors = clean_errors(trainer, 3, part=4)

    assert all(controlled < 0.9 * plain for _, plain, controlled in errors)
