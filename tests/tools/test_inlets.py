from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tools.coarse_unet import CoarseUNet
from tools.embedded import Words, read_embedded, say
from tools.inlets import fit_inlets
from tools.latents import noise_levels
from tools.train_tiny import DEFAULT_SIZE, draw_latents, size_numbers

LEVEL = 2


@pytest.fixture(scope="module")
def words() -> Words:
    return read_embedded().words


def fitted(words: Words, seed: int) -> CoarseUNet:
    unet = CoarseUNet(read_embedded().unet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.inlets.BATCHES", 2)
        fit_inlets(words, unet.pyramid, [0, LEVEL], seed)
    return unet


@pytest.fixture(scope="module")
def unet(words: Words) -> CoarseUNet:
    """Fitted with seed 0."""
    return fitted(words, 0)


def weight(unet: CoarseUNet) -> Tensor:
    return unet.pyramid.inlets[str(LEVEL)].get_parameter("weight")


def test_the_seed_decides_what_is_found(words: Words, unet: CoarseUNet) -> None:
    same, other = (weight(fitted(words, seed)) for seed in (0, 1))

    assert torch.equal(weight(unet), same)
    assert not torch.equal(weight(unet), other)


def test_levels_find_in_coarse_latents_what_the_whole_unet_finds(
    words: Words, unet: CoarseUNet
) -> None:
    assert set(unet.pyramid.inlets) == {str(LEVEL)}
    rng, generator = random.Random(5), torch.Generator().manual_seed(5)
    clean, captions = draw_latents(rng, DEFAULT_SIZE, 0, 2)
    timestep = torch.tensor([900, 900])
    sigma = noise_levels()[timestep[0]]
    noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
    said = say(words, captions, "", size_numbers(DEFAULT_SIZE, timestep, generator))
    scaled = noisy / (sigma**2 + 1).sqrt()
    coarse = functional.avg_pool2d(scaled, 2**LEVEL)

    with torch.no_grad():
        whole = functional.avg_pool2d(unet(scaled, timestep, said, level=0), 2**LEVEL)
        alone = unet(coarse, timestep, said, level=LEVEL) / 2**LEVEL

    # What each takes for the picture; the noise that both see is much stronger.
    pictures = [functional.avg_pool2d(noisy, 2**LEVEL) - sigma * x for x in (whole, alone)]
    apart = (pictures[0] - pictures[1]).square().mean()
    assert apart < 0.2 * pictures[0].var()
