"""Size vectors against the recorded ones, through the sinusoids of the UNet itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import Timesteps
from torch import Tensor

from fooocus_core.unet.size_conditioning import (
    PromptSide,
    RefinerSizeConditioning,
    SizeConditioning,
)
from tests.golden import NETWORK, assert_matches, case_id, load_arrays, load_cases, load_json

RECORDED = load_arrays("components/adm")
CHECKS = load_json("check-values-text-to-image")


def vector(time_ids: tuple[float, ...]) -> Tensor:
    """What an SDXL UNet of diffusers makes of its ``time_ids``."""
    sinusoids = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
    return sinusoids(torch.tensor(time_ids, dtype=torch.float32)).flatten()


def conditioning(width: int, height: int, **changes: float) -> SizeConditioning:
    scales = {"positive_scale": 1.5, "negative_scale": 0.8, "end": 0.3, **changes}
    return SizeConditioning(width=width, height=height, **scales)


@pytest.mark.parametrize("case", load_cases("components/adm"), ids=case_id)
def test_size_vectors_are_the_recorded_ones(case: dict[str, Any]) -> None:
    side = PromptSide(case["prompt_type"] or "positive")
    scales = {"positive_scale": case["positive_adm_scale"]} if case["prompt_type"] else {}
    size = conditioning(
        case["width"],
        case["height"],
        **({"positive_scale": 1.0} | scales),
        negative_scale=case["negative_adm_scale"],
    )
    pooled = torch.tensor(RECORDED["pooled"])[0]
    noisy, clean = (vector(size.time_ids(side, timestep)) for timestep in (999.0, 0.0))
    both = torch.cat([pooled, noisy, pooled, clean])[None]
    assert_matches(both, RECORDED[case["key"]], NETWORK)


@pytest.mark.parametrize(("end", "key"), [(0.3, "timed_is_scaled"), (0.0, "timed_is_scaled_end0")])
def test_scaled_sizes_end_at_the_recorded_timestep(end: float, key: str) -> None:
    size = conditioning(1024, 1024, end=end)
    told = [size.time_ids(PromptSide.POSITIVE, t)[0] for t in RECORDED["timed_t"].tolist()]
    assert told == [1536 if is_scaled else 1024 for is_scaled in RECORDED[key]]


@pytest.mark.parametrize("side", list(PromptSide))
def test_sizes_of_the_default_picture_equal_the_measured_check_values(side: PromptSide) -> None:
    expected = CHECKS["adm_1152x896"][side]
    size = conditioning(1152, 896)
    time_ids = size.time_ids(side, 999.0)
    assert list(time_ids) == expected["size_ids_first_half"]
    noisy, clean = vector(time_ids), vector(size.time_ids(side, 0.0))
    np.testing.assert_allclose(noisy[:4], expected["y[1280:1284]"], atol=1e-5)
    np.testing.assert_allclose(clean[:4], expected["y[4096:4100]"], atol=1e-5)
    assert float(noisy.sum()) == pytest.approx(expected["sum[1280:2816]"], rel=1e-5)


@pytest.mark.parametrize(("timestep", "is_scaled"), CHECKS["timed_adm_end0.3"].items())
def test_the_check_values_of_the_end_hold(timestep: str, is_scaled: int) -> None:
    told = conditioning(512, 512).time_ids(PromptSide.POSITIVE, float(timestep))[0]
    assert told == (768 if is_scaled else 512)


@pytest.mark.parametrize(("size", "target"), [(96, 128), (32, 0), (1056, 1024), (1120, 1152)])
def test_targets_are_rounded_half_to_even(size: int, target: int) -> None:
    time_ids = conditioning(size, size).time_ids(PromptSide.POSITIVE, 0.0)
    assert time_ids == (target, target, 0, 0, target, target)


@pytest.mark.parametrize("side", list(PromptSide))
def test_the_refiner_is_told_the_size_and_a_score(side: PromptSide) -> None:
    score = 6.0 if side is PromptSide.POSITIVE else 2.5
    size = RefinerSizeConditioning(width=1152, height=896)
    assert size.time_ids(side, 500.0) == (896, 1152, 0, 0, score)
