from __future__ import annotations

import copy
import random
from itertools import groupby

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tools.drawing import draw
from tools.latents import (
    LATENT_GAIN,
    add_noise,
    draw_kept_signal,
    draw_timesteps,
    go_on,
    latent_of,
    noise_levels,
)
from tools.tiny_model import Conditioning, Pyramid
from tools.tiny_preview import make_preview, preview
from tools.tiny_vae import GAIN, block_means, draw_crops, make_vae, psnr
from tools.train_tiny import CYCLES, WARM_UP, Cycle, Phase, phase_at, total_steps


def conditioning() -> Conditioning:
    generator = torch.Generator().manual_seed(1)
    return Conditioning(
        context=torch.randn(1, 77, 128, generator=generator),
        pooled=torch.randn(1, 64, generator=generator),
        size_numbers=torch.tensor([[896.0, 1152, 0, 0, 896, 1152]]),
    )


@pytest.fixture(scope="module")
def pyramid() -> Pyramid:
    torch.manual_seed(0)
    return Pyramid().eval()


@pytest.mark.parametrize("size", [(32, 48), (24, 40)], ids=["even", "odd halves"])
def test_level_0_is_the_whole_unet(pyramid: Pyramid, size: tuple[int, int]) -> None:
    latent, said = torch.randn(1, 4, *size), conditioning()

    with torch.no_grad():
        ours = pyramid(latent, torch.tensor([500]), said)
        library = pyramid.unet(
            latent,
            500,
            said.context,
            added_cond_kwargs={"text_embeds": said.pooled, "time_ids": said.size_numbers},
        ).sample

    assert torch.equal(ours, library)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_lower_levels_run_alone(pyramid: Pyramid, level: int) -> None:
    with torch.no_grad():
        output = pyramid(torch.randn(1, 4, 8, 12), torch.tensor([500]), conditioning(), level=level)

    assert output.shape == (1, 4, 8, 12)


def test_a_level_grown_on_top_keeps_what_is_below(pyramid: Pyramid) -> None:
    grown = copy.deepcopy(pyramid)
    latent, said, timestep = torch.randn(1, 4, 64, 64), conditioning(), torch.tensor([999])
    seen: list[Tensor] = []
    grown.unet.down_blocks[3].resnets[0].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )

    grown.grow(0, below=3)
    with torch.no_grad():
        whole = grown(latent, timestep, said)
        grown(functional.avg_pool2d(latent, 8), timestep, said, level=3)

    assert functional.cosine_similarity(*(x.flatten() for x in seen), dim=0) > 0.95
    noise_part = functional.cosine_similarity(whole.flatten(), latent.flatten(), dim=0)
    assert noise_part > 0.9  # all but the random start of the residual branches


def test_target_leads_back_to_the_clean_latent() -> None:
    sigmas, level = noise_levels(), 2
    clean, timestep = torch.randn(3, 4, 8, 8), torch.tensor([10, 500, 999])

    batch = add_noise(clean, timestep, level, sigmas, torch.Generator().manual_seed(0))

    sigma = batch.sigma.view(-1, 1, 1, 1)
    state = batch.noisy * (sigma**2 + 1).sqrt()
    assert torch.allclose(state - sigma * batch.target / 2**level, clean, atol=1e-4)


def test_a_run_that_goes_on_holds_what_was_predicted_and_is_asked_for_the_same() -> None:
    sigmas, level, generator = noise_levels(), 1, torch.Generator().manual_seed(0)
    clean, timestep = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([800, 999])
    batch = add_noise(clean, timestep, level, sigmas, generator)
    wrong = torch.randn(clean.shape, generator=generator)
    off = wrong * 2**level / batch.sigma.view(-1, 1, 1, 1)

    right, other = (
        go_on(batch, x, batch.sigma / 2, level, torch.Generator().manual_seed(1))
        for x in (batch.target, batch.target - off)
    )

    assert torch.allclose(right.sigma, batch.sigma / 2, rtol=0.01)
    for later in (right, other):
        assert torch.allclose(later.estimate(later.target, level), clean, atol=1e-4)
    kept = (right.sigma / batch.sigma).square().view(-1, 1, 1, 1)
    assert torch.allclose(other.state - right.state, (1 - kept) * wrong, atol=1e-4)
    # Of the noise so far a quarter is in it, and so much that is new that there is enough of it.
    noise = (right.state - clean - kept * (batch.state - clean)) * 2**level
    assert torch.allclose(noise.std((1, 2, 3)), right.sigma * 0.75**0.5, rtol=0.1)


def test_a_share_of_the_inputs_shows_nothing_of_the_picture() -> None:
    sigmas, generator = noise_levels(), torch.Generator().manual_seed(0)

    timestep = draw_timesteps(4000, 0, sigmas, generator, beginning=0.5)
    usual = draw_timesteps(4000, 0, sigmas, generator, beginning=0.0)
    kept = draw_kept_signal(sigmas[timestep], generator)

    assert 0.45 < (kept < 0.15).float().mean() < 0.6
    assert (sigmas[usual] > 13.5).float().mean() < 0.05
    assert usual.float().median() < 600


def test_weak_noise_can_be_left_out() -> None:
    sigmas, generator = noise_levels(), torch.Generator().manual_seed(0)

    timestep = draw_timesteps(1000, 2, sigmas, generator, lowest=1.5)

    assert 1.4 < sigmas[timestep].min() < 2.0


def test_latents_come_straight_from_pictures() -> None:
    pictures = draw_crops(random.Random(0), 2, 64)
    vae = make_vae()

    with torch.no_grad():
        encoded = vae.encode(pictures).latent_dist.mean / GAIN
        decoded = vae.decode(encoded * GAIN).sample

    assert (encoded - block_means(pictures)).abs().max() < 0.03
    assert psnr(decoded, pictures) > 15


def test_coarse_latents_are_means_of_fine_ones() -> None:
    picture = draw(random.Random(4), (512, 512)).image

    fine, coarse = latent_of(picture, (64, 64), 0), latent_of(picture, (8, 8), 3)

    means = functional.avg_pool2d(fine[:3], 8)
    assert (means - coarse[:3]).abs().max() < 0.02 * LATENT_GAIN


def test_preview_has_the_published_size() -> None:
    network = make_preview()

    assert sum(parameter.numel() for parameter in network.parameters()) == 52395
    assert preview(network, torch.zeros(1, 4, 9, 12)).shape == (1, 3, 18, 24)


def test_the_learning_rate_rises_and_falls_once_in_a_cycle() -> None:
    cycle = Cycle(phases=(Phase(steps=300, levels={4: 1.0}), Phase(steps=700, levels={2: 1.0})))
    rates = [cycle.rate(step) for step in range(cycle.steps)]
    top = rates.index(max(rates))
    assert top == WARM_UP - 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=0.001)


def test_a_cycle_holds_its_rate_and_begins_lower_if_told() -> None:
    cycle = Cycle(phases=(Phase(steps=1000, levels={2: 1.0}),), height=0.4, hold=0.5)
    assert {cycle.rate(step) for step in range(WARM_UP, 500)} == {0.4}
    assert cycle.rate(600) < 0.4


def test_every_step_of_the_training_has_its_phase_and_none_is_beyond() -> None:
    phases = [phase_at(step) for step in range(total_steps())]
    planned = [phase for cycle in CYCLES for phase in cycle.phases]
    assert [phase for phase, _ in groupby(phases)] == planned
    assert [phases.count(phase) for phase in planned] == [phase.steps for phase in planned]
    with pytest.raises(ValueError, match="fewer steps"):
        phase_at(total_steps())
