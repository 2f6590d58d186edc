"""Control-LoRA files become control nets on top of the base model as it is now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from fooocus_core.config import AttentionKind
from fooocus_core.errors import ModelFileError
from fooocus_core.files import DATA_FOLDER
from fooocus_core.loading.architecture import unet_config
from fooocus_core.loading.attention import ChunkedAttention
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.control_lora import (
    CANNY_FILE,
    CPDS_FILE,
    build_control_net,
    changed_weight,
    load_control_net,
)
from fooocus_core.loading.memory import Streaming
from fooocus_core.loading.merged_loras import LoraFile, MergedLoras
from fooocus_core.loading.weight_file import Tensors, WeightFile, read_weights
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import CPU_PLAN, load_small_sdxl, manifest_unet
from tests.tiny_unet import (
    given_size_vector,
    load_tiny_unet,
    recorded_call,
    recorded_file,
)
from tests.tiny_unet import recorded as recorded_array

OPS = load_arrays("image-ops/control_lora_ops")
META = torch.device("meta")
META_PLAN = replace(CPU_PLAN, device=META)
# Another device than "cpu" to the code, and the same memory to torch.
ELSEWHERE = torch.device("cpu", 0)
LAYER = "input_blocks.4.1.transformer_blocks.0.attn2.to_k"
WEIGHT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return load_small_sdxl(weights)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    """The miniature UNet."""
    return load_tiny_unet()


def recorded(**changes: Tensor | None) -> WeightFile:
    """The miniature's control-LoRA, with entries added, replaced, or left out for ``None``."""
    file = recorded_file("c")
    tensors = {**file.tensors, **changes}
    return replace(file, tensors={name: t for name, t in tensors.items() if t is not None})


def empty_control_lora(unet_tensors: Tensors, skips: tuple[int, ...]) -> WeightFile:
    """A control-LoRA of rank 2 without memory, with a hint block of two stages.

    ``skips`` are the channels of the UNet's skip connections.
    """
    shapes: dict[str, tuple[int, ...]] = {"lora_controlnet": (0,)}
    for name, weight in unet_tensors.items():
        layer = name.removesuffix(".weight")
        if name.startswith(("out.", "output_blocks.")):
            continue
        if weight.ndim == 1:
            shapes[name] = tuple(weight.shape)
        else:
            shapes[f"{layer}.up"] = (len(weight), 2)
            shapes[f"{layer}.down"] = (2, *weight.shape[1:])
    hints = [(8, 3, 3, 3), (8, 8, 3, 3), (24, 8, 3, 3), (skips[0], 24, 3, 3)]
    layers = {f"input_hint_block.{2 * i}": shape for i, shape in enumerate(hints)}
    layers |= {f"zero_convs.{i}.0": (width, width, 1, 1) for i, width in enumerate(skips)}
    layers["middle_block_out.0"] = (skips[-1], skips[-1], 1, 1)
    for layer, shape in layers.items():
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    tensors = {name: torch.empty(shape, device=META) for name, shape in shapes.items()}
    return WeightFile(path=Path("empty.safetensors"), tensors=tensors, metadata={})


@torch.no_grad()
def outputs(network: ControlNetModel) -> list[Tensor]:
    """What the network gives for the miniature's call and control picture."""
    with given_size_vector(network):
        result = network(**recorded_call(), controlnet_cond=recorded_array("hint"))
    return [*result.down_block_res_samples, result.mid_block_res_sample]


