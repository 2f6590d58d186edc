"""Random numbers against the recorded ones."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from fooocus_core.sampling.noise import SeededNoise
from fooocus_core.sampling.schedules import SigmaRange
from tests.golden import load_arrays, load_json

RELATIVE = 1e-6
RECORDED = load_arrays("components/noise")
CHECKS = load_json("check-values-text-to-image")
RANGE = SigmaRange(low=0.0291671771556139, high=14.614643096923828)
LARGEST_SEED = 2**63 - 1


def make_noise(seed: int, shape: tuple[int, ...]) -> SeededNoise:
    return SeededNoise(seed, shape, device=torch.device("cpu"), sigma_range=RANGE)


@pytest.mark.parametrize("size", [(16, 16), (24, 40)], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 123, 4294967301, LARGEST_SEED])
def test_start_noise_is_the_recorded_one(seed: int, size: tuple[int, int]) -> None:
    noise = make_noise(seed, (1, 4, *size)).start()
    np.testing.assert_array_equal(noise, RECORDED[f"noise_{seed}_{size[0]}x{size[1]}"])


def test_step_noise_goes_on_where_the_start_noise_ended() -> None:
    noise = make_noise(12345, (1, 4, 112, 144))
    start, step = noise.start(), noise.step()
    digest = hashlib.sha256(start.numpy().tobytes()).hexdigest()
    assert digest.startswith(CHECKS["noise"]["sha256_16"])
    expected = CHECKS["noise"]["next_randn_same_shape_first4"]
    np.testing.assert_allclose(step.flatten()[:4], expected, atol=1e-5)


def test_reseeded_noise_is_that_of_the_next_seed_on_the_same_motion() -> None:
    noise, following = make_noise(5, (1, 4, 8, 8)), make_noise(6, (1, 4, 8, 8))
    levels = torch.tensor(2.0), torch.tensor(1.0)
    noise.start()
    motion = noise.between(*levels)
    noise.reseed()
    assert noise.seed == 6
    assert torch.equal(noise.start(), following.start())
    assert torch.equal(noise.step(), following.step())
    assert torch.equal(noise.between(*levels), motion)


def test_noise_of_the_largest_seed_can_be_reseeded() -> None:
    noise = make_noise(LARGEST_SEED, (1, 4, 8, 8))
    noise.reseed()
    assert not torch.equal(noise.start(), make_noise(LARGEST_SEED, (1, 4, 8, 8)).start())


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    noise = make_noise(5, (1, 4, 8, 8))
    noise.start()
    noise.step()
    noise.between(torch.tensor(2.0), torch.tensor(1.0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("seed", [123, LARGEST_SEED])
def test_brownian_noise_is_the_recorded_one(seed: int, step: int) -> None:
    noise = make_noise(seed, (1, 4, 16, 16))
    sigma, sigma_next = torch.tensor(RECORDED["bt_sigmas"])[step : step + 2]
    whole = noise.between(sigma, sigma_next)
    half = noise.between(sigma, (sigma * sigma_next).sqrt())
    np.testing.assert_allclose(whole, RECORDED[f"bt_{seed}_{step}"], rtol=RELATIVE, atol=1e-7)
    np.testing.assert_allclose(half, RECORDED[f"bt_{seed}_{step}_mid"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "step"), [("step0(s[0]->s[1])", 0), ("step1(s[1]->s[2])", 1), ("step28", 28)]
)
def test_brownian_noise_equals_the_measured_check_values(key: str, step: int) -> None:
    noise = make_noise(12345, (1, 4, 8, 8))
    sigmas = torch.tensor(CHECKS["sigmas"]["karras:30"])
    found = noise.between(sigmas[step], sigmas[step + 1]).flatten()[:4]
    np.testing.assert_allclose(found, CHECKS["brownian_cpu"][key], atol=2e-5)


def test_brownian_noise_does_not_depend_on_what_was_asked_before() -> None:
    first, second = make_noise(7, (1, 4, 8, 8)), make_noise(7, (1, 4, 8, 8))
    high, low = torch.tensor(3.0), torch.tensor(2.0)
    second.between(torch.tensor(9.0), torch.tensor(4.5))
    assert torch.equal(first.between(high, low), second.between(high, low))


def test_a_step_outside_the_range_gets_no_brownian_noise() -> None:
    noise = make_noise(7, (1, 4, 8, 8)).between(torch.tensor(120.0), torch.tensor(15.0))
    assert noise.abs().max() == 0
