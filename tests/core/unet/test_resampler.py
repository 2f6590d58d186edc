"""The resampler against the recorded tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from fooocus_core.unet.resampler import Resampler, ResamplerSizes, resampler_sizes
from tests.golden import NETWORK, assert_matches, load_arrays
from tests.networks import manifest_tensors

RECORDED = load_arrays("image-ops/resampler")


def recorded_weights() -> dict[str, Tensor]:
    return {
        name.removeprefix("w."): torch.tensor(array)
        for name, array in RECORDED.items()
        if name.startswith("w.")
    }


def recorded_sizes() -> ResamplerSizes:
    return ResamplerSizes(
        features=12, width=16, queries=3, output=20, depth=2, heads=2, head_width=8, hidden=64
    )


@torch.no_grad()
def test_a_hidden_state_gives_the_recorded_tokens() -> None:
    resampler = Resampler(recorded_sizes())
    resampler.load_state_dict(recorded_weights())

    tokens = resampler(torch.tensor(RECORDED["x"]))

    assert_matches(tokens, RECORDED["out"], NETWORK)


def test_the_sizes_of_the_published_file_are_read_from_it() -> None:
    tensors = manifest_tensors("ip_adapter_plus_sdxl_vit_h", "image_proj.")

    assert resampler_sizes(tensors) == ResamplerSizes(
        features=1280,
        width=1280,
        queries=16,
        output=2048,
        depth=4,
        heads=20,
        head_width=64,
        hidden=5120,
    )


def test_every_size_is_read_from_the_entries() -> None:
    sizes = ResamplerSizes(
        features=5, width=6, queries=3, output=7, depth=2, heads=2, head_width=64, hidden=9
    )

    assert resampler_sizes(Resampler(sizes).state_dict()) == sizes


@torch.no_grad()
def test_scores_that_float16_cannot_hold_stay_finite_until_scaled() -> None:
    weights = {name: weight.half() for name, weight in recorded_weights().items()}
    for name in ("layers.0.0.norm1.weight", "layers.0.0.norm2.weight"):
        weights[name] = weights[name] * 120
    resampler = Resampler(recorded_sizes()).half()
    resampler.load_state_dict(weights)

    tokens = resampler(torch.tensor(RECORDED["x"]).half())

    assert tokens.dtype == torch.float16
    assert torch.isfinite(tokens).all()
