from __future__ import annotations

import random
from importlib import resources
from pathlib import Path

import pytest
import torch

from fooocus_core.choices import Performance
from fooocus_core.loading.lora import match_lora, read_lora
from fooocus_core.performance import MODES
from tools.inlets import fit_inlets
from tools.lora_lessons import Base, Frame
from tools.low_rank import LowRankLayers
from tools.train_tiny_lora import (
    RANK,
    STAGES,
    Kind,
    Trainer,
    compare_both,
    course_of,
    read_base,
)

MOST_BYTES = 6_000_000
SMALL = Frame(level=2, count=2, part=4)  # small enough for a test
WHOLE = Frame(level=0, count=1, part=8)
MODE_KINDS = (Kind.LCM, Kind.LIGHTNING, Kind.HYPER_SD)
NAMES = {
    Kind.OUTLINE: "tiny_outline.safetensors",
    Kind.LCM: "sdxl_lcm_lora.safetensors",
    Kind.LIGHTNING: "sdxl_lightning_4step_lora.safetensors",
    Kind.HYPER_SD: "sdxl_hyper_sd_4step_lora.safetensors",
}


@pytest.fixture(scope="module")
def base() -> Base:
    base = read_base()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.inlets.BATCHES", 2)
        fit_inlets(base.words, base.unet.pyramid, [2, 4], seed=0)
    return base


def trainer(base: Base, folder: Path, kind: Kind = Kind.LIGHTNING) -> Trainer:
    return Trainer(base, kind, folder, seed=0, steps=40, rate=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.OUTLINE, Kind.HYPER_SD], ids=str)
def test_the_loss_falls(kind: Kind, base: Base, tmp_path: Path) -> None:
    taught = trainer(base, tmp_path, kind)
    with torch.no_grad():
        weights = taught.weights()
        lesson = taught.lessons.draw(random.Random(7), SMALL, weights)
        before = float(taught.loss(lesson, weights))

    for _ in range(14):
        taught.descent.follow(taught.loss(lesson, taught.weights()))

    with torch.no_grad():
        assert float(taught.loss(lesson, taught.weights())) < 0.9 * before


@pytest.mark.parametrize("frame", [SMALL, WHOLE], ids=["coarse", "whole"])
def test_a_step_leaves_the_base_as_it_was(frame: Frame, base: Base, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in base.unet.unet.named_parameters()}
    taught = trainer(base, tmp_path)

    taught.learn(random.Random(0), frame)

    after = dict(base.unet.unet.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    changed = [name for name, weight in taught.weights().items() if (weight != after[name]).any()]
    assert any(name.startswith("mid_block.") for name in changed)
    assert any(name.startswith("down_blocks.0.") for name in changed) == (frame is WHOLE)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(base: Base, tmp_path: Path) -> None:
    whole = trainer(base, tmp_path)
    whole.learn(random.Random(0), SMALL)
    whole.descent.save()
    whole.learn(random.Random(1), SMALL)

    stopped = trainer(base, tmp_path)
    stopped.descent.load()
    stopped.learn(random.Random(1), SMALL)

    pairs = zip(whole.layers.learning, stopped.layers.learning, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_files_belong_to_the_unet_under_their_published_names(
    kind: Kind, base: Base, tmp_path: Path
) -> None:
    taught = trainer(base, tmp_path, kind)

    taught.write(tmp_path)

    (path,) = tmp_path.glob("*.safetensors")
    match = match_lora(read_lora(path), source=path.name, unet=base.unet.unet)
    assert path.name == NAMES[kind]
    assert match.warnings == ()
    assert set(match.unet) == set(taught.weights())


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_shipped_files_belong_to_the_shipped_unet(kind: Kind, base: Base) -> None:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        path = root / "loras" / NAMES[kind]
        match = match_lora(read_lora(path), source=path.name, unet=base.unet.unet)

    assert match.warnings == ()
    assert len(match.unet) == len(LowRankLayers(base.unet.unet, rank=RANK, seed=0).weights(1.0))
    assert path.stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("kind", MODE_KINDS, ids=str)
def test_modes_are_learned_at_the_weight_that_they_use(kind: Kind) -> None:
    course = course_of(kind)

    assert course.mode is not None
    assert course.lora == course.mode.lora
    assert course.lora.weight == (0.8 if kind is Kind.HYPER_SD else 1.0)


def test_training_goes_from_coarse_to_whole_pictures() -> None:
    levels = [frame.level for _, frame in STAGES]

    assert levels == [2, 1, 0]
    assert [end for end, _ in STAGES] == sorted(end for end, _ in STAGES)


@pytest.mark.parametrize("kind", [Kind.OUTLINE, Kind.LIGHTNING], ids=str)
def test_pictures_without_and_with_a_lora_are_compared(
    kind: Kind, base: Base, tmp_path: Path
) -> None:
    taught = trainer(base, tmp_path, kind)

    found = compare_both(taught, 2, level=4)

    # Nothing was learned yet.
    assert found["with"] == found["without"]


def test_there_is_a_lora_for_every_mode_that_needs_one() -> None:
    wanted = {mode.lora.name for mode in MODES.values() if mode.lora}

    assert {course_of(kind).lora.name for kind in MODE_KINDS} == wanted
    assert MODES[Performance.SPEED].lora is None
