"""A patch on top of a UNet's weights: what it changes, and that every bit comes back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from fooocus_core.config import DeviceOptions, Precision
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.lora import match_lora, read_lora
from fooocus_core.loading.memory import DevicePlan, Streaming, plan_device
from fooocus_core.loading.merged_loras import LoraFile
from fooocus_core.loading.patched_unet import PatchedUNet
from fooocus_core.loading.store import ModelFiles, ModelStore
from fooocus_core.loading.weight_patches import PatchSet, merged_weights
from tests.networks import CPU_PLAN, evaluate_unet, load_checkpoint, load_small_sdxl

PATCH = "inpaint_v26.fooocus.patch"
# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)
MOVING = replace(
    CPU_PLAN, device=ELSEWHERE, vae_device=ELSEWHERE, text_device=ELSEWHERE, stays=False
)
HALF = plan_device(None, DeviceOptions(unet_in=Precision.FP16))


@pytest.fixture
def patch(weights: Path) -> Path:
    return weights / "inpaint" / PATCH


@pytest.fixture
def base(weights: Path) -> Path:
    return weights / "checkpoints" / "tiny_sdxl.safetensors"


@pytest.fixture(scope="module")
def unet(weights: Path) -> UNet2DConditionModel:
    """For tests after each of which every bit of it is as before."""
    return load_small_sdxl(weights).unet


def evaluate(unet: UNet2DConditionModel) -> Tensor:
    random = torch.Generator().manual_seed(3)
    shapes = ((2, 4, 8, 8), (2, 77, 320), (2, 2816))
    x, context, y = (torch.randn(shape, generator=random) for shape in shapes)
    return evaluate_unet(unet, x, torch.tensor([400.0]), context, y)


def state(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in unet.state_dict().items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("plan", [CPU_PLAN, HALF], ids=["float32", "float16"])
def test_attached_it_is_what_merging_gives_and_detached_nothing_has_changed(
    base: Path, patch: Path, plan: DevicePlan
) -> None:
    unet = load_checkpoint(base, plan).unet
    before = state(unet)
    patched = PatchedUNet(unet, plan)
    assert patched.prepare(patch, loras=()) == ()
    with patched.attached():
        attached = state(unet)
    assert differing(state(unet), before) == set()

    match = match_lora(read_lora(patch), source=PATCH, unet=unet)
    sets = [PatchSet(source=PATCH, patches=match.unet, strength=1.0)]
    with merged_weights(unet, sets, device=plan.device, rounding=plan.unet):
        merged = state(unet)
    assert differing(attached, merged) == set()
    assert differing(attached, before) == set(match.unet)
    assert {tensor.dtype for tensor in attached.values()} == {t.dtype for t in before.values()}


def test_without_a_patch_nothing_is_attached(unet: UNet2DConditionModel, patch: Path) -> None:
    before = state(unet)
    patched = PatchedUNet(unet, CPU_PLAN)
    patched.prepare(patch, loras=())
    patched.prepare(None, loras=())
    with patched.attached():
        assert differing(state(unet), before) == set()


def test_it_comes_off_when_the_work_fails(unet: UNet2DConditionModel, patch: Path) -> None:
    before = state(unet)
    patched = PatchedUNet(unet, CPU_PLAN)
    patched.prepare(patch, loras=())
    with pytest.raises(ZeroDivisionError), patched.attached():
        raise ZeroDivisionError
    assert differing(state(unet), before) == set()


def test_a_file_is_read_again_only_if_it_or_the_loras_change(
    unet: UNet2DConditionModel, patch: Path, tmp_path: Path
) -> None:
    copy = tmp_path / PATCH
    copy.write_bytes(patch.read_bytes())
    patched = PatchedUNet(unet, CPU_PLAN)
    patched.prepare(copy, loras="a")
    status = copy.stat()
    copy.write_bytes(b"x" * status.st_size)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert patched.prepare(copy, loras="a") == ()
    with pytest.raises(ModelFileError, match=PATCH):
        patched.prepare(copy, loras="b")
    before = state(unet)
    with patched.attached():
        assert differing(state(unet), before) == set()


def test_on_top_of_a_lora_both_are_in_the_weights(base: Path, patch: Path, weights: Path) -> None:
    lora = LoraFile(path=weights / "loras" / "tiny_lora.safetensors", weight=0.5)
    store = ModelStore(CPU_PLAN)
    unet = store.prepare(ModelFiles(base=base)).base.unet
    original = state(unet)
    store.merge([lora], patch)
    with_lora = state(unet)
    with store.patched_base():
        with_both = state(unet)
    store.merge([], patch)
    with store.patched_base():
        with_patch = state(unet)
    touched_by_both = differing(original, with_lora) & differing(original, with_patch)
    assert touched_by_both
    for name in touched_by_both:
        expected = with_lora[name] + with_patch[name] - original[name]
        assert torch.allclose(with_both[name], expected, atol=1e-6)


@pytest.fixture(scope="module")
def computed(unet: UNet2DConditionModel, weights: Path) -> tuple[Tensor, Tensor]:
    """What a UNet whose weights stay where they are computes with the patch, and without."""
    plain = evaluate(unet)
    patched = PatchedUNet(unet, CPU_PLAN)
    patched.prepare(weights / "inpaint" / PATCH, loras=())
    with patched.attached():
        with_patch = evaluate(unet)
    assert not torch.equal(with_patch, plain)
    return with_patch, plain


@pytest.mark.parametrize(
    "plan",
    [
        MOVING,
        replace(MOVING, streaming=Streaming.BLOCKS),
        replace(MOVING, streaming=Streaming.LAYERS),
    ],
    ids=["normal", "low", "no"],
)
def test_weights_that_are_lent_compute_with_the_patch_and_then_without(
    base: Path, patch: Path, plan: DevicePlan, computed: tuple[Tensor, Tensor]
) -> None:
    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        assert device == ELSEWHERE
        return tensor.clone()

    store = ModelStore(plan, carry)
    unet = store.prepare(ModelFiles(base=base)).base.unet
    store.merge([], patch)
    results = []
    for _ in range(2):
        with store.patched_base():
            store.bring_unet(unet)
            results.append(evaluate(unet))
        store.bring_unet(unet)
        results.append(evaluate(unet))
    store.free()

    for result, wanted in zip(results, computed * 2, strict=True):
        assert torch.equal(result, wanted)


def test_an_exchange_that_fails_halfway_changes_nothing(
    unet: UNet2DConditionModel, patch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(unet)
    patched = PatchedUNet(unet, CPU_PLAN)
    patched.prepare(patch, loras=())
    get, left = unet.get_parameter, iter(range(3))

    def failing(name: str) -> torch.nn.Parameter:
        if next(left, None) is None:
            monkeypatch.undo()
            raise MemoryError
        return get(name)

    monkeypatch.setattr(unet, "get_parameter", failing)
    with pytest.raises(MemoryError), patched.attached():
        pytest.fail("not attached")
    assert differing(state(unet), before) == set()
    with patched.attached():
        assert differing(state(unet), before)
    assert differing(state(unet), before) == set()
