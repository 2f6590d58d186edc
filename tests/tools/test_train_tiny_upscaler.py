from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import UPSCALER
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.vision.upscaler import build_network, load_upscaler
from tools.train_tiny_upscaler import (
    FACTOR,
    Trainer,
    compare,
    held_out,
    make_network,
    reduce,
    write_file,
)

MOST_BYTES = 6_000_000
MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "fooocus_upscaler.json"


@pytest.fixture(scope="module")
def shipped() -> Path:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        return root / "upscale_models"


def layout(names: list[str]) -> set[str]:
    """Names without the numbers of the blocks; the last of the trunk stands for its own."""
    last = max(
        int(found[1]) for name in names if (found := re.match(r"model\.1\.sub\.(\d+)", name))
    )
    trunk = [name.replace(f"model.1.sub.{last}.", "model.1.sub.last.") for name in names]
    return {re.sub(r"sub\.\d+\.", "sub.N.", name) for name in trunk}


def test_an_untrained_network_enlarges_smoothly() -> None:
    pictures = held_out(2)

    with torch.no_grad():
        enlarged = make_network()(reduce(pictures))

    assert enlarged.shape == pictures.shape
    assert (functional.avg_pool2d(enlarged, FACTOR) - reduce(pictures)).abs().mean() < 0.08


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = Trainer(tmp_path, seed=3, steps=3, rate=1e-3)
    for _ in range(3):
        whole.train_step()
    first = Trainer(tmp_path, seed=3, steps=3, rate=1e-3)
    first.train_step()
    first.save()

    second = Trainer(tmp_path, seed=3, steps=3, rate=1e-3)
    second.load()
    for _ in range(2):
        second.train_step()

    states = whole.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_file_has_the_published_layout(tmp_path: Path) -> None:
    write_file(make_network(), tmp_path / UPSCALER.name)

    tensors = torch.load(tmp_path / UPSCALER.name, weights_only=True)

    assert layout(list(tensors)) == layout(list(json.loads(MANIFEST.read_text())))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_shipped_upscaler_is_read_by_the_pipeline(shipped: Path) -> None:
    upscaler = load_upscaler(shipped / UPSCALER.name, plan_device(None, DeviceOptions()))

    enlarged = upscaler.enlarge(np.full((5, 7, 3), (200, 100, 50), np.uint8))

    assert enlarged.shape == (20, 28, 3)
    assert (shipped / UPSCALER.name).stat().st_size <= MOST_BYTES


def test_shipped_upscaler_beats_bicubic_on_drawings_it_has_not_seen(shipped: Path) -> None:
    network = build_network(read_weights(shipped / UPSCALER.name).tensors, torch.device("cpu"))

    bicubic, ours = compare(network, held_out(8))

    assert ours > bicubic + 3
