"""Narrow weights are the rounded ones, take less memory, and compute as if they were wide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_patches import Difference, PatchSet, merged_weights
from fooocus_core.vae.codec import decode
from tests.networks import load_checkpoint, load_small_sdxl

FORMATS = {Precision.FP8_E4M3FN: torch.float8_e4m3fn, Precision.FP8_E5M2: torch.float8_e5m2}


@pytest.fixture(scope="module")
def plain(weights: Path) -> Checkpoint:
    return load_small_sdxl(weights)


def load(plain: Checkpoint, options: DeviceOptions) -> Checkpoint:
    return load_checkpoint(plain.path, plan_device(None, options))


def run_unet(unet: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return unet(
            torch.randn(2, 4, 16, 16, generator=generator),
            torch.tensor(500.0),
            encoder_hidden_states=torch.randn(2, 77, 320, generator=generator),
            added_cond_kwargs={
                "text_embeds": torch.randn(2, 1280, generator=generator),
                "time_ids": torch.full((2, 6), 128.0),
            },
        ).sample


def run_text(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([[49406, 320, 1125, 49407]])).last_hidden_state


def count_bytes(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


@torch.no_grad()
def round_all(network: nn.Module, dtype: torch.dtype) -> None:
    for module in network.modules():
        if not isinstance(module, nn.Embedding):
            for weight in module.parameters(recurse=False):
                weight.copy_(weight.to(dtype))


@pytest.mark.parametrize("precision", FORMATS)
def test_an_8_bit_unet_computes_in_float32_with_rounded_weights(
    plain: Checkpoint, weights: Path, precision: Precision
) -> None:
    narrow = load(plain, DeviceOptions(unet_in=precision)).unet
    reference = load_small_sdxl(weights).unet
    round_all(reference, FORMATS[precision])

    output = run_unet(narrow)

    assert narrow.dtype == output.dtype == torch.float32
    assert torch.equal(output, run_unet(reference))
    assert not torch.equal(output, run_unet(plain.unet))
    assert narrow.mid_block.resnets[0].conv1.weight.dtype == FORMATS[precision]
    assert count_bytes(narrow) < 0.27 * count_bytes(plain.unet)


@pytest.mark.parametrize("precision", FORMATS)
def test_an_8_bit_text_encoder_computes_in_float32_with_rounded_weights(
    plain: Checkpoint, weights: Path, precision: Precision
) -> None:
    narrow = load(plain, DeviceOptions(clip_in=precision)).clip_l
    reference = load_small_sdxl(weights).clip_l
    assert narrow is not None
    assert reference is not None
    assert plain.clip_l is not None
    round_all(reference, FORMATS[precision])

    output = run_text(narrow)

    assert output.dtype == torch.float32
    assert torch.equal(output, run_text(reference))
    assert narrow.encoder.layers[0].mlp.fc1.weight.dtype == FORMATS[precision]
    table = narrow.embeddings.token_embedding.weight
    assert torch.equal(table, plain.clip_l.embeddings.token_embedding.weight)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_cpu_keeps_half_formats_but_computes_in_float32(
    plain: Checkpoint, precision: Precision
) -> None:
    narrow = load(plain, DeviceOptions(unet_in=precision)).unet
    assert run_unet(narrow).dtype == torch.float32
    assert count_bytes(narrow) < 0.51 * count_bytes(plain.unet)


def test_a_vae_in_a_half_format_computes_in_float32_on_a_cpu(
    plain: Checkpoint, weights: Path
) -> None:
    narrow = load(plain, DeviceOptions(vae_in=Precision.BF16)).vae
    reference = load_small_sdxl(weights).vae
    round_all(reference, torch.bfloat16)
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert narrow.decoder.conv_in.weight.dtype == torch.bfloat16
    assert np.array_equal(*(decode(vae, latent, warn=[].append) for vae in (narrow, reference)))


def test_the_weights_of_the_files_format_give_the_same_as_wide_ones(plain: Checkpoint) -> None:
    # The file holds float16, so keeping float16 loses nothing.
    narrow = load(plain, DeviceOptions(unet_in=Precision.FP16)).unet
    assert torch.equal(run_unet(narrow), run_unet(plain.unet))


def test_a_lora_is_merged_into_8_bit_weights_and_undone(plain: Checkpoint) -> None:
    unet = load(plain, DeviceOptions(unet_in=Precision.FP8_E4M3FN)).unet
    name = "mid_block.resnets.0.conv1.weight"
    weight = unet.get_parameter(name)
    before, output = weight.float(), run_unet(unet)
    difference = Difference(value=torch.full(weight.shape, 0.03))
    patches = PatchSet(source="some", patches={name: difference}, strength=1.0)

    with merged_weights(unet, [patches], device=torch.device("cpu")):
        assert torch.equal(weight.float(), (before + 0.03).to(torch.float8_e4m3fn).float())
        assert not torch.equal(run_unet(unet), output)

    assert torch.equal(run_unet(unet), output)
