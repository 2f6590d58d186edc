from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tools.coarse_unet import CoarseUNet
from tools.latents import NoisyBatch
from tools.tiny_model import Conditioning, make_unet

SAID = Conditioning(
    context=torch.randn(2, 77, 128, generator=torch.Generator().manual_seed(1)),
    pooled=torch.zeros(2, 64),
    size_numbers=torch.tensor([[896.0, 1152, 0, 0, 896, 1152]] * 2),
)
TIMESTEP = torch.tensor([700, 300])
ROUNDING = 0.03  # training runs in half precision


@pytest.fixture
def unet() -> CoarseUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CoarseUNet(make_unet(), "cpu")


def noise(seed: int, height: int = 16, width: int = 24) -> Tensor:
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(seed))


def library(unet: Any, latent: Tensor) -> Tensor:
    prompts = {"text_embeds": SAID.pooled, "time_ids": SAID.size_numbers}
    with torch.no_grad():
        output: Tensor = unet(latent, TIMESTEP, SAID.context, added_cond_kwargs=prompts).sample
    return output


def test_level_0_is_the_unet_that_was_given(unet: CoarseUNet) -> None:
    ours = unet(noise(0), TIMESTEP, SAID, level=0)

    wanted = library(unet.unet, noise(0))
    assert float((ours - wanted).norm() / wanted.norm()) < ROUNDING


def test_weights_that_are_given_take_the_place_of_its_own(unet: CoarseUNet) -> None:
    name = "mid_block.resnets.0.conv1.weight"
    own = unet.unet.get_parameter(name)
    before = own.clone()
    given = (before + 0.1).requires_grad_()

    changed = unet(noise(0), TIMESTEP, SAID, level=2, weights={name: given})

    plain = unet(noise(0), TIMESTEP, SAID, level=2)
    assert not torch.equal(changed, plain)
    assert torch.equal(own, before)
    changed.square().sum().backward()
    assert given.grad is not None
    assert given.grad.any()


def test_what_a_level_reads_is_found_again(unet: CoarseUNet) -> None:
    """Levels that only hand means down are explained by coarse latents wholly."""
    outer: Any = unet.unet
    for block in outer.down_blocks[:2]:
        nn.init.zeros_(block.resnets[0].conv2.weight)
        nn.init.zeros_(block.resnets[0].conv2.bias)
        sampler = block.downsamplers[0].conv
        nn.init.zeros_(sampler.weight)
        for channel in range(len(sampler.weight)):
            sampler.weight.data[channel, channel, 1:, 1:] = 0.25
    nn.init.zeros_(outer.conv_in.weight[:, :, 0])
    outer.conv_in.weight.data *= torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    latents = [noise(seed, 32, 48) for seed in range(4)]

    explained = unet.fit_inlet(2, [(batch(latent), SAID) for latent in latents])

    assert explained > 0.99


def batch(latent: Tensor) -> NoisyBatch:
    return NoisyBatch(noisy=latent, timestep=TIMESTEP, target=latent, sigma=torch.ones(2))
