"""The names under which LoRA files address the layers of a UNet and of the two text encoders.

Works for UNets of any size: block numbers are counted on the loaded module. Does not know what a
file holds under a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

_OUTER_LAYERS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET_LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_MIDDLE_BLOCKS = (
    ("middle_block.0", "mid_block.resnets.0"),
    ("middle_block.1", "mid_block.attentions.0"),
    ("middle_block.2", "mid_block.resnets.1"),
)
_TEXT_LAYERS = (
    "mlp.fc1",
    "mlp.fc2",
    "self_attn.k_proj",
    "self_attn.q_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
)


def unet_layers(unet: nn.Module) -> list[tuple[str, str]]:
    """Pairs of original and diffusers layer names of a ``UNet2DConditionModel``.

    Layers that some UNets lack (shortcuts of every residual block, samplers of the outermost
    level, the size embedding) are always listed: files may name them.
    """
    parameters = [name for name, _ in unet.named_parameters()]
    pairs = list(_OUTER_LAYERS.items())
    for original, block in _blocks(unet):
        if ".resnets." in block:
            pairs += [(f"{original}.{a}", f"{block}.{b}") for a, b in _RESNET_LAYERS.items()]
        elif ".attentions." in block:
            layers = _layers_below(block, parameters)
            pairs += [(original + layer.removeprefix(block), layer) for layer in layers]
        else:
            pairs.append((original, block))
    return pairs


def unet_names(unet: nn.Module) -> dict[str, str]:
    """Weights of a UNet by every name that a LoRA file may use for them.

    Args:
        unet: A ``UNet2DConditionModel``, possibly on the meta device.

    Returns:
        Parameter names by LoRA name, in the order of search. A parameter may be absent from
        ``unet``: files that name such layers are still of the right kind.
    """
    parameters = {name for name, _ in unet.named_parameters()}
    pairs = unet_layers(unet)
    names = {
        f"lora_unet_{_underscored(original)}": f"{layer}.weight"
        for original, layer in pairs
        if f"{layer}.weight" in parameters
    }
    for _, layer in pairs:
        for spelling in _spellings(layer):
            names[f"lora_unet_{_underscored(spelling)}"] = f"{layer}.weight"
            names[_processor_name(spelling)] = f"{layer}.weight"
            names[f"unet.{_processor_name(spelling)}"] = f"{layer}.weight"
    for original, layer in pairs:
        for kind in ("weight", "bias"):
            if f"{layer}.{kind}" in parameters:
                names[f"diffusion_model.{original}.{kind}"] = f"{layer}.{kind}"
    return names


def clip_l_names(encoder: nn.Module) -> dict[str, str]:
    """Weights of CLIP-L, a ``CLIPTextModel``: parameter names by LoRA name."""
    return _text_names(
        encoder,
        kohya=("lora_te", "lora_te1"),
        dotted="text_encoder",
        raw="clip_l.transformer",
    )


def clip_g_names(encoder: nn.Module) -> dict[str, str]:
    """Weights of CLIP-G, a ``CLIPTextModelWithProjection``: parameter names by LoRA name."""
    return _text_names(
        encoder,
        kohya=("lora_te2",),
        dotted="text_encoder_2",
        raw="clip_g.transformer",
    )


def _blocks(unet: Any) -> Iterator[tuple[str, str]]:
    index = 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):
            yield f"input_blocks.{index}.0", f"down_blocks.{i}.resnets.{j}"
            yield f"input_blocks.{index}.1", f"down_blocks.{i}.attentions.{j}"
            index += 1
        yield f"input_blocks.{index}.0.op", f"down_blocks.{i}.downsamplers.0.conv"
        index += 1
    yield from _MIDDLE_BLOCKS
    index = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            yield f"output_blocks.{index}.0", f"up_blocks.{i}.resnets.{j}"
            yield f"output_blocks.{index}.1", f"up_blocks.{i}.attentions.{j}"
            index += 1
        slot = 2 if hasattr(block, "attentions") else 1
        yield f"output_blocks.{index - 1}.{slot}.conv", f"up_blocks.{i}.upsamplers.0.conv"


def _layers_below(block: str, parameters: list[str]) -> list[str]:
    return [
        name.removesuffix(".weight")
        for name in parameters
        if name.startswith(f"{block}.") and name.endswith(".weight")
    ]


def _spellings(layer: str) -> tuple[str, ...]:
    # Older converters call the size embedding of SDXL a class embedding.
    if layer.startswith("add_embedding."):
        return (layer.replace("add_embedding.", "class_embedding."), layer)
    return (layer,)


def _underscored(name: str) -> str:
    return name.replace(".", "_")


def _processor_name(layer: str) -> str:
    return layer.replace(".to_", ".processor.to_").replace(".to_out.0", ".to_out")


def _text_names(
    encoder: nn.Module, *, kohya: tuple[str, ...], dotted: str, raw: str
) -> dict[str, str]:
    names = {}
    # Only one of the two classes keeps the prefix "text_model." in its parameter names.
    stems = {name.removeprefix("text_model."): name for name, _ in encoder.named_parameters()}
    for stem, parameter in stems.items():
        layer = stem.removesuffix(".weight")
        if layer.endswith(_TEXT_LAYERS):
            for prefix in kohya:
                names[f"{prefix}_text_model_{_underscored(layer)}"] = parameter
            names[f"{dotted}.text_model.{layer}"] = parameter
    for stem, parameter in stems.items():
        names[f"{raw}.text_model.{stem}"] = parameter
    return names
