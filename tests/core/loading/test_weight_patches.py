from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fooocus_core.loading.weight_patches import (
    Difference,
    Glora,
    Hadamard,
    Kronecker,
    LowRank,
    PatchSet,
    Quantised,
    WeightPatch,
    merged_weights,
)
from tests.golden import load_arrays, load_json
from tests.networks import sine_tensor as det

CPU = torch.device("cpu")
QUANTISED = load_arrays("image-ops/quantised_patch")
CHECKED = {
    "lora up": (LowRank(up=det((6, 2), 0.5), down=det((2, 4), 0.7), alpha=1.0), 0.8),
    "lora no alpha": (LowRank(up=det((6, 2), 0.5), down=det((2, 4), 0.7)), 0.8),
    "locon": (
        LowRank(
            up=det((6, 2, 1, 1), 0.5),
            down=det((2, 4, 1, 1), 0.7),
            mid=det((2, 2, 3, 3), 0.2),
            alpha=1.0,
        ),
        0.8,
    ),
    "loha": (
        Hadamard(
            w1_a=det((6, 2), 0.5),
            w1_b=det((2, 4), 0.7),
            w2_a=det((6, 2), 0.9),
            w2_b=det((2, 4), 1.1),
            alpha=1.0,
        ),
        0.8,
    ),
    "lokr w1=1+det((3,2),.4) w2=": (
        Kronecker(w1=1 + det((3, 2), 0.4), w2=1 + det((2, 2), 0.6), alpha=1.0),
        0.8,
    ),
    "lokr w1=1+det((3,2),.4) w2a": (
        Kronecker(
            w1=1 + det((3, 2), 0.4),
            w2_a=1 + det((2, 1), 0.6),
            w2_b=1 + det((1, 2), 0.8),
            alpha=0.5,
        ),
        0.8,
    ),
    "fooocus": (
        Quantised(
            value=(torch.arange(24) * 10).to(torch.uint8).reshape(6, 4),
            minimum=torch.tensor(-0.5),
            maximum=torch.tensor(0.5),
        ),
        1.0,
    ),
    "diff": (Difference(value=torch.ones(6, 4)), 0.5),
    "glora": (
        Glora(a1=det((2, 4), 0.2), a2=det((4, 2), 0.3), b1=det((2, 4), 0.5), b2=det((6, 2), 0.9)),
        0.8,
    ),
}


def layer_of(weight: Tensor) -> nn.Module:
    layer = nn.Module()
    layer.register_parameter("weight", nn.Parameter(weight.clone(), requires_grad=False))
    return layer


def one_set(patch: WeightPatch, strength: float = 1.0, source: str = "a.safetensors") -> PatchSet:
    return PatchSet(source=source, patches={"weight": patch}, strength=strength)


def merged(weight: Tensor, *sets: PatchSet, **options: Any) -> Tensor:
    layer = layer_of(weight)
    with merged_weights(layer, sets, device=CPU, **options) as warnings:
        assert warnings == ()
        return layer.weight.clone()


@pytest.mark.parametrize("name", CHECKED)
def test_merged_weights_equal_the_check_values(name: str) -> None:
    table = load_json("check-values-text-to-image")["lora_math"]
    [expected] = [values for key, values in table.items() if key.startswith(name)]
    patch, strength = CHECKED[name]
    weight = det((6, 4, 3, 3) if name == "locon" else (6, 4), 0.3)

    result = merged(weight, one_set(patch, strength))

    assert result.flatten()[:6].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(("strength", "name"), [(1.0, "a10"), (0.6, "a6")])
def test_quantised_patches_equal_the_vectors(case: int, strength: float, name: str) -> None:
    dtype = getattr(torch, str(QUANTISED[f"c{case}_weight_dtype"]))
    weight = torch.from_numpy(QUANTISED[f"c{case}_weight"]).to(dtype)
    parts = ("q", "min_f16", "max_f16")
    value, low, high = (torch.from_numpy(np.asarray(QUANTISED[f"c{case}_{p}"])) for p in parts)

    result = merged(weight, one_set(Quantised(value=value, minimum=low, maximum=high), strength))

    expected = QUANTISED[f"c{case}_{name}_out"]
    # Float16: one unit in the last place of the larger of weight and sum. The vectors were taken
    # by patching the float16 weight itself, which also rounds the difference.
    largest = np.maximum(np.abs(expected), np.abs(weight.float().numpy()))
    allowed = 1e-6 if dtype == torch.float32 else np.spacing(largest.astype(np.float16))
    assert (np.abs(result.float().numpy() - expected) <= allowed).all()


def test_a_low_rank_patch_equals_the_vector() -> None:
    up, down, weight = (torch.from_numpy(QUANTISED[f"lora_{n}"]) for n in ("up", "down", "weight"))
    patch = LowRank(up=up, down=down, alpha=float(QUANTISED["lora_alpha"]))

    result = merged(weight, one_set(patch, float(QUANTISED["lora_strength"])))

    torch.testing.assert_close(result.numpy(), QUANTISED["lora_out"], rtol=1e-6, atol=1e-6)


