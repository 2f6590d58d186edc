from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from fooocus_core.choices import MaskModel
from fooocus_core.config import DeviceOptions
from fooocus_core.loading.memory import plan_device
from fooocus_core.vision.foreground import load_foreground_network
from tools.lesson_pictures import draw_lesson
from tools.mask_model import SIDE, SIGNATURES, MaskNetwork, shrink, write_mask_files
from tools.train_tiny_masks import Trainer

PLAN = plan_device(None, DeviceOptions())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=4, rate=1e-3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a network that takes red for what stands out."""
    root = tmp_path_factory.mktemp("models")
    network = MaskNetwork()
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.first.taps.weight[0, 0, 1, 1] = 1
        network.first.level.weight[0] = 1
        network.up[-1].taps.weight[0, network.narrow[-1].out_channels, 1, 1] = 1
        network.up[-1].level.weight[0] = 1
        network.last.weight[0, 0, 1, 1] = 8
        network.last.bias.fill_(-4)
    write_mask_files(network, root)
    return root


def striped(colour: int) -> np.ndarray:
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, 40:80, colour] = 230
    return picture


def learn(trainer: Trainer) -> float:
    rng = random.Random(trainer.descent.step)
    return trainer.learn([draw_lesson(rng) for _ in range(2)], rng)


def test_a_step_teaches_every_part(trainer: Trainer) -> None:
    before = [weight.detach().clone() for weight in trainer.network.parameters()]

    learn(trainer)

    pairs = zip(trainer.network.parameters(), before, strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    learn(trainer)
    trainer.descent.save()
    whole = learn(trainer)

    stopped = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()

    assert learn(stopped) == whole


@pytest.mark.parametrize("model", SIGNATURES)
def test_each_file_gives_the_mask_of_the_network(root: Path, model: MaskModel) -> None:
    network = load_foreground_network(root / "inpaint" / f"{model}.onnx", model, PLAN)

    red, green = (network.mask(striped(colour)) > 127 for colour in (0, 1))

    assert (red == striped(0).any(axis=2)).mean() > 0.97
    assert not green.any()


def test_files_that_are_given_the_same_are_equal_and_small(root: Path) -> None:
    contents = {path.stem: path.read_bytes() for path in (root / "inpaint").iterdir()}

    assert set(contents) == set(SIGNATURES)
    assert contents["u2net"] == contents["u2netp"] == contents["silueta"]
    assert max(map(len, contents.values())) < 400_000


@pytest.mark.parametrize("side", [320, 768, 1024])
def test_pictures_are_averaged_whole(side: int) -> None:
    pixels = torch.zeros(1, 1, side, side)
    pixels[..., : side // 2] = 1.0

    small = shrink(pixels, side)

    assert small.shape == (1, 1, SIDE, SIDE)
    assert small[..., : SIDE // 2].eq(1).all()
    assert small[..., SIDE // 2 :].eq(0).all()
