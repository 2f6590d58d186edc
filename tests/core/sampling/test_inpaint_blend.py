"""The known part of a picture: single calls, recorded runs, and every way of sharing a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import RefinerSwap, Sampler, Scheduler
from fooocus_core.downloads import INPAINT_HEAD
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.params import GuidanceParams
from fooocus_core.sampling.denoiser import GuidedDenoiser
from fooocus_core.sampling.inpaint_blend import KnownPart, hold_known
from fooocus_core.sampling.noise_levels import noise_model
from fooocus_core.sampling.refiner import Relay
from fooocus_core.sampling.run import (
    SD15_FORMAT,
    LatentFormat,
    SamplingRun,
    Turn,
    latent_format,
    sample,
    seeded_noise,
)
from fooocus_core.text.encoder import TextConditioning
from fooocus_core.unet.inpaint_head import load_inpaint_head
from fooocus_core.unet.size_conditioning import SizeConditioning
from tests.golden import LATENT, assert_matches, load_arrays, random_array

STEP = load_arrays("image-ops/inpaint_sampler_step")
RECORDED = load_arrays("components/inpaint")
CPU = torch.device("cpu")
SHAPE = (1, 4, 8, 8)
SEED = 77
KARRAS = latent_format(Scheduler.KARRAS)
LATENT_A, LATENT_B = (torch.tensor(random_array(number, SHAPE)) for number in (1, 2))
HOLE = torch.zeros(1, 1, 8, 8)
HOLE[..., 2:5, 3:7] = 1.0
UNHELD = {Sampler.UNI_PC, Sampler.UNI_PC_BH2}
# They leave some noise at their last level.
NOISY = {Sampler.DPM_ADAPTIVE, Sampler.DPM_FAST, Sampler.TCD}


class Watched:
    """Denoises to a share of what it is given, and remembers it."""

    noise_model = noise_model(Scheduler.KARRAS)

    def __init__(self, share: float = 0.25, offset: float = 0.1) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []
        self._share, self._offset = share, offset

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.seen.append((x, sigma))
        return self._share * x + self._offset

    def known_noise(self, latent: Tensor) -> list[Tensor]:
        """What was put onto the known part in each call, in units of the level."""
        return [((x - latent) / sigma) * (1.0 - HOLE) for x, sigma in self.seen]


def draws(seed: int, count: int) -> list[Tensor]:
    """What a generator of the CPU gives outside of the hole."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator) * (1.0 - HOLE) for _ in range(count)]


def assert_drawn(noises: list[Tensor], expected: list[Tensor]) -> None:
    assert len(noises) == len(expected)
    for noise, draw in zip(noises, expected, strict=True):
        torch.testing.assert_close(noise, draw, rtol=1e-3, atol=1e-3)


def ignore(step: int, steps: int, denoised: Tensor) -> None:
    """Takes no notice of a step."""


def run_of(sampler: Sampler = Sampler.EULER, steps: int = 4) -> SamplingRun:
    is_tcd = sampler is Sampler.TCD
    scheduler = Scheduler.SGM_UNIFORM if is_tcd else Scheduler.KARRAS
    return SamplingRun(sampler=sampler, scheduler=scheduler, steps=steps)


def turn_of(
    denoiser: Watched,
    latent: Tensor | None = LATENT_A,
    mask: Tensor = HOLE,
    formats: LatentFormat = KARRAS,
) -> Turn:
    known = None if latent is None else KnownPart(latent=latent, mask=mask)
    return Turn(denoiser=denoiser, format=formats, on_step=ignore, known=known)


def result_of(turn: Turn | Relay, run: SamplingRun | None = None, seed: int = SEED) -> Tensor:
    run = run or run_of()
    noise = seeded_noise(run, seed, SHAPE, CPU)
    if isinstance(turn, Relay):
        return turn.sample(run, LATENT_A, noise)
    return sample(run, turn, LATENT_A, noise)


