from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.loading.control_lora import load_control_net
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.unet.controlnet import Control, control_residuals
from tools.control_lessons import Album, Course, Group, make_group, make_lesson
from tools.control_model import SOFTNESS, STEPS
from tools.drawing import draw
from tools.guide_lessons import Lesson
from tools.latents import add_noise, noise_levels
from tools.train_tiny_control import (
    EDGES_COUNT,
    GO_ON_TO,
    STAGES,
    USUAL_ERROR,
    WALK_STEPS,
    Trainer,
    clean_errors,
    control_loss,
)

MOST_BYTES = 6_000_000
MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "control_lora_sdxl_rank128.json"
PLAN = plan_device(None, DeviceOptions())
SIZE = (192, 128)  # small enough for a test
STEP_BEFORE_A_WALK = 19  # of a run of 40, in its last stage


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return make_trainer(tmp_path)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """One that no test teaches anything; its level 1 can run alone."""
    trainer = make_trainer(tmp_path_factory.mktemp("untrained"))
    prepare(trainer, 1)
    return trainer


def make_trainer(folder: Path) -> Trainer:
    return Trainer(folder, ControlKind.CPDS, seed=0, steps=40, rate=4e-3)


def show_small_drawings(trainer: Trainer) -> None:
    trainer.album = Album("small", ControlKind.CPDS, trainer.model.look, sizes=[SIZE])


def small_group(trainer: Trainer) -> Group:
    rng = random.Random(4)
    drawings = [draw(rng, SIZE) for _ in range(2)]
    return make_group(drawings, ControlKind.CPDS, trainer.model.look)


def lesson(trainer: Trainer, *, level: int = 0, number: int = 0) -> Lesson:
    course = Course(level=level, sigma=4.0)
    return make_lesson(random.Random(number), trainer.words, small_group(trainer), course)


def prepare(trainer: Trainer, level: int) -> None:
    trainer.prepare(level, (lesson(trainer, number=number) for number in range(4)))


def rows(values: Tensor) -> Tensor:
    return values.movedim(1, -1).flatten(0, -2)


def layout(names: list[str]) -> set[str]:
    """Names without the numbers of blocks and layers."""
    return {re.sub(r"\.\d+(?=\.)", ".N", name) for name in names}


def test_constructed_layers_take_the_mean_brightness_of_4_by_4_pixels_apart(
    untrained: Trainer,
) -> None:
    hints = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))

    seen = untrained.model.look(hints)

    brightness = functional.avg_pool2d(hints.mean(1, keepdim=True), 4)
    above = STEPS * brightness - torch.arange(STEPS).view(1, -1, 1, 1)
    assert torch.allclose(seen, functional.silu(above), atol=0.05)


def test_hints_of_a_level_follow_from_means_of_those_of_level_0(untrained: Trainer) -> None:
    shown = lesson(untrained).shown
    mirrored = shown.flip(-1)

    with torch.no_grad():
        fine, coarse = (untrained.model.hint(shown, level) for level in (0, 1))
        means, others = functional.avg_pool2d(fine, 2), untrained.model.hint(mirrored, 1)

    assert fine.shape[2:] == (SIZE[1] // 8, SIZE[0] // 8)
    assert coarse.shape[2:] == means.shape[2:]
    weights = torch.linalg.lstsq(rows(means), rows(coarse)).solution
    assert (rows(means) @ weights - rows(coarse)).norm() < 0.02 * rows(coarse).norm()
    assert not torch.allclose(others, coarse, atol=1e-3)


@pytest.mark.parametrize("level", [0, 1])
def test_an_untrained_control_net_adds_nothing(level: int, untrained: Trainer) -> None:
    shown = lesson(untrained, level=level)

    with torch.no_grad():
        with_hint, without = untrained.model(shown, 1.0), untrained.model.plain(shown)

    assert torch.equal(with_hint, without)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1])
def test_steps_make_the_loss_fall(level: int, trainer: Trainer) -> None:
    if level:
        prepare(trainer, level)
    shown = lesson(trainer, level=level)

    losses = [trainer.learn(shown, 1.0)[0] for _ in range(8)]

    assert losses[-1] < 0.95 * losses[0]


def test_what_is_predicted_is_asked_again_at_less_noise(untrained: Trainer) -> None:
    before = lesson(untrained)

    told = untrained.model(before, 1.0).detach()
    after = untrained.go_on(before, told, 1.0, random.Random(0))

    shares = after.noise.sigma / before.noise.sigma
    least, most = GO_ON_TO
    assert ((shares > 0.97 * least) & (shares < 1.03 * most)).all()
    clean = [one.noise.estimate(one.noise.target, 0) for one in (before, after)]
    assert torch.allclose(*clean, atol=1e-3)
    assert (after.said, after.shown) == (before.said, before.shown)


