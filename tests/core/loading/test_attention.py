"""Chunked attention equals torch's own, whatever the chunks, and sits in every attention layer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fooocus_core.config import AttentionKind, DeviceOptions
from fooocus_core.loading.attention import (
    Attend,
    ChunkedAttention,
    quad_attention,
    split_attention,
)
from fooocus_core.loading.memory import plan_device
from fooocus_core.vae.codec import decode
from tests.networks import load_checkpoint, load_small_sdxl

WAYS = {
    "split": partial(split_attention, upcasts=True),
    "split, one query at a time": partial(split_attention, upcasts=True, largest=1),
    "split, three chunks": partial(split_attention, upcasts=False, largest=6 * 50 * 40),
    "quad": partial(quad_attention, upcasts=True),
    "quad, many chunks": partial(quad_attention, upcasts=False, query_chunk=7, key_chunk=9),
}


def make_inputs(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 3, tokens, 16) for tokens in (100, 50, 50)]
    return tuple((scale * torch.randn(s, generator=generator)).to(dtype) for s in shapes)


@pytest.mark.parametrize("attend", WAYS.values(), ids=WAYS)
def test_chunks_do_not_change_the_result(attend: Attend) -> None:
    query, key, value = make_inputs()
    expected = scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(query, key, value), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("attend", WAYS.values(), ids=WAYS)
def test_high_scores_do_not_overflow(attend: Attend) -> None:
    query, key, value = make_inputs(scale=30)
    expected = scaled_dot_product_attention(query, key, value)
    # Scores in the thousands lie 2e-4 apart in float32.
    torch.testing.assert_close(attend(query, key, value), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("attend", [split_attention, quad_attention])
def test_upcasting_makes_half_formats_more_exact(attend: Attend) -> None:
    inputs = make_inputs(scale=3, dtype=torch.float16)
    expected = scaled_dot_product_attention(*(x.float() for x in inputs))
    errors = []
    for upcasts in (True, False):
        result = attend(*inputs, upcasts=upcasts)
        assert result.dtype == torch.float16
        errors.append((result.float() - expected).abs().mean())
    assert errors[0] < errors[1] < 0.05


@pytest.mark.parametrize("kind", [AttentionKind.SPLIT, AttentionKind.QUAD])
def test_unet_and_vae_compute_the_same_with_chunks(weights: Path, kind: AttentionKind) -> None:
    plan = plan_device(None, DeviceOptions(attention=kind))
    plain = load_small_sdxl(weights)
    chunked = load_checkpoint(plain.path, plan)
    generator = torch.Generator().manual_seed(2)
    inputs = {
        "sample": torch.randn(2, 4, 16, 24, generator=generator),
        "timestep": torch.tensor(500.0),
        "encoder_hidden_states": torch.randn(2, 77, 320, generator=generator),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, 1280, generator=generator),
            "time_ids": torch.full((2, 6), 128.0),
        },
    }
    with torch.no_grad():
        expected, actual = (model.unet(**inputs).sample for model in (plain, chunked))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)

    latent = inputs["sample"][:1]
    expected, actual = (
        torch.from_numpy(decode(model.vae, latent, warn=[].append).astype("int16"))
        for model in (plain, chunked)
    )
    assert (actual - expected).abs().max() <= 1
    for network in (chunked.unet, chunked.vae):
        layers = [module for module in network.modules() if isinstance(module, Attention)]
        assert layers
        assert all(isinstance(layer.processor, ChunkedAttention) for layer in layers)


def test_the_switch_about_upcasting_reaches_the_layers(weights: Path) -> None:
    path = weights / "checkpoints" / "tiny_sdxl.safetensors"
    options = DeviceOptions(attention=AttentionKind.QUAD, upcasts_attention=False)
    processor = next(
        iter(load_checkpoint(path, plan_device(None, options)).unet.attn_processors.values())
    )
    assert isinstance(processor, ChunkedAttention)
    assert processor.attend.keywords == {"upcasts": False}


def test_torchs_own_attention_is_the_default(weights: Path) -> None:
    processors = load_small_sdxl(weights).unet.attn_processors.values()
    assert {type(processor).__name__ for processor in processors} == {"AttnProcessor2_0"}