def test_two_calls_of_a_run_equal_the_vectors() -> None:
    network = Watched()
    known = KnownPart(latent=torch.tensor(STEP["latent"]), mask=torch.tensor(STEP["latent_mask"]))
    denoiser = hold_known(
        network,
        known,
        to_sampler=KARRAS.to_sampler,
        sampler=Sampler.EULER,
        seed=int(STEP["seed"]),
    )

    for call in ("0", "1"):
        sigma = torch.tensor(float(STEP[f"sigma{call}"]))
        result = denoiser(torch.tensor(STEP[f"x{call}"]), sigma)
        np.testing.assert_allclose(network.seen[-1][0], STEP[f"model_in{call}"], atol=1e-5)
        np.testing.assert_allclose(result, STEP[f"out{call}"], atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "denoise"),
    [(Sampler.DPMPP_2M_SDE_GPU, 1.0), (Sampler.EULER, 0.6)],
    ids=["dpmpp_2m_sde_gpu", "euler"],
)
def test_runs_with_the_inpaint_head_end_at_the_recorded_latent(
    sampler: Sampler,
    denoise: float,
    checkpoint: Checkpoint,
    weights: Path,
    positive: TextConditioning,
    negative: TextConditioning,
) -> None:
    latent, mask, fill = (
        torch.tensor(RECORDED[name]) for name in ("latent", "latent_mask", "latent_fill")
    )
    run = SamplingRun(sampler=sampler, scheduler=Scheduler.KARRAS, steps=5, denoise=denoise)
    guidance = GuidanceParams(scale=4.0)
    denoiser = GuidedDenoiser(
        checkpoint.unet,
        positive,
        negative,
        guidance=guidance,
        size=SizeConditioning(
            width=256,
            height=256,
            positive_scale=guidance.size_scale_positive,
            negative_scale=guidance.size_scale_negative,
            end=guidance.size_scale_end,
        ),
        noise_model=noise_model(run.scheduler),
    )
    feature = load_inpaint_head(weights / "inpaint" / INPAINT_HEAD.name).feature(
        mask, KARRAS.to_sampler(latent)
    )
    turn = Turn(
        denoiser=denoiser,
        format=KARRAS,
        on_step=ignore,
        attached=lambda: feature.attached(checkpoint.unet),
        known=KnownPart(latent=fill, mask=mask),
    )

    result = sample(run, turn, fill, seeded_noise(run, 77, tuple(fill.shape), CPU))

    assert_matches(result, RECORDED[f"run_{sampler}_karras_{denoise}"], LATENT)


@pytest.mark.parametrize("sampler", sorted(set(Sampler) - UNHELD))
def test_every_evaluation_draws_noise_once(sampler: Sampler) -> None:
    network = Watched()

    result_of(turn_of(network), run_of(sampler))

    scaled = KARRAS.to_sampler(LATENT_A)
    assert_drawn(network.known_noise(scaled), draws(SEED + 1, len(network.seen)))


@pytest.mark.parametrize("sampler", sorted(UNHELD))
def test_unipc_samplers_are_not_held(sampler: Sampler) -> None:
    held, free = Watched(), Watched()

    results = [result_of(turn, run_of(sampler)) for turn in (turn_of(held), turn_of(free, None))]

    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("seed", "drawn_from"),
    [(0, 1), (77, 78), (2**63 - 3, 2**63 - 2), (2**63 - 2, 0), (2**63 - 1, 1)],
)
def test_the_noise_is_that_of_the_next_seed(seed: int, drawn_from: int) -> None:
    network = Watched()

    result_of(turn_of(network), seed=seed)

    assert_drawn(network.known_noise(KARRAS.to_sampler(LATENT_A)), draws(drawn_from, 4))


@pytest.mark.parametrize("sampler", sorted(set(Sampler) - UNHELD - NOISY))
def test_only_the_hole_is_painted(sampler: Sampler) -> None:
    result = result_of(turn_of(Watched(0.0, 3.0)), run_of(sampler, steps=8))

    painted = KARRAS.to_vae(torch.full(SHAPE, 3.0))
    expected = painted * HOLE + LATENT_A * (1.0 - HOLE)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_a_picture_that_is_all_hole_is_painted_as_if_nothing_were_known() -> None:
    everything = turn_of(Watched(), mask=torch.ones_like(HOLE))

    assert torch.equal(result_of(everything), result_of(turn_of(Watched(), None)))


def test_a_picture_without_a_hole_stays_as_it_is() -> None:
    result = result_of(turn_of(Watched(), mask=torch.zeros_like(HOLE)))

    torch.testing.assert_close(result, LATENT_A)


