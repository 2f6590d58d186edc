"""The sharpness filter against the recorded numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.sampling.sharpness import bilateral, soften, space_kernel
from tests.golden import NETWORK, assert_matches, load_arrays, load_json

RECORDED = load_arrays("components/sampling_function")
CHECKS = load_json("check-values-text-to-image")["anisotropic"]


def waves(k: float) -> Tensor:
    return torch.arange(1024, dtype=torch.float32).mul(k).sin().view(1, 4, 16, 16)


@pytest.mark.parametrize("index", [0, 1])
def test_the_filter_gives_the_recorded_output(index: int) -> None:
    x, guide = (torch.tensor(RECORDED[f"aniso{index}_{name}"]) for name in "xg")
    assert_matches(bilateral(x, guide), RECORDED[f"aniso{index}_out"], NETWORK)


def test_the_filter_gives_the_measured_values_on_waves() -> None:
    y = bilateral(waves(0.37), waves(0.11))
    np.testing.assert_allclose(y[0, 0, 0, :4], CHECKS["y[0,0,0,:4]"], atol=1e-5)
    np.testing.assert_allclose(y[0, 3, 15, -4:], CHECKS["y[0,3,15,-4:]"], atol=1e-5)
    assert float(y.mean()) == pytest.approx(CHECKS["mean"], abs=1e-5)
    assert float(y.abs().sum()) == pytest.approx(CHECKS["abs_sum"], rel=1e-5)


def test_the_space_weights_are_the_measured_ones() -> None:
    np.testing.assert_allclose(space_kernel()[6], CHECKS["space_kernel_row6"], atol=1e-6)


def test_samples_of_a_batch_do_not_mix() -> None:
    x, guide = torch.cat([waves(0.37), waves(0.2)]), torch.cat([waves(0.11), 5 * waves(0.3)])
    together = bilateral(x, guide)
    alone = torch.cat([bilateral(x[:1], guide[:1]), bilateral(x[1:], guide[1:])])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(("sharpness", "progress"), [(0.0, 0.7), (2.0, 0.0)])
def test_no_sharpness_or_no_progress_changes_nothing(sharpness: float, progress: float) -> None:
    noise = waves(0.37)
    assert torch.equal(soften(noise, waves(0.1), sharpness=sharpness, progress=progress), noise)


def test_full_weight_is_the_filter_alone() -> None:
    noise, guide = waves(0.37), waves(0.11)
    softened = soften(noise, guide, sharpness=1000.0, progress=1.0)
    torch.testing.assert_close(softened, bilateral(noise, guide))


@pytest.mark.parametrize("size", [(1, 1), (6, 20), (20, 3)], ids=str)
def test_latents_smaller_than_the_window_are_averaged_too(size: tuple[int, int]) -> None:
    x = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(1))
    smoothed = bilateral(x, torch.zeros_like(x))
    assert smoothed.shape == x.shape
    assert smoothed.abs().max() <= x.abs().max() + 1e-6
    assert smoothed.var(correction=0) < x.var(correction=0) or size == (1, 1)
