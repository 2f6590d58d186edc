"""What pictures add to the attention, when, and that nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from fooocus_core.config import AttentionKind
from fooocus_core.loading.attention import use_attention
from fooocus_core.loading.control_lora import build_control_net
from fooocus_core.unet.controlnet import Control, control_residuals
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts, KeyValue, ReadPicture
from fooocus_core.unet.inpaint_head import InpaintFeature
from fooocus_core.unet.patch import patched
from fooocus_core.unet.size_conditioning import PromptSide
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import CPU_PLAN, manifest_unet
from tests.tiny_unet import (
    evaluate_tiny_unet,
    given_size_vector,
    load_tiny_unet,
    recorded,
    recorded_call,
    recorded_file,
)

ATTENTION = load_arrays("image-ops/ip_attention")
NEGATIVE, POSITIVE = PromptSide.NEGATIVE, PromptSide.POSITIVE
BOTH = (NEGATIVE, POSITIVE)
SIDES = {0: POSITIVE, 1: NEGATIVE}
PROGRESS = 0.4995  # of the miniature's recorded call
HEADS = int(ATTENTION["heads"])


class OneLayer(torch.nn.Module):
    """A UNet of one cross-attention layer, which gives back what it is asked to attend with."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        block = torch.nn.Module()
        block.attn2 = attention = torch.nn.Module()
        attention.to_k = torch.nn.Linear(1, width)
        self.block, self.heads = block, heads
        self.attn_processors: dict[str, Any] = {"block.attn2.processor": None}

    def set_attn_processor(self, processors: dict[str, Any]) -> None:
        self.attn_processors = processors

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend as the processor does; each (B, tokens, width)."""
        attend = self.attn_processors["block.attn2.processor"].attend
        split = [x.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in (query, key, value)]
        attended: Tensor = attend(*split).transpose(1, 2).flatten(2)
        return attended


class CountingSides(dict[PromptSide, tuple[KeyValue, ...]]):
    """Counts how often it is asked."""

    asked = 0

    def __getitem__(self, side: PromptSide) -> tuple[KeyValue, ...]:
        self.asked += 1
        return super().__getitem__(side)


def recorded_tasks() -> list[ImageGuide]:
    """The tasks that the attention was recorded with."""

    def pair(task: int, side: str) -> KeyValue:
        key, value = (torch.tensor(ATTENTION[f"task{task}_{side}_{part}"]) for part in "kv")
        return KeyValue(key=key, value=value)

    return [
        ImageGuide(
            picture=ReadPicture(
                adapter="recorded",
                sides={POSITIVE: (pair(task, "cond"),), NEGATIVE: (pair(task, "uncond"),)},
            ),
            weight=float(ATTENTION[f"task{task}_weight"]),
            stop=float(ATTENTION[f"task{task}_stop"]),
        )
        for task in (0, 1)
    ]


def miniature_guide(**changes: float) -> ImageGuide:
    """The picture that the miniature was recorded with."""

    def layers(tokens: Tensor) -> tuple[KeyValue, ...]:
        return tuple(
            KeyValue(key=tokens @ recorded(f"ip{n}_k").T, value=tokens @ recorded(f"ip{n}_v").T)
            for n in range(len(load_arrays("image-ops/tiny_unet")["ip_blocks"]))
        )

    return ImageGuide(
        picture=ReadPicture(
            adapter="recorded",
            sides={
                POSITIVE: layers(recorded("ip_tokens")),
                NEGATIVE: layers(recorded("ip_negative")),
            },
        ),
        **{"weight": float(recorded("ip_weight")), "stop": float(recorded("ip_stop")), **changes},
    )


@contextmanager
def attending(unet: Any, *guides: ImageGuide, progress: float = PROGRESS) -> Iterator[None]:
    prompts = ImagePrompts(guides)
    with prompts.attached(unet):
        prompts.begin_call(BOTH, progress)
        yield


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return load_tiny_unet()


@pytest.mark.parametrize("index", range(8))
def test_attention_to_two_pictures_equals_the_vector(index: int) -> None:
    query, key, value = (torch.tensor(ATTENTION[name]) for name in "qkv")
    layer, prompts = OneLayer(query.shape[-1], HEADS), ImagePrompts(recorded_tasks())
    sides = [SIDES[int(side)] for side in ATTENTION[f"out{index}_cond_or_uncond"]]

    with prompts.attached(layer):
        prompts.begin_call(sides, float(ATTENTION[f"out{index}_step"]))
        attended = layer(query, key, value)

    assert_matches(attended, ATTENTION[f"out{index}"], 1e-5)


def test_the_worked_numbers_come_out() -> None:
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[1.0, -1.0], [2.0, 0.0]]])
    picture = KeyValue(
        key=torch.tensor([[[2.0, 2.0], [0.0, 4.0]]]), value=torch.tensor([[[4.0, 0.0], [0.0, 2.0]]])
    )
    sides = {POSITIVE: (picture,), NEGATIVE: (picture,)}
    guide = ImageGuide(picture=ReadPicture(adapter="worked", sides=sides), weight=320.0, stop=1.0)
    layer, prompts = OneLayer(2, 1), ImagePrompts([guide])

    with prompts.attached(layer):
        prompts.begin_call([POSITIVE], 0.0)
        attended = layer(torch.tensor([[[1.0, 2.0]]]), *text)

    assert picture.weighted(320.0).value.tolist() == [[[3.0, -0.5], [-1.0, 1.5]]]
    np.testing.assert_allclose(attended, [[[0.584741, 0.610752]]], atol=1e-6)


@pytest.mark.parametrize(("width", "factor"), [(640, 0.3), (1280, 0.6)])
def test_layers_half_as_wide_get_half_of_the_weight(width: int, factor: float) -> None:
    pair = KeyValue(key=torch.ones(1, 2, width), value=torch.ones(1, 2, width))

    weighted = pair.weighted(0.6)

    torch.testing.assert_close(weighted.key, torch.full((1, 2, width), factor))
    torch.testing.assert_close(weighted.value, torch.full((1, 2, width), factor))


def test_the_layers_of_the_real_model_come_in_the_recorded_order() -> None:
    recording = load_json("image-ops/ip_layer_order")
    unet = manifest_unet("sdxl_base")
    names = [name for name in unet.attn_processors if ".attn2." in name]

    places, widths = [], []
    for name in names:
        part, *rest = name.split(".")
        numbers = [int(piece) for piece in rest if piece.isdigit()]
        match part:
            case "down_blocks":
                block, attention, transformer = numbers
                places.append(["input", str(3 * block + 1 + attention), str(transformer)])
            case "up_blocks":
                block, attention, transformer = numbers
                places.append(["output", str(3 * block + attention), str(transformer)])
            case _:
                places.append(["middle", "0", str(numbers[-1])])
        layer = unet.get_submodule(name.rpartition(".")[0])
        widths.append(layer.to_k.out_features)
    assert places == recording["layer_index_to_unet_block"]
    assert widths == recording["channels_per_layer_kv_pairs"]


@pytest.mark.parametrize("kind", list(AttentionKind))
def test_noise_of_the_miniature_equals_the_vector(
    kind: AttentionKind, unet: UNet2DConditionModel
) -> None:
    use_attention(unet, replace(CPU_PLAN, attention=kind))

    with attending(unet, miniature_guide()):
        noise = evaluate_tiny_unet(unet)

    assert_matches(noise, recorded("eps_ip").numpy(), NETWORK)


def test_together_with_a_control_and_a_hole_it_equals_the_vector(
    unet: UNet2DConditionModel,
) -> None:
    network = build_control_net(recorded_file("c"), unet, CPU_PLAN)
    control = Control(
        network=network,
        hint=recorded("hint"),
        weight=float(recorded("strength")),
        stop=1.0,
        softness=float(recorded("softness")),
    )
    with torch.no_grad(), given_size_vector(network):
        residuals = control_residuals([control], **recorded_call())
    prompts = ImagePrompts([miniature_guide()])

    with patched(unet, [InpaintFeature(values=recorded("inpaint_feature")), prompts]):
        prompts.begin_call(BOTH, PROGRESS)
        noise = evaluate_tiny_unet(unet, **residuals)

    assert_matches(noise, recorded("eps_all").numpy(), NETWORK)


def test_the_order_of_two_pictures_of_one_kind_does_not_matter(
    unet: UNet2DConditionModel,
) -> None:
    one, other = miniature_guide(), miniature_guide(weight=1.3)

    noises = []
    for guides in ((one, other), (other, one)):
        with attending(unet, *guides):
            noises.append(evaluate_tiny_unet(unet))

    assert_matches(noises[0], noises[1].numpy(), NETWORK)


@pytest.mark.parametrize("side", BOTH)
def test_a_prompt_alone_gets_what_it_gets_in_a_batch(side: PromptSide) -> None:
    query, key, value = (torch.tensor(ATTENTION[name]) for name in "qkv")
    layer, prompts = OneLayer(query.shape[-1], HEADS), ImagePrompts(recorded_tasks())
    row = slice(BOTH.index(side), BOTH.index(side) + 1)

    with prompts.attached(layer):
        prompts.begin_call(BOTH, 0.0)
        together = layer(query, key, value)
        prompts.begin_call([side], 0.0)
        alone = layer(query[row], key[row], value[row])

    assert_matches(alone, together[row].numpy(), 1e-5)


@pytest.mark.parametrize(
    ("stop", "progress", "acts"),
    [(0.5, 0.4995, True), (0.5, 0.5, False), (0.0, 0.0, False), (1.0, 0.999, True)],
)
def test_a_picture_acts_strictly_before_its_stop(
    stop: float, progress: float, acts: bool, unet: UNet2DConditionModel
) -> None:
    before = evaluate_tiny_unet(unet)

    with attending(unet, miniature_guide(stop=stop), progress=progress):
        noise = evaluate_tiny_unet(unet)

    assert torch.equal(noise, before) is not acts


def test_pictures_stop_one_by_one(unet: UNet2DConditionModel) -> None:
    long, short = miniature_guide(stop=0.9), miniature_guide(stop=0.2, weight=1.3)
    prompts = ImagePrompts([short, long])
    with attending(unet, long):
        alone = evaluate_tiny_unet(unet)

    with prompts.attached(unet):
        prompts.begin_call(BOTH, 0.1)
        both = evaluate_tiny_unet(unet)
        prompts.begin_call(BOTH, 0.3)
        rest = evaluate_tiny_unet(unet)

    assert not torch.allclose(both, alone)
    assert torch.equal(rest, alone)


@pytest.mark.parametrize("change", [{"weight": 0.0}, {"stop": 0.0}], ids=["weight", "stop"])
@pytest.mark.parametrize("kind", list(AttentionKind))
def test_a_picture_that_counts_for_nothing_changes_no_bit(
    change: dict[str, float], kind: AttentionKind, unet: UNet2DConditionModel
) -> None:
    use_attention(unet, replace(CPU_PLAN, attention=kind))
    before = evaluate_tiny_unet(unet)

    with attending(unet, miniature_guide(**change), progress=0.0):
        assert torch.equal(evaluate_tiny_unet(unet), before)


def test_a_unet_that_is_not_told_what_a_call_is_for_attends_to_no_picture(
    unet: UNet2DConditionModel,
) -> None:
    before = evaluate_tiny_unet(unet)

    with ImagePrompts([miniature_guide()]).attached(unet):
        assert torch.equal(evaluate_tiny_unet(unet), before)


def test_afterwards_the_unet_is_what_it_was(unet: UNet2DConditionModel) -> None:
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    processors, before = dict(unet.attn_processors), evaluate_tiny_unet(unet)

    with attending(unet, miniature_guide()):
        assert not torch.allclose(evaluate_tiny_unet(unet), before)
        replaced = dict(unet.attn_processors)

    assert torch.equal(evaluate_tiny_unet(unet), before)
    assert all(torch.equal(weight, weights[name]) for name, weight in unet.state_dict().items())
    assert all(unet.attn_processors[name] is own for name, own in processors.items())
    changed = [name for name, own in processors.items() if replaced[name] is not own]
    assert changed == [name for name in processors if ".attn2." in name]


def test_it_detaches_when_the_work_fails(unet: UNet2DConditionModel) -> None:
    before = evaluate_tiny_unet(unet)

    def work() -> None:
        with attending(unet, miniature_guide()):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert torch.equal(evaluate_tiny_unet(unet), before)


def test_attached_again_it_starts_anew(unet: UNet2DConditionModel) -> None:
    prompts = ImagePrompts([miniature_guide()])
    before = evaluate_tiny_unet(unet)

    with prompts.attached(unet):
        prompts.begin_call(BOTH, PROGRESS)
        first = evaluate_tiny_unet(unet)
    with prompts.attached(unet):
        assert torch.equal(evaluate_tiny_unet(unet), before)
        prompts.begin_call(BOTH, PROGRESS)
        assert torch.equal(evaluate_tiny_unet(unet), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_keys_and_values_follow_the_dtype_of_the_query(dtype: torch.dtype) -> None:
    tensors = SimpleNamespace(**{name: torch.tensor(ATTENTION[name]).to(dtype) for name in "qkv"})
    layer, prompts = OneLayer(tensors.q.shape[-1], HEADS), ImagePrompts(recorded_tasks())

    with prompts.attached(layer):
        prompts.begin_call(BOTH, 0.0)
        attended = layer(tensors.q, tensors.k, tensors.v)

    assert attended.dtype == dtype
    assert_matches(attended.float(), ATTENTION["out0"], 0.05)


def test_keys_and_values_are_put_together_once_per_set_of_acting_pictures(
    unet: UNet2DConditionModel,
) -> None:
    guide = miniature_guide(stop=0.5)
    sides = CountingSides(guide.picture.sides)
    prompts = ImagePrompts([replace(guide, picture=replace(guide.picture, sides=sides))])

    with prompts.attached(unet):
        sides.asked = 0
        for progress in (0.1, 0.2, 0.3, 0.6):
            prompts.begin_call(BOTH, progress)
            evaluate_tiny_unet(unet)

    assert sides.asked == 17 * len(BOTH)