def test_steps_report_the_picture_with_its_known_part() -> None:
    reported: list[Tensor] = []
    turn = Turn(
        denoiser=Watched(),
        format=KARRAS,
        on_step=lambda _step, _steps, denoised: reported.append(denoised),
        known=KnownPart(latent=LATENT_A, mask=HOLE),
    )

    result_of(turn)

    scaled = KARRAS.to_sampler(LATENT_A) * (1.0 - HOLE)
    assert len(reported) == 4
    assert all(torch.equal(denoised * (1.0 - HOLE), scaled) for denoised in reported)


def test_the_format_of_the_run_scales_the_known_part() -> None:
    network = Watched()
    formats = latent_format(Scheduler.EDM_PLAYGROUND)

    result_of(turn_of(network, formats=formats))

    assert_drawn(network.known_noise(formats.to_sampler(LATENT_A)), draws(SEED + 1, 4))


def relay_of(swap: RefinerSwap, first: Turn, last: Turn) -> Relay:
    return Relay(first=first, last=last, swap=swap, switch_step=2, is_sd15=swap is RefinerSwap.VAE)


def test_a_joint_refiner_goes_on_with_the_noise() -> None:
    networks = Watched(), Watched(0.5)
    relay = relay_of(RefinerSwap.JOINT, turn_of(networks[0]), turn_of(networks[1]))

    result_of(relay, run_of(Sampler.HEUN, steps=6))

    scaled = KARRAS.to_sampler(LATENT_A)
    noises = [noise for network in networks for noise in network.known_noise(scaled)]
    # The second evaluation of step 2 is the refiner's already.
    assert [len(network.seen) for network in networks] == [5, 6]
    assert_drawn(noises, draws(SEED + 1, 11))


def test_a_joint_refiner_that_is_the_same_model_changes_nothing() -> None:
    relay = relay_of(RefinerSwap.JOINT, turn_of(Watched()), turn_of(Watched()))

    assert torch.equal(result_of(relay), result_of(turn_of(Watched())))


def test_a_separate_refiner_begins_the_noise_anew() -> None:
    networks = Watched(), Watched(0.5)
    relay = relay_of(RefinerSwap.SEPARATE, *(turn_of(network) for network in networks))

    result_of(relay, run_of(steps=6))

    for network, count in zip(networks, (2, 4), strict=True):
        noises = network.known_noise(KARRAS.to_sampler(LATENT_A))
        assert_drawn(noises, draws(SEED + 1, count))


def test_after_a_vae_swap_latent_and_seed_are_those_of_the_second_run() -> None:
    networks = Watched(), Watched(0.5)
    relay = relay_of(
        RefinerSwap.VAE,
        turn_of(networks[0], LATENT_A),
        turn_of(networks[1], LATENT_B, formats=SD15_FORMAT),
    )

    result = result_of(relay, run_of(steps=6))

    first, last = KARRAS.to_sampler(LATENT_A), SD15_FORMAT.to_sampler(LATENT_B)
    assert_drawn(networks[0].known_noise(first), draws(SEED + 1, 2))
    assert_drawn(networks[1].known_noise(last), draws(SEED + 2, 4))
    torch.testing.assert_close(result * (1.0 - HOLE), LATENT_B * (1.0 - HOLE))


def test_a_vae_swap_carries_over_the_noise_that_the_network_found_itself() -> None:
    networks = Watched(), Watched(0.5)
    early: list[Tensor] = []

    def convert(latent: Tensor) -> Tensor:
        early.append(latent)
        return latent

    relay = Relay(
        first=turn_of(networks[0]),
        last=turn_of(networks[1], None, formats=SD15_FORMAT),
        swap=RefinerSwap.VAE,
        switch_step=2,
        is_sd15=True,
        convert=convert,
    )

    result_of(relay, run_of(steps=6))

    x, sigma = networks[0].seen[-1]
    found = ((x - (0.25 * x + 0.1)) / sigma).mean(dim=1, keepdim=True)
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(SEED + 1))
    start = start + found - start.mean(dim=1, keepdim=True)
    begun, level = networks[1].seen[0]
    torch.testing.assert_close(begun, SD15_FORMAT.to_sampler(early[0]) + start * level)