def test_a_loha_with_cores_is_the_product_of_two_tucker_decompositions() -> None:
    a1, b1, a2, b2 = det((2, 6), 0.5), det((2, 4), 0.7), det((2, 6), 0.9), det((2, 4), 1.1)
    t1, t2 = det((2, 2, 3, 3), 0.2), det((2, 2, 3, 3), 0.4)
    weight = det((6, 4, 3, 3), 0.3)
    patch = Hadamard(w1_a=a1, w1_b=b1, w2_a=a2, w2_b=b2, t1=t1, t2=t2, alpha=1.0)

    result = merged(weight, one_set(patch))

    first = torch.einsum("ijkl,ip,jr->prkl", t1, a1, b1)
    second = torch.einsum("ijkl,ip,jr->prkl", t2, a2, b2)
    torch.testing.assert_close(result, weight + 0.5 * first * second)


def test_a_lokr_with_a_core_is_the_product_with_a_tucker_decomposition() -> None:
    w1, w2_a, w2_b, t2 = (
        det((3, 2), 0.4),
        det((2, 2), 0.6),
        det((2, 2), 0.8),
        det((2, 2, 3, 3), 0.2),
    )
    weight = det((6, 4, 3, 3), 0.3)
    patch = Kronecker(w1=w1, w2_a=w2_a, w2_b=w2_b, t2=t2, alpha=1.0)

    result = merged(weight, one_set(patch))

    second = torch.einsum("ijkl,ip,jr->prkl", t2, w2_a, w2_b)
    expected = torch.stack([torch.kron(w1, second[..., i, j]) for i in range(3) for j in range(3)])
    delta = expected.reshape(3, 3, 6, 4).permute(2, 3, 0, 1)
    torch.testing.assert_close(result, weight + 0.5 * delta)


def test_patches_apply_in_the_order_of_their_sets() -> None:
    weight = det((4, 4), 0.3)
    shift = one_set(Difference(value=torch.ones(4, 4)))
    # Twice the weight as it stands: adds W @ I @ I.
    zeros = torch.zeros(4, 4)
    double = one_set(Glora(a1=torch.eye(4), a2=torch.eye(4), b1=zeros, b2=zeros))

    torch.testing.assert_close(merged(weight, shift, double), 2 * (weight + 1))
    torch.testing.assert_close(merged(weight, double, shift), 2 * weight + 1)


def test_the_sum_is_rounded_once() -> None:
    weight = torch.ones(1, 1, dtype=torch.float16)
    step = 2.0**-10
    # Each alone is less than half a step and would be rounded away.
    small = one_set(Difference(value=torch.full((1, 1), 0.4 * step)))

    assert merged(weight, small).item() == 1.0
    assert merged(weight, small, small).item() == 1.0 + step


def test_rounding_can_be_to_a_narrower_dtype_than_the_one_kept() -> None:
    patch = one_set(Difference(value=torch.full((1, 1), 0.1)))

    result = merged(torch.ones(1, 1), patch, rounding=torch.float16)

    assert result.dtype == torch.float32
    assert result.item() == float(torch.tensor(1.1).half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_undoing_restores_every_bit(dtype: torch.dtype) -> None:
    layer = layer_of(det((64, 64), 0.3).to(dtype))
    original = layer.weight.clone()

    with merged_weights(layer, [one_set(Difference(value=det((64, 64), 0.7)))], device=CPU):
        assert not torch.equal(layer.weight, original)

    assert torch.equal(layer.weight, original)


def test_undoing_happens_when_the_work_fails() -> None:
    layer = layer_of(torch.ones(2, 2))

    def work() -> None:
        with merged_weights(layer, [one_set(Difference(value=torch.ones(2, 2)))], device=CPU):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_strength_zero_is_neutral() -> None:
    weight = det((6, 4), 0.3).half()

    assert torch.equal(merged(weight, one_set(CHECKED["lora up"][0], 0.0)), weight)


@pytest.mark.parametrize(
    "patch",
    [
        Difference(value=torch.ones(6, 5)),
        LowRank(up=torch.ones(6, 2), down=torch.ones(2, 5)),
        LowRank(up=torch.ones(6, 2), down=torch.ones(3, 4)),
        LowRank(up=torch.ones(6, 0), down=torch.ones(0, 4), alpha=1.0),
        LowRank(up=torch.ones(6, 2), down=torch.ones(2, 4), mid=torch.ones(2)),
        Hadamard(w1_a=torch.ones(6), w1_b=torch.ones(()), w2_a=torch.ones(6), w2_b=torch.ones(6)),
        Kronecker(w1=torch.ones(3, 2), w2=torch.ones(2, 3)),
        Glora(a1=torch.ones(2, 3), a2=torch.ones(3, 2), b1=torch.ones(2, 3), b2=torch.ones(6, 2)),
    ],
    ids=["diff", "lora", "lora ranks", "lora rank zero", "mid", "loha", "lokr", "glora"],
)
def test_a_patch_of_another_shape_is_left_out_with_a_warning(patch: WeightPatch) -> None:
    layer = layer_of(torch.zeros(6, 4))
    sets = [one_set(patch, source="odd.safetensors"), one_set(Difference(value=torch.ones(6, 4)))]

    with merged_weights(layer, sets, device=CPU) as warnings:
        [warning] = warnings
        assert torch.equal(layer.weight, torch.ones(6, 4))

    assert "odd.safetensors: 1 of its tensors" in warning
    assert "weight" in warning


def test_patches_for_weights_the_network_lacks_have_no_effect() -> None:
    layer = layer_of(torch.zeros(2))
    stray = PatchSet(source="a", patches={"other": Difference(value=torch.ones(2))}, strength=1.0)

    with merged_weights(layer, [stray], device=CPU) as warnings:
        assert warnings == ()
        assert torch.equal(layer.weight, torch.zeros(2))
