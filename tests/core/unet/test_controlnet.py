"""What control nets add, when, and that nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from fooocus_core.loading.control_lora import build_control_net
from fooocus_core.sampling.noise_levels import distilled_levels, standard_levels
from fooocus_core.unet.controlnet import (
    Control,
    control_residuals,
    make_hint,
    soften_residuals,
)
from tests.golden import NETWORK, assert_matches, load_arrays
from tests.networks import CPU_PLAN
from tests.tiny_unet import (
    evaluate_tiny_unet,
    given_size_vector,
    load_tiny_unet,
    recorded,
    recorded_call,
    recorded_file,
)

OPS = load_arrays("image-ops/control_lora_ops")
CALL = {"sample": torch.zeros(1, 4, 2, 2), "timestep": torch.zeros(1)}


class FixedNet:
    """A control net that gives recorded outputs and remembers what it was asked."""

    def __init__(self, outputs: Tensor) -> None:
        self.outputs = outputs
        self.asked: dict[str, Any] = {}

    def __call__(
        self, sample: Tensor, timestep: Tensor, **inputs: Any
    ) -> tuple[list[Tensor], Tensor]:
        self.asked = {"sample": sample, "timestep": timestep, **inputs}
        *skips, middle = self.outputs
        return skips, middle


def fixed_control(outputs: Any, **settings: Any) -> Control:
    defaults = {"hint": torch.zeros(1, 3, 16, 16), "weight": 1.0, "stop": 1.0, "softness": 0.0}
    return Control(network=FixedNet(torch.as_tensor(outputs)), **{**defaults, **settings})


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    """The miniature UNet."""
    return load_tiny_unet()


@pytest.fixture(scope="module")
def network(unet: UNet2DConditionModel) -> Iterator[ControlNetModel]:
    """The miniature's control net, given the recorded size vector."""
    network = build_control_net(recorded_file("c"), unet, CPU_PLAN)
    with given_size_vector(network):
        yield network


@pytest.fixture
def control(network: ControlNetModel) -> Control:
    """The control that was recorded."""
    return Control(
        network=network,
        hint=recorded("hint"),
        weight=float(recorded("strength")),
        stop=1.0,
        softness=float(recorded("softness")),
    )


@torch.no_grad()
def controlled_noise(unet: UNet2DConditionModel, *controls: Control) -> Tensor:
    return evaluate_tiny_unet(unet, **control_residuals(controls, **recorded_call()))


@torch.no_grad()
def test_the_miniature_gives_the_recorded_residuals(control: Control) -> None:
    residuals = replace(control, weight=1.0).residuals(**recorded_call())
    for index, residual in enumerate(residuals):
        assert_matches(residual, recorded(f"ctrl_out{index}").numpy(), NETWORK)
    assert len(residuals) == 10


def test_the_controlled_miniature_gives_the_recorded_noise(
    unet: UNet2DConditionModel, control: Control
) -> None:
    assert_matches(evaluate_tiny_unet(unet), recorded("eps_plain").numpy(), NETWORK)
    assert_matches(controlled_noise(unet, control), recorded("eps_control").numpy(), NETWORK)


def test_afterwards_the_unet_is_what_it_was(unet: UNet2DConditionModel, control: Control) -> None:
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    before = evaluate_tiny_unet(unet)
    controlled_noise(unet, control)
    assert torch.equal(evaluate_tiny_unet(unet), before)
    assert all(torch.equal(weight, weights[name]) for name, weight in unet.state_dict().items())


def test_softness_reduces_residuals_as_recorded() -> None:
    softened = soften_residuals(list(torch.tensor(OPS["outs_in"])), float(OPS["softness"]))
    np.testing.assert_allclose(torch.stack(softened), OPS["outs_softened"], rtol=1e-6)


def test_no_softness_leaves_residuals_alone() -> None:
    residuals = list(torch.tensor(OPS["outs_in"]))
    pairs = zip(soften_residuals(residuals, 0.0), residuals, strict=True)
    assert all(softened is residual for softened, residual in pairs)


def test_the_residuals_of_several_nets_are_summed_as_recorded() -> None:
    controls = [
        fixed_control(OPS[f"net{i}_outs"], weight=float(OPS[f"net{i}_strength"])) for i in (0, 1)
    ]
    arguments = control_residuals(controls, **CALL)
    skips = torch.stack(arguments["down_block_additional_residuals"])
    np.testing.assert_allclose(skips, OPS["merged_output"], rtol=1e-6)
    middle = arguments["mid_block_additional_residual"]
    np.testing.assert_allclose(middle, OPS["merged_middle"][0], rtol=1e-6)


