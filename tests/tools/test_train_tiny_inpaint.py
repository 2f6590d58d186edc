from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import torch

from fooocus_core.downloads import INPAINT_HEAD
from fooocus_core.loading.lora import match_lora, read_lora
from fooocus_core.loading.weight_patches import PatchSet, patched_weights
from fooocus_core.unet.inpaint_head import load_inpaint_head
from tools.inpaint_lessons import draw_lesson, hole_loss
from tools.inpaint_unet import (
    PATCH_FILE,
    InpaintUNet,
    make_head,
    quantised,
    restored,
    write_files,
)
from tools.train_tiny_inpaint import Trainer

MOST_BYTES = 3_000_000
PART = 8  # of the sides: pictures small enough for a test


@pytest.fixture(scope="module")
def shipped() -> Iterator[Path]:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        yield root / "inpaint"


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=4, rate=1e-3)


def small_steps(trainer: Trainer, count: int) -> None:
    for _ in range(count):
        rng = random.Random(trainer.descent.step)
        trainer.learn(draw_lesson(rng, trainer.words, 1, part=PART))


@pytest.mark.parametrize(
    "shape", [(6, 4, 3, 3), (5, 7), (9,)], ids=["convolution", "matrix", "bias"]
)
def test_quantised_differences_come_back(shape: tuple[int, ...]) -> None:
    difference = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    parts = quantised(difference)

    values, low, high = parts
    assert values.dtype is torch.uint8
    assert low.dtype is high.dtype is torch.float16
    assert low.shape == high.shape == (shape[0], *(1,) * (len(shape) - 1))
    assert (restored(parts) - difference).abs().max() < 0.02


def test_no_difference_stays_none() -> None:
    assert not restored(quantised(torch.zeros(3, 4))).any()


def test_head_writes_where_the_first_convolution_does_not() -> None:
    first = torch.randn(64, 4, 3, 3, generator=torch.Generator().manual_seed(2))

    head = make_head(first)

    assert head.shape == (64, 5, 3, 3)
    overlap = first.flatten(1).T @ head.flatten(1)
    assert overlap.abs().max() < 1e-3


def test_outside_of_holes_little_is_judged(trainer: Trainer) -> None:
    lesson = draw_lesson(random.Random(2), trainer.words, 2, part=PART)
    target, hole = lesson.noise.target, lesson.mask

    error = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))

    inside = hole_loss(target + error * hole, lesson) / hole.mean()
    outside = hole_loss(target + error * (1 - hole), lesson) / (1 - hole).mean()

    assert hole_loss(target, lesson) == 0
    assert inside > 2 * outside


def test_files_are_read_by_the_pipeline_as_they_were_trained(
    trainer: Trainer, tmp_path: Path
) -> None:
    small_steps(trainer, 1)
    model = trainer.model

    write_files(model, tmp_path)
    head = load_inpaint_head(tmp_path / INPAINT_HEAD.name)
    wanted = model.patched()
    entries = read_lora(tmp_path / PATCH_FILE)
    with torch.no_grad():
        for name, parameter in model.changing.items():
            parameter.copy_(model.base[name])
    match = match_lora(entries, source=PATCH_FILE, unet=model.unet)
    patched = patched_weights(
        model.unet,
        PatchSet(source=PATCH_FILE, patches=match.unet, strength=1.0),
        device=torch.device("cpu"),
        rounding=torch.float32,
    )

    assert torch.equal(head.weight, model.head)
    assert entries.keys() == wanted.keys()
    assert not match.warnings
    assert not patched.warnings
    by_file = {id(value): name for name, value in model.changing.items()}
    parameters = dict(model.unet.named_parameters())
    for name, value in patched.values.items():
        assert torch.allclose(value, wanted[by_file[id(parameters[name])]], atol=1e-6)
    assert len(patched.values) == len(wanted)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    small_steps(whole, 1)
    whole.descent.save()
    small_steps(whole, 1)

    stopped = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()
    small_steps(stopped, 1)

    pairs = zip(whole.model.learning, stopped.model.learning, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert stopped.descent.step == 2


def test_shipped_files_belong_to_the_shipped_checkpoint(shipped: Path, trainer: Trainer) -> None:
    model = trainer.model
    entries = read_lora(shipped / PATCH_FILE)
    match = match_lora(entries, source=PATCH_FILE, unet=model.unet)

    head = load_inpaint_head(shipped / INPAINT_HEAD.name)
    assert torch.equal(head.weight, make_head_of(model))
    assert not match.warnings
    assert len(match.unet) == len(entries) == len(model.changing)
    assert (shipped / PATCH_FILE).stat().st_size <= MOST_BYTES
    assert (shipped / INPAINT_HEAD.name).stat().st_size <= MOST_BYTES


def make_head_of(model: InpaintUNet) -> torch.Tensor:
    return make_head(model.unet.conv_in.weight.detach())