@pytest.mark.parametrize("layer", ["lin", "conv1", "conv3"])
def test_changed_weights_compute_as_recorded(layer: str) -> None:
    parts = ("w", "b", "up", "down", "x")
    w, b, up, down, x = (torch.tensor(OPS[f"{layer}_{part}"]) for part in parts)
    weight = changed_weight(w, up, down)
    if layer == "lin":
        output = functional.linear(x, weight, b)
    else:
        output = functional.conv2d(x, weight, b, padding=weight.shape[-1] // 2)
    assert_matches(output, OPS[f"{layer}_out"], NETWORK)


@pytest.mark.parametrize("rank", [128, 256])
def test_the_published_files_fit_the_real_base_model(rank: int) -> None:
    manifest = load_json(f"manifests/control_lora_sdxl_rank{rank}")
    tensors = {name: torch.empty(shape, device=META) for name, (_, shape) in manifest.items()}
    file = WeightFile(path=Path("real.safetensors"), tensors=tensors, metadata={})
    network = build_control_net(file, manifest_unet("sdxl_base"), META_PLAN)
    expected = load_json("manifests/sdxl_controlnet_full")
    shapes = sorted(tuple(weight.shape) for weight in network.state_dict().values())
    assert shapes == sorted(tuple(shape) for _, shape in expected.values())


def test_sizes_are_those_of_the_base_model_and_of_the_file() -> None:
    """The embedded model has five levels of one block each; the hint block here two stages."""
    path = DATA_FOLDER / "tiny" / "checkpoints" / "tiny.safetensors"
    tensors = {
        name: weight.to(META)
        for name, weight in read_weights(path).section("model.diffusion_model.").items()
    }
    with META:
        unet = UNet2DConditionModel(**unet_config(tensors, heads=None))
    skips = (64, 64, 64, 64, 64, 64, 64, 128, 128, 128)
    network = build_control_net(empty_control_lora(tensors, skips), unet, META_PLAN)
    assert tuple(layer.out_channels for layer in network.controlnet_down_blocks) == skips
    assert network.controlnet_cond_embedding.conv_in.out_channels == 8


@pytest.mark.parametrize("name", [CANNY_FILE, CPDS_FILE])
def test_the_base_model_stays_as_it_is(name: str, checkpoint: Checkpoint, weights: Path) -> None:
    before = {name: weight.clone() for name, weight in checkpoint.unet.state_dict().items()}
    network = load_control_net(weights / "controlnet" / name, checkpoint.unet, CPU_PLAN)
    after = checkpoint.unet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(weight.requires_grad for weight in network.parameters())


def test_weights_are_those_the_base_model_has_now(checkpoint: Checkpoint, weights: Path) -> None:
    """With LoRAs and inpaint patch merged, the change of the file comes on top of them."""
    path = weights / "controlnet" / CANNY_FILE
    tensors = read_weights(path).tensors
    up, down = (tensors[f"{LAYER}.{part}"].float() for part in ("up", "down"))
    plain = load_control_net(path, checkpoint.unet, CPU_PLAN).get_parameter(WEIGHT)
    loras = MergedLoras(checkpoint, CPU_PLAN)
    loras.merge([LoraFile(path=weights / "loras" / "tiny_lora.safetensors", weight=1.0)])
    current = checkpoint.unet.get_parameter(WEIGHT).clone()
    merged = load_control_net(path, checkpoint.unet, CPU_PLAN).get_parameter(WEIGHT)
    loras.undo()
    assert torch.equal(merged, changed_weight(current, up, down))
    assert not torch.equal(merged, plain)


def test_entries_without_a_low_rank_change_replace(unet: UNet2DConditionModel) -> None:
    network = build_control_net(recorded(), unet, CPU_PLAN)
    bias = recorded().tensors["input_blocks.0.0.bias"]
    assert torch.equal(network.conv_in.bias, bias.float())
    assert not torch.equal(network.conv_in.bias, unet.conv_in.bias)


def test_a_weight_that_the_file_leaves_out_is_shared_with_the_base_model(
    unet: UNet2DConditionModel,
) -> None:
    changes = {f"{LAYER}.up": None, f"{LAYER}.down": None}
    network = build_control_net(recorded(**changes), unet, CPU_PLAN)
    shared, original = network.get_parameter(WEIGHT), unet.get_parameter(WEIGHT)
    assert shared.data_ptr() == original.data_ptr()


def test_weights_are_made_and_kept_in_the_dtype_that_is_computed_in(
    unet: UNet2DConditionModel,
) -> None:
    plan = replace(CPU_PLAN, unet=torch.float8_e4m3fn, unet_compute=torch.bfloat16)
    network = build_control_net(recorded(), unet, plan)
    parts = (recorded().tensors[f"{LAYER}.{part}"] for part in ("up", "down"))
    up, down = (part.to(torch.bfloat16) for part in parts)
    original = unet.get_parameter(WEIGHT).to(torch.bfloat16)
    assert torch.equal(network.get_parameter(WEIGHT), changed_weight(original, up, down))
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("streaming", Streaming)
def test_a_streamed_control_net_computes_the_same(
    streaming: Streaming, unet: UNet2DConditionModel
) -> None:
    whole = build_control_net(recorded(), unet, CPU_PLAN)
    plan = replace(CPU_PLAN, device=ELSEWHERE, streaming=streaming)
    streamed = build_control_net(recorded(), unet, plan)
    pairs = zip(outputs(whole), outputs(streamed), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_attention_is_computed_as_planned(unet: UNet2DConditionModel) -> None:
    plan = replace(CPU_PLAN, attention=AttentionKind.SPLIT)
    network = build_control_net(recorded(), unet, plan)
    processors = network.attn_processors.values()
    assert processors
    assert all(isinstance(processor, ChunkedAttention) for processor in processors)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lora_controlnet": None}, "c.safetensors is not a control-LoRA"),
        ({"zero_convs.3.0.weight": None}, "c.safetensors.*Missing entries: zero_convs.3.0.weight"),
        ({"middle_block_out.0.bias": None}, "Missing entries: middle_block_out.0.bias"),
        ({"input_hint_block.6.weight": None}, "Missing entries: input_hint_block.6.weight"),
        ({f"{LAYER}.down": None}, f"Missing entries: {LAYER}.down"),
        ({f"{LAYER}.up": None}, f"Missing entries: {LAYER}.up"),
        ({"zero_convs.9.0.weight": torch.zeros(1)}, "Unexpected entries: zero_convs.9.0.weight"),
        ({"input_blocks.0.0.bias": torch.zeros(3)}, r"conv_in.bias has shape \(3,\)"),
        ({f"{LAYER}.up": torch.zeros(32, 3)}, f"{LAYER} does not fit the base model"),
        ({f"{LAYER}.down": torch.zeros(4, 25)}, f"{LAYER} does not fit the base model"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_file_is_refused_by_name(
    changes: dict[str, Tensor | None], complaint: str, unet: UNet2DConditionModel
) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        build_control_net(recorded(**changes), unet, CPU_PLAN)


def test_a_file_without_a_hint_block_is_refused(unet: UNet2DConditionModel) -> None:
    changes = {name: None for name in recorded().tensors if name.startswith("input_hint_block")}
    with pytest.raises(ModelFileError, match="Missing entries: input_hint_block.0.weight"):
        build_control_net(recorded(**changes), unet, CPU_PLAN)


def test_a_file_for_another_base_model_is_refused(
    unet: UNet2DConditionModel, weights: Path
) -> None:
    with pytest.raises(ModelFileError, match=f"{CANNY_FILE} cannot be loaded"):
        load_control_net(weights / "controlnet" / CANNY_FILE, unet, CPU_PLAN)


@pytest.mark.parametrize("content", [None, b"cut off"], ids=["missing", "damaged"])
def test_an_unreadable_file_is_named(
    content: bytes | None, unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    path = tmp_path / CPDS_FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=CPDS_FILE):
        load_control_net(path, unet, CPU_PLAN)
