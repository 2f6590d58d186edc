from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import IMAGE_ENCODER, IP_ADAPTER, IP_NEGATIVE, ModelFile
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts, Layers
from fooocus_core.unet.ip_adapter import IpAdapter, load_ip_adapter
from fooocus_core.unet.size_conditioning import PromptSide
from fooocus_core.vision.clip_vision import ImageEncoder, load_image_encoder
from tools.drawing import draw
from tools.guide_lessons import Lesson
from tools.image_prompt_lessons import Course, draw_lesson, show
from tools.image_prompt_model import mean_colours
from tools.inlets import fit_inlets
from tools.sheet import COLOURS
from tools.train_tiny_image_prompt import STAGES, Trainer

MOST_BYTES = 1_500_000
MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
SMALL = Course(count=2, part=8)  # small enough for a test
PLAN = plan_device(None, DeviceOptions())
FILES = {
    IMAGE_ENCODER: "clip_vision_vit_h.json",
    IP_ADAPTER: "ip_adapter_plus_sdxl_vit_h.json",
    IP_NEGATIVE: "fooocus_ip_negative.json",
}


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=4, rate=1e-3)


@pytest.fixture(scope="module")
def shipped() -> Path:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        return root


def lesson(trainer: Trainer, number: int = 0) -> Lesson:
    return draw_lesson(random.Random(number), trainer.words, trainer.lookalikes, SMALL)


def load(root: Path) -> tuple[ImageEncoder, IpAdapter]:
    adapter, negative = (root / "controlnet" / file.name for file in (IP_ADAPTER, IP_NEGATIVE))
    encoder = load_image_encoder(root / "clip_vision" / IMAGE_ENCODER.name, PLAN)
    return encoder, load_ip_adapter(adapter, negative, PLAN)


def flat(layers: Layers) -> Tensor:
    return torch.cat([part.flatten() for pair in layers for part in (pair.key, pair.value)])


def entries(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names; those in tables have the tables' names in front."""
    if path.suffix != ".bin":
        return dict(read_weights(path).tensors)
    tables: dict[str, dict[str, Tensor]] = torch.load(path, weights_only=True)
    return {f"{table}.{name}": t for table, part in tables.items() for name, t in part.items()}


def layout(shapes: Mapping[str, Sequence[int]]) -> set[tuple[str, int]]:
    """Names without the numbers of layers, each with its number of dimensions."""
    return {(re.sub(r"\.\d+(?=\.)", ".N", name), len(shape)) for name, shape in shapes.items()}


def test_the_first_convolution_gives_the_mean_colours_of_quarters() -> None:
    pixels = torch.rand(1, 3, 56, 28, generator=torch.Generator().manual_seed(0))

    seen = functional.conv2d(pixels, mean_colours(), stride=28)

    assert torch.allclose(seen[0, 3:6, 1, 0], pixels[0, :, 28:42, 14:].mean((1, 2)), atol=1e-5)
    assert not seen[:, 12:].any()


def test_steps_teach_everything_but_the_first_convolution(trainer: Trainer, tmp_path: Path) -> None:
    before = Trainer(tmp_path, seed=0, steps=4, rate=1e-3).model

    for number in range(3):
        trainer.learn(lesson(trainer, number), random.Random((2, 22, 30)[number]))

    same = {n for n, t in trainer.model.encoder.items() if torch.equal(t, before.encoder[n])}
    # Neither the last layer nor what follows it is read.
    unread = {n for n in same if "resblocks.2." in n or n in ("visual.proj",) or "ln_post" in n}
    assert same - unread == {"visual.conv1.weight"}
    assert trainer.model.negative.any()
    pairs = zip(trainer.model.adapter.parameters(), before.adapter.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.learn(lesson(trainer, 0), random.Random(0))
    trainer.descent.save()
    trainer.learn(lesson(trainer, 1), random.Random(1))

    stopped = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()
    stopped.learn(lesson(stopped, 1), random.Random(1))

    pairs = zip(trainer.model.learning, stopped.model.learning, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_steps_through_a_lower_level_make_the_loss_fall(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, seed=0, steps=40, rate=2e-3)
    fit_inlets(trainer.words, trainer.model.pyramid, [2], seed=0)
    course = Course(count=2, level=2, drop=1.0, sigma=14.0)
    shown = draw_lesson(random.Random(0), trainer.words, trainer.lookalikes, course)

    losses = [trainer.learn(shown, random.Random(0)) for _ in range(36)]

    assert losses[-1] < 0.7 * losses[0]


def test_training_goes_from_coarse_to_whole_pictures() -> None:
    levels = [course.level for _, course in STAGES]

    assert levels == [2, 1, 0]
    assert [end for end, _ in STAGES] == sorted(end for end, _ in STAGES)


def test_the_files_are_read_by_the_pipeline_as_they_were_trained(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.learn(lesson(trainer), random.Random(0))
    picture = np.array(draw(random.Random(3), (96, 64)).image)
    trainer.model.write(tmp_path)

    encoder, adapter = load(tmp_path)
    sides = adapter.read(encoder.encode(picture)).sides

    with torch.no_grad():
        for side, absent in ((PromptSide.POSITIVE, False), (PromptSide.NEGATIVE, True)):
            trained = trainer.model.read(show(picture), torch.tensor([absent]))
            own = flat(trained.sides[PromptSide.POSITIVE])
            assert torch.allclose(flat(sides[side]), own, atol=0.02 * float(own.abs().max()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_files_have_the_published_layout(file: ModelFile, shipped: Path) -> None:
    path = shipped / file.kind.value / file.name

    tensors = entries(path)

    published = json.loads((MANIFESTS / FILES[file]).read_text())
    # Beside the image encoder, that file has a text encoder, which is left out here.
    start = "visual." if file is IMAGE_ENCODER else ""
    wanted = {name: shape for name, (_, shape) in published.items() if name.startswith(start)}
    assert layout({name: t.shape for name, t in tensors.items()}) == layout(wanted)
    assert path.stat().st_size <= MOST_BYTES


def test_shipped_image_prompts_carry_colours_over(trainer: Trainer, shipped: Path) -> None:
    encoder, adapter = load(shipped)
    course = Course(count=1, part=4, drop=1.0)
    lesson = draw_lesson(random.Random(0), trainer.words, trainer.lookalikes, course)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(lesson.noise.noisy.shape, generator=generator)
    timestep = torch.tensor([999])
    estimates = []
    for colour in COLOURS.values():
        picture = np.full((64, 64, 3), colour, np.uint8)
        read = adapter.read(encoder.encode(picture))
        prompts = ImagePrompts([ImageGuide(picture=read, weight=0.6, stop=0.5)])
        prompts.begin_call([PromptSide.POSITIVE], 0.0)
        with torch.no_grad(), prompts.attached(trainer.unet):
            predicted = trainer.unet(noise, timestep, **lesson.prompts).sample
        estimates.append((noise - predicted)[0, :3].mean((1, 2)))

    correlations = [
        torch.corrcoef(torch.stack(pair))[0, 1]
        for pair in zip(torch.stack(estimates).T, torch.tensor([*COLOURS.values()]).T, strict=True)
    ]

    assert min(correlations) > 0.8
