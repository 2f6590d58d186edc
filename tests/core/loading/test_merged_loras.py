"""LoRAs merged into a checkpoint: what stays, what changes, what comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.merged_loras import LoraFile, MergedLoras
from tests.networks import CPU_PLAN, load_checkpoint


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
    merged = state(checkpoint)
    before = copy.stat()
    copy.write_bytes(bytes(before.st_size))
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    loras.merge([LoraFile(path=copy, weight=0.5)])
    assert differing(merged, state(checkpoint)) == set()


def test_a_file_that_changed_is_merged_again(
    checkpoint: Checkpoint, first: LoraFile, second: LoraFile, tmp_path: Path
) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(first.path.read_bytes())
    loras = MergedLoras(checkpoint, CPU_PLAN)
    loras.merge([LoraFile(path=path, weight=0.5)])
    merged = state(checkpoint)
    path.unlink()
    path.write_bytes(second.path.read_bytes())
    loras.merge([LoraFile(path=path, weight=0.5)])
    assert differing(merged, state(checkpoint))


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


def test_sums_are_rounded_like_the_weights_also_where_these_are_kept_wider(
    checkpoint: Checkpoint, weights: Path
) -> None:
    plan = plan_device(None, DeviceOptions(unet_in=Precision.FP8_E5M2))
    narrow = load_checkpoint(checkpoint.path, plan)
    before = state(narrow)
    path = weights / "loras" / "tiny_lycoris.safetensors"
    loras = MergedLoras(narrow, plan)
    loras.merge([LoraFile(path=path, weight=0.7)])
    changed = differing(before, state(narrow))
    assert any("norm" in name for name in changed)
    for name, weight in narrow.unet.state_dict().items():
        if f"unet.{name}" in changed:
            assert torch.equal(weight.float(), weight.to(torch.float8_e5m2).float())
    loras.undo()
    assert differing(before, state(narrow)) == set()
