"""LoRAs merged into a checkpoint: what stays, what changes, what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import Checkpoint, load_checkpoint
from fooocus_core.loading.merged_loras import LoraFile, MergedLoras
from tests.networks import CPU_PLAN


@pytest.fixture
def checkpoint(weights: Path) -> Checkpoint:
    return load_checkpoint(weights / "checkpoints" / "tiny_sdxl.safetensors", CPU_PLAN)


@pytest.fixture
def first(weights: Path) -> LoraFile:
    return LoraFile(path=weights / "loras" / "tiny_lora.safetensors", weight=0.5)


@pytest.fixture
def second(weights: Path) -> LoraFile:
    return LoraFile(path=weights / "loras" / "tiny_lora_b.safetensors", weight=0.8)


def state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    assert checkpoint.clip_l is not None
    networks = {"unet": checkpoint.unet, "clip_l": checkpoint.clip_l}
    return {
        f"{part}.{name}": tensor.clone()
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_merging_changes_weights_and_undoing_restores_every_bit(
    checkpoint: Checkpoint, first: LoraFile
) -> None:
    before = state(checkpoint)
    loras = MergedLoras(checkpoint, CPU_PLAN)
    loras.merge([first])
    assert {name.split(".")[0] for name in differing(before, state(checkpoint))} == {
        "unet",
        "clip_l",
    }
    loras.undo()
    assert differing(before, state(checkpoint)) == set()


def test_another_list_starts_from_the_original_weights(
    checkpoint: Checkpoint, first: LoraFile, second: LoraFile
) -> None:
    loras = MergedLoras(checkpoint, CPU_PLAN)
    loras.merge([second])
    expected = state(checkpoint)
    loras.merge([first, second])
    loras.merge([second])
    assert differing(expected, state(checkpoint)) == set()


def test_an_equal_list_is_not_read_again(
    checkpoint: Checkpoint, first: LoraFile, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.path.read_bytes())
    loras = MergedLoras(checkpoint, CPU_PLAN)
    loras.merge([LoraFile(path=copy, weight=0.5)])
    copy.unlink()
    merged = state(checkpoint)
    loras.merge([LoraFile(path=copy, weight=0.5)])
    assert differing(merged, state(checkpoint)) == set()


def test_a_foreign_file_is_ignored_with_a_warning_each_time(
    checkpoint: Checkpoint, weights: Path
) -> None:
    foreign = LoraFile(path=weights / "loras" / "tiny_foreign.safetensors", weight=1.0)
    before = state(checkpoint)
    loras = MergedLoras(checkpoint, CPU_PLAN)
    warnings = loras.merge([foreign])
    assert ["tiny_foreign" in warning for warning in warnings] == [True]
    assert loras.merge([foreign]) == warnings
    assert differing(before, state(checkpoint)) == set()


def test_a_broken_file_leaves_the_original_weights(
    checkpoint: Checkpoint, first: LoraFile, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    before = state(checkpoint)
    loras = MergedLoras(checkpoint, CPU_PLAN)
    with pytest.raises(ModelFileError, match="broken"):
        loras.merge([first, LoraFile(path=broken, weight=1.0)])
    assert differing(before, state(checkpoint)) == set()
