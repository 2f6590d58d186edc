from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from fooocus_core.loading.lora import match_lora, read_lora
from fooocus_core.loading.weight_patches import PatchSet, merged_weights
from tools.low_rank import LowRankLayers, Spelling
from tools.tiny_model import make_unet

MOST_BYTES = 6_000_000
STRENGTH = 0.8


@pytest.fixture(scope="module")
def unet() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_unet().requires_grad_(requires_grad=False)


@pytest.fixture
def layers(unet: Any) -> LowRankLayers:
    """Changes as training leaves them: every factor has values."""
    made = LowRankLayers(unet, rank=4, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.learning:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


def test_changes_begin_with_nought(unet: Any) -> None:
    base = dict(unet.named_parameters())

    weights = LowRankLayers(unet, rank=4, seed=0).weights(1.0)

    assert all(torch.equal(weight, base[name]) for name, weight in weights.items())


def test_all_convolutions_and_linear_layers_of_the_blocks_change(
    unet: Any, layers: LowRankLayers
) -> None:
    inner = ("down_blocks.", "mid_block.", "up_blocks.")
    wanted = {n for n, w in unet.named_parameters() if n.startswith(inner) and w.ndim > 1}

    assert set(layers.weights(1.0)) == wanted


@pytest.mark.parametrize("spelling", Spelling, ids=str)
def test_the_pipeline_changes_the_unet_as_training_did(
    spelling: Spelling, unet: Any, layers: LowRankLayers, tmp_path: Path
) -> None:
    before = {name: weight.clone() for name, weight in unet.named_parameters()}
    trained = {name: weight.detach() for name, weight in layers.weights(STRENGTH).items()}
    path = tmp_path / "some.safetensors"

    layers.write(path, spelling)
    match = match_lora(read_lora(path), source=path.name, unet=unet)
    patches = PatchSet(source=path.name, patches=match.unet, strength=STRENGTH)
    with merged_weights(unet, [patches], device=torch.device("cpu"), rounding=None) as warnings:
        merged = {name: weight.clone() for name, weight in unet.named_parameters()}

    assert (match.warnings, warnings) == ((), ())
    for name, weight in merged.items():
        expected = trained.get(name, before[name])
        # The file is in half precision.
        assert torch.allclose(weight, expected, rtol=0, atol=2e-3 * float(expected.abs().max()))
        assert torch.equal(weight, before[name]) == (name not in trained)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (Spelling.ORIGINAL, "lora_unet_input_blocks_1_0_in_layers_2"),
        (Spelling.DIFFUSERS, "lora_unet_down_blocks_0_resnets_0_conv1"),
    ],
    ids=str,
)
def test_files_have_the_published_layout(
    spelling: Spelling, name: str, layers: LowRankLayers
) -> None:
    tensors = layers.tensors(spelling)

    ends = {re.sub(r"^\w+?\.", "", key) for key in tensors}
    assert ends == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert tensors[f"{name}.lora_down.weight"].shape == (4, 64, 3, 3)
    assert tensors[f"{name}.lora_up.weight"].shape == (64, 4, 1, 1)
    assert tensors[f"{name}.alpha"].item() == 4
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_files_of_the_usual_rank_are_small(unet: Any) -> None:
    tensors = LowRankLayers(unet, rank=16, seed=0).tensors(Spelling.DIFFUSERS)

    assert sum(2 * tensor.numel() for tensor in tensors.values()) < MOST_BYTES