def test_a_walk_begins_without_a_picture_and_goes_on_under_less_and_less_noise(
    untrained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Lesson]()

    def note(lesson: Lesson, weight: float) -> tuple[float, Tensor]:
        asked.append(lesson)
        return float(len(asked)), untrained.model(lesson, weight).detach()

    monkeypatch.setattr(untrained, "learn", note)
    group = small_group(untrained)
    loss = untrained.walk(group, Course(level=0), 1.0, random.Random(0))

    assert loss == len(asked) == WALK_STEPS
    untrained.walk(replace(group, clean=-group.clean), Course(level=0), 1.0, random.Random(0))
    first, other = asked[0].noise, asked[WALK_STEPS].noise
    assert torch.equal(first.noisy, other.noisy)
    assert not torch.allclose(first.target, other.target, atol=1e-2)
    levels = torch.stack([lesson.noise.sigma for lesson in asked[:WALK_STEPS]])
    assert (levels[0] > 14).all()
    assert (levels[1:] < levels[:-1]).all()
    assert (levels[-1] < 6).all()


def test_edges_count_more_and_all_noise_levels_alike() -> None:
    clean = torch.zeros(1, 4, 24, 24)
    clean[..., 12:] = 2.0
    flat, edge = torch.zeros_like(clean), torch.zeros_like(clean)
    flat[..., 2:4] = edge[..., 11:13] = 0.1

    def loss(wrong: Tensor, sigma: float) -> float:
        sigmas = noise_levels()
        timestep = (sigmas - sigma).abs().argmin().view(1)
        batch = add_noise(clean, timestep, 0, sigmas, torch.Generator().manual_seed(0))
        return float(control_loss(batch.target - wrong / batch.sigma, batch, 0))

    assert loss(torch.zeros_like(clean), 4.0) == pytest.approx(0, abs=1e-6)
    assert loss(edge, 4.0) == pytest.approx(EDGES_COUNT * loss(flat, 4.0), rel=1e-2)
    least, per_sigma = USUAL_ERROR
    usual = [(least + per_sigma * sigma) ** 0.5 for sigma in (1.0, 14.0)]
    low, high = (loss(flat * x, sigma) for x, sigma in zip(usual, (1.0, 14.0), strict=True))
    assert low == pytest.approx(high, rel=1e-2)


def test_steps_leave_the_unet_and_the_constructed_layers_as_they_are(trainer: Trainer) -> None:
    hint = trainer.model.network.controlnet_cond_embedding
    frozen: list[Tensor] = [*trainer.model.unet.parameters(), hint.conv_in.weight]
    before = [tensor.detach().clone() for tensor in frozen]

    for _ in range(3):
        trainer.learn(lesson(trainer), 1.0)

    assert all(torch.equal(one, other) for one, other in zip(before, frozen, strict=True))


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    show_small_drawings(trainer)
    trainer.descent.step = STEP_BEFORE_A_WALK
    trainer.train_step()
    trainer.descent.save()
    trainer.train_step()
    assert trainer.descent.step == STEP_BEFORE_A_WALK + 1 + WALK_STEPS

    stopped = make_trainer(tmp_path)
    show_small_drawings(stopped)
    stopped.descent.load()
    stopped.train_step()

    assert stopped.descent.step == trainer.descent.step
    pairs = zip(trainer.model.learning, stopped.model.learning, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_file_does_in_the_pipeline_what_was_trained(trainer: Trainer, tmp_path: Path) -> None:
    rng = random.Random(4)
    drawing = draw(rng, SIZE)
    hints: list[Tensor] = []

    def look(hint: Tensor) -> Tensor:
        hints.append(hint)
        return trainer.model.look(hint)

    group = make_group([drawing], ControlKind.CPDS, look)
    shown = make_lesson(rng, trainer.words, group, Course(level=0, sigma=4.0))
    for _ in range(4):
        trainer.learn(shown, 1.0)
    file = tmp_path / "control.safetensors"
    trainer.model.write(file)

    network = load_control_net(file, trainer.model.unet, PLAN)
    control = Control(network=network, hint=hints[0], weight=0.7, stop=1.0, softness=SOFTNESS)
    with torch.no_grad():
        residuals = control_residuals([control], *shown.latents, **shown.prompts)
        ours = trainer.model.unet(*shown.latents, **shown.prompts, **residuals).sample
        trained, plain = trainer.model(shown, 0.7), trainer.model.plain(shown)

    assert (trained - plain).norm() > 0
    assert (ours - trained).norm() < 0.02 * (trained - plain).norm()


def test_files_have_the_published_layout(untrained: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "control.safetensors"

    untrained.model.write(path)

    tensors = read_weights(path).tensors
    assert layout(list(tensors)) == layout(list(json.loads(MANIFEST.read_text())))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert path.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("kind", CONTROL_FILES, ids=str)
def test_shipped_files_have_the_published_layout(kind: ControlKind, untrained: Trainer) -> None:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        path = root / "controlnet" / CONTROL_FILES[kind].name
        tensors = read_weights(path).tensors
        network = load_control_net(path, untrained.model.unet, PLAN)

    assert layout(list(tensors)) == layout(list(json.loads(MANIFEST.read_text())))
    assert path.stat().st_size <= MOST_BYTES
    assert network.config["in_channels"] == 4


def test_errors_without_and_with_an_untrained_control_net_are_equal(untrained: Trainer) -> None:
    found = clean_errors(untrained, 1, level=1, size=SIZE)

    assert all(alone == unseen == seen for _, alone, unseen, seen in found)
    assert found[0][1] > found[-1][1] > 0


def test_levels_are_trained_from_coarse_to_fine() -> None:
    levels = [course.level for _, course in STAGES]

    assert levels == [2, 1, 0]
    assert [end for end, _ in STAGES] == sorted(end for end, _ in STAGES)