def test_the_order_of_two_nets_does_not_matter() -> None:
    controls = [fixed_control(OPS[f"net{i}_outs"], softness=0.25, weight=0.7) for i in (0, 1)]
    one, other = control_residuals(controls, **CALL), control_residuals(controls[::-1], **CALL)
    name = "down_block_additional_residuals"
    assert all(torch.equal(a, b) for a, b in zip(one[name], other[name], strict=True))


def test_without_controls_the_unet_is_called_as_ever() -> None:
    assert control_residuals([], **CALL) == {}


def test_a_net_is_asked_what_the_unet_is_asked() -> None:
    control = fixed_control(OPS["outs_in"], hint=torch.full((1, 3, 16, 16), 0.5))
    inputs = {
        "sample": torch.ones(2, 4, 2, 2, dtype=torch.float16),
        "timestep": torch.full((2,), 999.0),
        "encoder_hidden_states": torch.ones(2, 77, 8),
        "added_cond_kwargs": {"time_ids": torch.ones(2, 6)},
    }
    control.residuals(**inputs)
    assert isinstance(control.network, FixedNet)
    asked = control.network.asked
    assert all(asked[name] is value for name, value in inputs.items())
    assert asked["controlnet_cond"].dtype == torch.float16
    assert asked["controlnet_cond"].unique().tolist() == [0.5]


@pytest.mark.parametrize("stop", [0.25, 0.5, 0.9])
def test_a_control_acts_down_to_the_level_of_its_stop(stop: float) -> None:
    """Between two trained levels the stop is on the line between their logarithms."""
    levels, control = standard_levels(), fixed_control(OPS["outs_in"], stop=stop)
    position = (1.0 - stop) * 999
    low, share = int(position), position - int(position)
    logs = levels.sigmas.double().log()
    last = float(((1 - share) * logs[low] + share * logs[low + 1]).exp())
    assert control.is_active(torch.tensor(last * 1.0001), levels)
    assert not control.is_active(torch.tensor(last * 0.9999), levels)


def test_a_control_still_acts_at_the_very_level_of_its_stop() -> None:
    levels = standard_levels()
    sigma = torch.tensor(levels.percent_to_sigma(0.5))
    assert fixed_control(OPS["outs_in"], stop=0.5).is_active(sigma, levels)


@pytest.mark.parametrize("levels", [standard_levels(), distilled_levels()], ids=["sdxl", "lcm"])
@pytest.mark.parametrize(("stop", "is_active"), [(-1.0, False), (0.0, False), (1.0, True)])
def test_at_the_ends_a_control_never_or_always_acts(
    stop: float, is_active: bool, levels: Any
) -> None:
    control = fixed_control(OPS["outs_in"], stop=stop)
    sigmas = torch.tensor([100.0, levels.sigma_max, levels.sigma_min, 0.0])
    assert {control.is_active(sigma, levels) for sigma in sigmas} == {is_active}


def test_a_control_without_weight_is_never_asked() -> None:
    levels = standard_levels()
    control = fixed_control(OPS["outs_in"], weight=0.0)
    assert not control.is_active(torch.tensor(levels.sigma_max), levels)


def test_a_hint_of_the_right_size_is_the_picture_in_shares() -> None:
    picture = np.arange(16 * 8 * 3, dtype=np.uint8).reshape(16, 8, 3)
    hint = make_hint(picture, 2, 1)
    assert hint.is_contiguous()
    assert hint.dtype == torch.float32
    assert torch.equal(hint[0].permute(1, 2, 0), torch.tensor(picture) / 255.0)


@pytest.mark.parametrize("is_wide", [True, False], ids=["wide", "tall"])
def test_a_hint_of_another_shape_is_cropped_at_its_centre(is_wide: bool) -> None:
    picture = np.zeros((16, 32, 3), dtype=np.uint8)
    picture[:, 8:24] = np.arange(16)[:, None, None] * 10
    picture[:, 8:24, 1] = np.arange(16) * 10
    picture = picture if is_wide else picture.transpose(1, 0, 2)
    hint = make_hint(picture, 1, 1)
    # Of 16 pixels to 8 places, the nearest to each centre is the second of two.
    across = torch.arange(1, 16, 2) * 10 / 255.0
    rows, columns = across[:, None].expand(8, 8), across[None].expand(8, 8)
    expected = torch.stack([rows, columns, rows] if is_wide else [columns, rows, columns])
    assert torch.equal(hint[0], expected)


def test_a_hint_is_enlarged_to_the_latent() -> None:
    picture = np.array([[[0, 51, 102]] * 4, [[153, 204, 255]] * 4], dtype=np.uint8)
    hint = make_hint(picture, 2, 4)
    assert hint.shape == (1, 3, 16, 32)
    assert [float(a) for a, b in pairwise(hint[0, 0, :, 0]) if a != b] == [0.0]
