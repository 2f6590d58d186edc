from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from fooocus_core.params import FreeUParams
from fooocus_core.unet.freeu import FreeU, scale_backbone, scale_low_frequencies
from fooocus_core.unet.patch import patched
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import evaluate_unet, load_small_sdxl, sine_tensor

RECORDED = load_arrays("components/freeu")
CHECKED = load_json("check-values-text-to-image")["freeu_v2"]["cases"]
NEUTRAL = FreeUParams(b1=1.0, b2=1.0, s1=1.0, s2=1.0)


@pytest.fixture(scope="module")
def unet(weights: Path) -> UNet2DConditionModel:
    return load_small_sdxl(weights).unet


def evaluate(unet: UNet2DConditionModel) -> Tensor:
    x, timestep, context, y = (torch.from_numpy(RECORDED[k]) for k in ("x", "t", "context", "y"))
    return evaluate_unet(unet, x, timestep, context.repeat(2, 1, 1), y)


@pytest.mark.parametrize("index", [0, 1])
def test_noise_prediction_equals_the_vector(index: int, unet: UNet2DConditionModel) -> None:
    b1, b2, s1, s2 = RECORDED[f"params{index}"].tolist()

    with FreeU(params=FreeUParams(b1=b1, b2=b2, s1=s1, s2=s2)).attached(unet):
        result = evaluate(unet)

    assert_matches(result, RECORDED[f"eps{index}"], NETWORK)


@pytest.mark.parametrize("name", [name for name in CHECKED if not name.endswith("C=320")])
def test_formulas_equal_the_check_values(name: str) -> None:
    numbers, channels = name.removeprefix("default ").split(" C=")
    b1, b2, s1, s2 = (float(number) for number in numbers.split(","))
    is_widest = channels == "1280"
    shape = (1, int(channels), 8, 8)

    hidden = scale_backbone(sine_tensor(shape, 0.013), b1 if is_widest else b2)
    skip = scale_low_frequencies(sine_tensor(shape, 0.017), s1 if is_widest else s2)

    half = shape[1] // 2
    expected = CHECKED[name]
    assert hidden[0, 0, 0, 1:4].tolist() == pytest.approx(expected["h_out[0,0,0,1:4]"], abs=1e-5)
    assert hidden[0, half, 0, :3].tolist() == pytest.approx(expected["h_out[0,C/2,0,:3]"], abs=1e-5)
    assert skip[0, 0, 0, :3].tolist() == pytest.approx(expected["skip_out[0,0,0,:3]"], abs=1e-5)


@pytest.mark.parametrize(
    ("params", "touched"),
    [
        (FreeUParams(b1=1.3, b2=1.0, s1=0.5, s2=1.0), [0, 1, 2, 3]),
        (FreeUParams(b1=1.0, b2=1.3, s1=1.0, s2=0.5), [4, 5, 6]),
    ],
    ids=["four times the first width", "twice the first width"],
)
def test_scales_act_by_the_width_of_the_hidden_state(
    params: FreeUParams, touched: list[int], unet: UNet2DConditionModel
) -> None:
    resnets = [resnet for block in unet.up_blocks for resnet in block.resnets]
    given = [torch.ones(1, resnet.in_channels, 4, 4).cumsum(dim=3) for resnet in resnets]
    used: list[Tensor] = []
    handles = [
        resnet.norm1.register_forward_pre_hook(lambda _, args: used.append(args[0]))
        for resnet in resnets
    ]

    with FreeU(params=params).attached(unet), torch.no_grad():
        for resnet, x in zip(resnets, given, strict=True):
            resnet(x, torch.zeros(1, 128))

    for handle in handles:
        handle.remove()
    changed = [
        i for i, (a, b) in enumerate(zip(given, used, strict=True)) if (a - b).abs().max() > 1e-3
    ]
    assert changed == touched


def test_detaching_restores_the_output_exactly(unet: UNet2DConditionModel) -> None:
    before = evaluate(unet)

    with patched(unet, [FreeU(params=FreeUParams())]):
        assert not torch.equal(evaluate(unet), before)

    assert torch.equal(evaluate(unet), before)


def test_it_detaches_when_the_work_fails(unet: UNet2DConditionModel) -> None:
    before = evaluate(unet)

    def work() -> None:
        with FreeU(params=FreeUParams()).attached(unet):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert torch.equal(evaluate(unet), before)


def test_neutral_scales_are_the_identity_but_for_rounding(unet: UNet2DConditionModel) -> None:
    before = evaluate(unet)

    with FreeU(params=NEUTRAL).attached(unet):
        result = evaluate(unet)

    # The skip connections still go to the frequency domain and back, as in the reference.
    assert_matches(result, before.numpy(), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_stays_half_precision(dtype: torch.dtype) -> None:
    hidden = sine_tensor((2, 8, 6, 4), 0.1).to(dtype)

    assert scale_backbone(hidden, 1.1).dtype == dtype
    assert scale_low_frequencies(hidden, 0.9).dtype == dtype
