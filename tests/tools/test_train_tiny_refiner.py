from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.checkpoint import CheckpointKind, build_refiner
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.unet.size_conditioning import PromptSide
from tools.descent import WARM_UP
from tools.latents import noise_levels, noise_loss
from tools.refiner_lessons import Course, Lesson, draw_lesson, highest_sigma, wear
from tools.refiner_model import write_refiner
from tools.train_tiny_refiner import Trainer

MOST_BYTES = 6_000_000
MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "sdxl_refiner.json"
SMALL = Course(count=2, part=8)  # small enough for a test
PLAN = plan_device(None, DeviceOptions())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=8, rate=1e-3)


def lesson(trainer: Trainer, number: int = 0, course: Course = SMALL) -> Lesson:
    return draw_lesson(random.Random(number), trainer.words, course)


def layout(shapes: Mapping[str, Sequence[int]]) -> set[tuple[str, int]]:
    """Names without the numbers of layers, each with its number of dimensions."""
    return {(re.sub(r"\.\d+(?=\.)", ".N", name), len(shape)) for name, shape in shapes.items()}


def steepest(latents: Tensor) -> Tensor:
    """The largest difference of neighbours, (B,)."""
    return latents.diff(dim=-1).abs().amax((1, 2, 3))


def test_the_refiner_takes_over_below_the_level_at_two_fifths_of_the_default_run(
    trainer: Trainer,
) -> None:
    highest = highest_sigma()

    drawn = [float(x) for n in range(20) for x in lesson(trainer, n).noise.sigma]

    assert highest == pytest.approx(2.0714, abs=1e-3)
    assert 0.5 * highest < max(drawn) <= highest + 0.01
    assert min(drawn) < 0.1


def test_worn_pictures_are_soft_and_blotched_but_keep_their_colours() -> None:
    clean = torch.zeros(16, 4, 32, 32)
    clean[..., 16:] = 3.0

    worn = wear(clean, torch.Generator().manual_seed(0))

    intact = (worn == clean).flatten(1).all(1)
    assert 0 < int(intact.sum()) < 8
    assert steepest(worn[~intact]).mean() < 0.7 * 3.0
    assert (worn[~intact].std((1, 2)) > 0).all()
    assert (worn.mean((2, 3)) - clean.mean((2, 3))).abs().max() < 0.4


def test_answers_lead_from_worn_pictures_to_drawings(trainer: Trainer) -> None:
    shown = lesson(trainer)
    wide = shown.noise.sigma.view(-1, 1, 1, 1)

    state = shown.noise.noisy * (wide**2 + 1).sqrt()
    intact = lesson(trainer, course=Course(count=2, part=8, worn=False))

    found = state - wide * shown.noise.target
    original = intact.noise.noisy * (wide**2 + 1).sqrt() - wide * intact.noise.target
    assert torch.allclose(found, original, atol=1e-4)
    assert torch.equal(noise_levels()[shown.noise.timestep], shown.noise.sigma)


def test_the_refiner_is_told_what_the_pipeline_tells_it(trainer: Trainer) -> None:
    shown = lesson(trainer, course=Course(count=6, part=8))

    told = shown.told_refiner()

    width, height = shown.size
    scores = {PromptSide.POSITIVE: 6.0, PromptSide.NEGATIVE: 2.5}
    assert told["added_cond_kwargs"]["time_ids"].tolist() == [
        [height, width, 0, 0, scores[side]] for side in shown.sides
    ]
    assert set(shown.sides) == set(PromptSide)
    assert torch.equal(told["encoder_hidden_states"], shown.context[..., 64:])
    assert torch.equal(told["added_cond_kwargs"]["text_embeds"], shown.pooled)


def test_an_untrained_refiner_takes_its_input_for_noise(trainer: Trainer) -> None:
    noise = torch.randn(2, 4, 32, 48, generator=torch.Generator().manual_seed(0))
    shown = lesson(trainer, course=Course(count=2, part=8, sigma=2.0))

    with torch.no_grad():
        told = {**shown.told_refiner(), "sample": noise}
        predicted = trainer.unet(**told).sample

    assert float((predicted - noise).square().mean()) < 0.01


@pytest.mark.slow
def test_the_loss_falls_within_a_few_steps(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, seed=0, steps=40, rate=4e-3)
    shown = lesson(trainer, course=Course(count=2, part=8))

    losses = [trainer.learn(shown) for _ in range(WARM_UP + 4)]

    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.learn(lesson(trainer, 0))
    trainer.descent.save()
    trainer.learn(lesson(trainer, 1))

    stopped = Trainer(tmp_path, seed=0, steps=8, rate=1e-3)
    stopped.descent.load()
    stopped.learn(lesson(stopped, 1))

    pairs = zip(trainer.unet.parameters(), stopped.unet.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_file_is_read_by_the_pipeline_as_it_was_trained(
    trainer: Trainer, tmp_path: Path
) -> None:
    path = tmp_path / "tiny_refiner.safetensors"
    shown = lesson(trainer)
    trainer.learn(shown)

    write_refiner(trainer.unet, trainer.base.file, path)
    refiner = build_refiner(read_weights(path), PLAN)

    assert refiner.kind is CheckpointKind.SDXL_REFINER
    assert refiner.vae is None
    assert refiner.clip_g is not None
    assert refiner.clip_g.config.hidden_size == refiner.unet.config.cross_attention_dim
    # Else the library would warn of marks that the short vocabulary does not have.
    assert refiner.clip_g.config.eos_token_id is None
    with torch.no_grad():
        read = refiner.unet(**shown.told_refiner()).sample
        own = trainer.predict(shown)
    assert torch.allclose(read, own, atol=0.02)
    assert noise_loss(read, shown.noise, 0) == pytest.approx(
        float(noise_loss(own, shown.noise, 0)), rel=0.02
    )


def test_the_file_has_the_published_layout(trainer: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "tiny_refiner.safetensors"

    write_refiner(trainer.unet, trainer.base.file, path)

    published = json.loads(MANIFEST.read_text(encoding="utf-8"))
    # Of these, the pipeline reads nothing in a refiner's file.
    unread = ("first_stage_model.", "conditioner.embedders.0.model.logit_scale")
    wanted = {n: shape for n, (_, shape) in published.items() if not n.startswith(unread)}
    shapes = {name: tensor.shape for name, tensor in read_weights(path).tensors.items()}
    assert layout(shapes) == layout(wanted)
    assert path.stat().st_size <= MOST_BYTES
