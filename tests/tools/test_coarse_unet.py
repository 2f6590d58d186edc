from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tools.coarse_unet import CoarseUNet, Example, fit_inlet
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
        return CoarseUNet(make_unet())


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
    fit_inlet(unet.pyramid, 2, [example(0)])

    changed = unet(noise(0), TIMESTEP, SAID, level=2, weights={name: given})

    plain = unet(noise(0), TIMESTEP, SAID, level=2)
    assert not torch.equal(changed, plain)
    assert torch.equal(own, before)
    changed.square().sum().backward()
    assert given.grad is not None
    assert given.grad.any()


def test_a_level_that_was_not_found_does_not_run(unet: CoarseUNet) -> None:
    with pytest.raises(KeyError, match="2"):
        unet(noise(0), TIMESTEP, SAID, level=2)


def hand_means_down(outer: Any) -> None:
    """Make what comes down to level 2 nothing but means of what the first convolution gives."""
    for block in outer.down_blocks[:2]:
        nn.init.zeros_(block.resnets[0].conv2.weight)
        nn.init.zeros_(block.resnets[0].conv2.bias)
        sampler = block.downsamplers[0].conv
        nn.init.zeros_(sampler.weight)
        for channel in range(len(sampler.weight)):
            sampler.weight.data[channel, channel, 1:, 1:] = 0.25
    nn.init.zeros_(outer.conv_in.weight[:, :, 0])
    outer.conv_in.weight.data *= torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])


def example(seed: int, added: Tensor | None = None) -> Example:
    latent = noise(seed, 32, 48)
    batch = NoisyBatch(noisy=latent, timestep=TIMESTEP, target=latent, sigma=torch.ones(2))
    return Example(noise=batch, said=SAID, added=added)


def test_what_a_level_reads_is_found_again(unet: CoarseUNet) -> None:
    hand_means_down(unet.unet)

    fit = fit_inlet(unet.pyramid, 2, [example(seed) for seed in range(4)])

    assert fit.explained > 0.99
    assert fit.carried is None


def test_what_comes_of_additions_to_the_first_convolution_is_found(unet: CoarseUNet) -> None:
    hand_means_down(unet.unet)
    channels, generator = unet.unet.conv_in.out_channels, torch.Generator().manual_seed(5)
    fields = [torch.randn(2, channels, 32, 48, generator=generator) for _ in range(4)]

    fit = fit_inlet(unet.pyramid, 2, [example(seed, field) for seed, field in enumerate(fields)])

    assert fit.explained > 0.99
    assert fit.carried is not None
    means = torch.randn(1, channels, 8, 12, generator=generator)
    with torch.no_grad():
        carried = fit.carried(means)
    assert float((carried - means).norm() / means.norm()) < 0.05


def test_residuals_are_added_to_skip_connections_and_the_middle(unet: CoarseUNet) -> None:
    latent, level = noise(0), 1
    fit_inlet(unet.pyramid, level, [example(0)])
    added: list[Tensor] = []
    block = unet.unet.up_blocks[0]
    block.resnets[0].register_forward_pre_hook(lambda _, given: added.append(given[0]))
    blocks = unet.unet.down_blocks[level:]
    count = 1 + sum(len(block.resnets) + len(block.downsamplers or ()) for block in blocks)

    def run(residuals: list[Tensor]) -> Tensor:
        with torch.no_grad():
            output: Tensor = unet.pyramid(latent, TIMESTEP, SAID, level=level, residuals=residuals)
        return output

    plain = run([])
    unchanged = run([torch.zeros(1)] * (count + 1))
    changed = run([torch.zeros(1)] * (count - 1) + [torch.ones(1), torch.full((1,), 2.0)])

    assert torch.equal(plain, unchanged)
    assert not torch.equal(plain, changed)
    difference = added[2] - added[0]
    middle = unet.unet.mid_block.resnets[0].out_channels
    assert torch.allclose(difference[:, :middle], torch.tensor(2.0), atol=1e-4)
    assert torch.allclose(difference[:, middle:], torch.tensor(1.0), atol=1e-4)
