"""Guidance against the measured numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fooocus_core.sampling.guidance import adaptive_guidance
from tests.golden import load_json

CASES = load_json("check-values-text-to-image")["adaptive_cfg"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"scale {case['cfg']} at {case['t']}")
def test_adaptive_guidance_gives_the_measured_value(case: dict[str, Any]) -> None:
    combined = adaptive_guidance(
        torch.tensor(case["cond"]),
        torch.tensor(case["uncond"]),
        scale=case["cfg"],
        adaptive_scale=case["mimic"],
        progress=case["t"],
    )
    assert float(combined) == pytest.approx(case["eps"], abs=1e-5)


def test_scale_one_returns_the_positive_prediction() -> None:
    positive, negative = torch.tensor(0.5), torch.tensor(0.25)
    combined = adaptive_guidance(positive, negative, scale=1.0, adaptive_scale=7.0, progress=0.5)
    assert combined == positive


def test_the_adaptive_scale_rules_the_start_and_the_scale_the_end() -> None:
    positive, negative = torch.tensor(1.0), torch.tensor(0.0)
    start, end = (
        adaptive_guidance(positive, negative, scale=10.0, adaptive_scale=3.0, progress=progress)
        for progress in (0.0, 1.0)
    )
    assert (float(start), float(end)) == (3.0, 10.0)
