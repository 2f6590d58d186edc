"""A control-LoRA file and the base model's UNet become a control net on the planned device.

Such a file holds a ControlNet as low-rank changes of the encoder half of a UNet, so one control net
belongs to one state of one UNet. Does not know control pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fooocus_core.downloads import CANNY_CONTROL, CPDS_CONTROL
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.attention import use_attention
from fooocus_core.loading.filling import fill_weights, list_names, naming_part, without_memory
from fooocus_core.loading.leases import stream_weights
from fooocus_core.loading.lora_names import unet_layers
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import Tensors, WeightFile, read_weights

CANNY_FILE = CANNY_CONTROL.name
CPDS_FILE = CPDS_CONTROL.name

_MARK = "lora_controlnet"
_HINT_BLOCK = "input_hint_block"
_HINT_LAYER = re.compile(rf"{_HINT_BLOCK}\.(\d+)\.")
# What a control net has in common with the UNet that it controls.
_SHARED = (
    "in_channels",
    "block_out_channels",
    "down_block_types",
    "mid_block_type",
    "layers_per_block",
    "norm_num_groups",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "attention_head_dim",
    "use_linear_projection",
    "addition_embed_type",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
)


def load_control_net(path: Path, unet: UNet2DConditionModel, plan: DevicePlan) -> ControlNetModel:
    """Load a control net for a UNet with the weights that this has now.

    Args:
        path: A control-LoRA file.
        unet: Of the base model, LoRAs and inpaint patch merged. Stays as it is; the control net
            may share weights with it that the file does not change.
        plan: Devices and dtypes.

    Raises:
        ModelFileError: The file is unreadable, no control-LoRA, or not one for a UNet of this
            shape; names it and the first few entries.
        DeviceMemoryError: The device has not enough memory.
    """
    return build_control_net(read_weights(path), unet, plan)


def build_control_net(
    file: WeightFile, unet: UNet2DConditionModel, plan: DevicePlan
) -> ControlNetModel:
    """As :func:`load_control_net`, from a file that is open."""
    if _MARK not in file.tensors:
        raise ModelFileError(f"{file.path.name} is not a control-LoRA: it has no entry {_MARK}.")
    tensors = {name: tensor for name, tensor in file.tensors.items() if name != _MARK}
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "control net"):
        with without_memory():
            network: ControlNetModel = ControlNetModel(**_config(tensors, unet))
        state = _weights(tensors, network, unet, plan)
        fill_weights(network, state, plan.unet_home)
    use_attention(network, plan)
    stream_weights(network, plan)
    return network


def changed_weight(weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Add a low-rank change to a weight.

    Args:
        weight: (out, in) or (out, in, kh, kw).
        up: (out, r) or (out, r, 1, 1), dtype and device of ``weight``.
        down: (r, in) or (r, in, kh, kw), likewise.

    Returns:
        ``weight + up @ down``, the product taken in the dtype of ``weight``; there is no alpha.

    Source:
        arXiv:2106.09685, section 4.1; a ControlNet in this form: Stability AI, Control-LoRA.
    """
    return weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)


def _config(tensors: Tensors, unet: UNet2DConditionModel) -> dict[str, Any]:
    shared = {name: unet.config[name] for name in _SHARED}
    # Every second convolution of the hint block has the width of a stage.
    stages = [tensors[f"{name}.weight"].shape for name in _hint_convolutions(tensors)[:-1:2]]
    return {
        **shared,
        "conditioning_channels": stages[0][1],
        "conditioning_embedding_out_channels": tuple(shape[0] for shape in stages),
    }


def _weights(
    tensors: Tensors, network: ControlNetModel, unet: UNet2DConditionModel, plan: DevicePlan
) -> dict[str, Tensor]:
    """The weights of ``network`` by its names, where and in the dtype that it keeps them."""
    file_names = _file_names(tensors, network, unet)
    _require_known(tensors, file_names.values())
    originals = {name: parameter.data for name, parameter in unet.named_parameters()}
    state = {}
    for name, file_name in file_names.items():
        parts = _parts(tensors, file_name, originals.get(name))
        weight, *change = (part.to(plan.device, plan.unet_compute) for part in parts)
        state[name] = (changed_weight(weight, *change) if change else weight).to(plan.unet_home)
    return state


def _parts(tensors: Tensors, file_name: str, original: Tensor | None) -> list[Tensor]:
    """What a weight is made of: one tensor, or a weight of the UNet and ``up`` and ``down``."""
    if file_name in tensors:
        return [tensors[file_name]]
    if original is None:
        raise ModelFileError(f"Missing entries: {file_name}")
    layer = file_name.removesuffix(".weight")
    change = (f"{layer}.up", f"{layer}.down")
    if not any(part in tensors for part in change):
        return [original]
    up, down = (tensors[part] for part in change)
    if (len(up), *down.shape[1:]) != original.shape or up.flatten(1).shape[1] != len(down):
        raise ModelFileError(
            f"{layer} does not fit the base model, whose weight has shape {tuple(original.shape)}."
        )
    return [original, up, down]


def _file_names(
    tensors: Tensors, network: ControlNetModel, unet: UNet2DConditionModel
) -> dict[str, str]:
    """What the file calls the weights of ``network`` if it replaces them; by their names in it."""
    hints = _hint_convolutions(tensors)
    layers = {layer: original for original, layer in unet_layers(unet)}
    layers["controlnet_cond_embedding.conv_in"] = hints[0]
    layers["controlnet_cond_embedding.conv_out"] = hints[-1]
    for index, hint in enumerate(hints[1:-1]):
        layers[f"controlnet_cond_embedding.blocks.{index}"] = hint
    for index in range(len(network.controlnet_down_blocks)):
        layers[f"controlnet_down_blocks.{index}"] = f"zero_convs.{index}.0"
    layers["controlnet_mid_block"] = "middle_block_out.0"
    names = (name.rpartition(".") for name in network.state_dict())
    return {f"{layer}.{kind}": f"{layers[layer]}.{kind}" for layer, _, kind in names}


def _hint_convolutions(tensors: Tensors) -> list[str]:
    """The layers that read the control picture, in their order."""
    found = {int(match[1]) for name in tensors if (match := _HINT_LAYER.match(name))}
    if not found:
        raise ModelFileError(f"Missing entries: {_HINT_BLOCK}.0.weight")
    return [f"{_HINT_BLOCK}.{index}" for index in sorted(found)]


def _require_known(tensors: Tensors, file_names: Iterable[str]) -> None:
    known = set(file_names)
    layers = {name.removesuffix(".weight") for name in known if name.endswith(".weight")}
    known |= {f"{layer}.{part}" for layer in layers for part in ("up", "down")}
    if unexpected := [name for name in tensors if name not in known]:
        raise ModelFileError(f"Unexpected entries: {list_names(unexpected)}")
