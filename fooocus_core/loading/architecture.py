"""Widths, depths and counts of the networks, read from the shapes of their tensors.

Nothing is taken from a list of published sizes, so smaller and pruned models load alike. What
shapes cannot tell follows convention: 32 normalisation groups, heads 64 wide (SD 1.5: 8 heads;
image encoders: 16 heads, and fewer where these would be narrower than 32).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import Tensors

HEAD_WIDTH = 64
SD15_HEADS = 8
NORM_GROUPS = 32

_VISION_HEADS = 16
_LEAST_VISION_HEAD_WIDTH = 32
_TRANSFORMER = re.compile(
    r"(input_blocks\.\d+|output_blocks\.\d+|middle_block)\.1\.transformer_blocks\.(\d+)\."
)


def unet_config(tensors: Tensors, *, heads: int | None) -> dict[str, Any]:
    """Arguments of ``UNet2DConditionModel`` for a UNet in single-file names, without prefix.

    Args:
        heads: Attention heads at every level; ``None`` makes heads 64 channels wide.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing, or no such UNet can be built.
    """
    depths = _transformer_depths(tensors)
    levels = _levels(tensors)
    blocks = len(levels[0])
    if any(len(level) != blocks for level in levels):
        raise ModelFileError("The UNet has levels of different block counts.")
    channels = [
        _rows(tensors, f"input_blocks.{level[0]}.0.out_layers.3.weight") for level in levels
    ]
    down = [_level_depths(depths, "input_blocks", level) for level in levels]
    outputs = range(len(levels) * (blocks + 1))
    up = [
        _level_depths(depths, "output_blocks", outputs[start : start + blocks + 1])
        for start in range(0, len(outputs), blocks + 1)
    ]
    middle = depths.get("middle_block", 0)
    return {
        "in_channels": _shape(tensors, "input_blocks.0.0.weight")[1],
        "out_channels": _rows(tensors, "out.2.weight"),
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "norm_num_groups": NORM_GROUPS,
        "down_block_types": ["CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in down],
        "up_block_types": ["CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in up],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": _down_layers(down, middle),
        "reverse_transformer_layers_per_block": [_or_ones(level) for level in up],
        "attention_head_dim": heads or [max(width // HEAD_WIDTH, 1) for width in channels],
        "cross_attention_dim": _columns_of_first(tensors, "attn2.to_k.weight"),
        "use_linear_projection": _has_linear_projection(tensors),
        **_size_conditioning(tensors),
    }


def vae_config(tensors: Tensors, *, norm_groups: int, diffusers_names: bool) -> dict[str, Any]:
    """Arguments of ``AutoencoderKL`` for a VAE without key prefix.

    Args:
        norm_groups: Groups of every normalisation; 32 unless the file says otherwise.
        diffusers_names: Whether the names are those of diffusers instead of a single file's.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing.
    """
    level, block = ("down_blocks", "resnets") if diffusers_names else ("down", "block")
    levels = _count(tensors, rf"encoder\.{level}\.(\d+)\.")
    return {
        "in_channels": _shape(tensors, "encoder.conv_in.weight")[1],
        "out_channels": _rows(tensors, "decoder.conv_out.weight"),
        "latent_channels": _rows(tensors, "post_quant_conv.weight"),
        "layers_per_block": _count(tensors, rf"encoder\.{level}\.0\.{block}\.(\d+)\."),
        "block_out_channels": [
            _rows(tensors, f"encoder.{level}.{i}.{block}.0.conv2.weight") for i in range(levels)
        ],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": norm_groups,
    }


def clip_l_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``CLIPTextConfig`` for a CLIP-L text encoder in transformers' names.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing.
    """
    vocabulary, width = _shape(tensors, "embeddings.token_embedding.weight")
    return {
        **_clip_widths(vocabulary, width),
        "intermediate_size": _rows(tensors, "encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": _count(tensors, r"encoder\.layers\.(\d+)\."),
        "max_position_embeddings": _rows(tensors, "embeddings.position_embedding.weight"),
        "hidden_act": "quick_gelu",
    }


def clip_g_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``CLIPTextConfig`` for a CLIP-G text encoder in OpenCLIP's names.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing.
    """
    vocabulary, width = _shape(tensors, "token_embedding.weight")
    return {
        **_clip_widths(vocabulary, width),
        "intermediate_size": _rows(tensors, "transformer.resblocks.0.mlp.c_fc.weight"),
        "num_hidden_layers": _count(tensors, r"transformer\.resblocks\.(\d+)\."),
        "max_position_embeddings": _rows(tensors, "positional_embedding"),
        "projection_dim": _shape(tensors, "text_projection")[1],
        "hidden_act": "gelu",
    }


def clip_vision_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``CLIPVisionConfig`` for an image encoder in transformers' names.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing, or no such encoder can be
            built.
        ValueError: An entry has another number of dimensions.
    """
    width, channels, patch, _ = _shape(tensors, "vision_model.embeddings.patch_embedding.weight")
    places = _rows(tensors, "vision_model.embeddings.position_embedding.weight")
    heads = max(min(_VISION_HEADS, width // _LEAST_VISION_HEAD_WIDTH), 1)
    if width % heads:
        raise ModelFileError(f"A width of {width} cannot be split into {heads} heads.")
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": _rows(tensors, "vision_model.encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": _count(tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        "projection_dim": _rows(tensors, "visual_projection.weight"),
        "num_channels": channels,
        "patch_size": patch,
        # One place is not in the picture: that of the class.
        "image_size": isqrt(places - 1) * patch,
        "hidden_act": "gelu",
    }


def blip_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``BlipConfig`` for a captioner in transformers' names.

    Raises:
        ModelFileError: An entry needed to tell the shape is missing.
        ValueError: An entry has another number of dimensions.
    """
    width, _, patch, _ = _shape(tensors, "vision_model.embeddings.patch_embedding.weight")
    _, places, _ = _shape(tensors, "vision_model.embeddings.position_embedding")
    vision = {
        "hidden_size": width,
        "num_attention_heads": max(width // HEAD_WIDTH, 1),
        "intermediate_size": _rows(tensors, "vision_model.encoder.layers.0.mlp.fc1.weight"),
        "num_hidden_layers": _count(tensors, r"vision_model\.encoder\.layers\.(\d+)\."),
        "patch_size": patch,
        "image_size": isqrt(places - 1) * patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
    }
    vocabulary, width = _shape(tensors, "text_decoder.bert.embeddings.word_embeddings.weight")
    layer = "text_decoder.bert.encoder.layer."
    text = {
        **_clip_widths(vocabulary, width),
        "intermediate_size": _rows(tensors, f"{layer}0.intermediate.dense.weight"),
        "num_hidden_layers": _count(tensors, rf"{re.escape(layer)}(\d+)\."),
        "max_position_embeddings": _rows(
            tensors, "text_decoder.bert.embeddings.position_embeddings.weight"
        ),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        # The library's own are of the published vocabulary, and only its own drawing needs them.
        "bos_token_id": None,
        "sep_token_id": None,
    }
    return {"vision_config": vision, "text_config": text}


def _clip_widths(vocabulary: int, width: int) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_attention_heads": max(width // HEAD_WIDTH, 1),
    }


def _levels(tensors: Tensors) -> list[list[int]]:
    levels: list[list[int]] = [[]]
    for block in range(1, _count(tensors, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{block}.0.op.weight" in tensors:
            levels.append([])
        else:
            levels[-1].append(block)
    if not levels[0]:
        raise ModelFileError("The UNet has no input blocks.")
    return levels


def _transformer_depths(tensors: Tensors) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in tensors:
        if match := _TRANSFORMER.match(name):
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]) + 1)
    return depths


def _level_depths(depths: Mapping[str, int], side: str, blocks: Sequence[int]) -> list[int]:
    found = [depths.get(f"{side}.{block}", 0) for block in blocks]
    if any(found) and not all(found):
        raise ModelFileError("The UNet has attention in only some blocks of a level.")
    return found


def _down_layers(down: Sequence[list[int]], middle: int) -> list[list[int]]:
    # The library builds the middle block as deep as the first entry of the last level.
    if middle and any(down[-1]) and down[-1][0] != middle:
        raise ModelFileError("The UNet's middle block is not as deep as its lowest level.")
    layers = [_or_ones(level) for level in down]
    if not any(down[-1]):
        layers[-1] = [max(middle, 1)] * len(down[-1])
    return layers


def _or_ones(depths: Sequence[int]) -> list[int]:
    return [max(depth, 1) for depth in depths]


def _size_conditioning(tensors: Tensors) -> dict[str, Any]:
    if "label_emb.0.0.weight" not in tensors:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": _shape(tensors, "label_emb.0.0.weight")[1],
    }


def _has_linear_projection(tensors: Tensors) -> bool:
    return any(
        name.endswith(".1.proj_in.weight") and tensor.ndim == 2 for name, tensor in tensors.items()
    )


def _columns_of_first(tensors: Tensors, suffix: str) -> int:
    for name, tensor in tensors.items():
        if name.endswith(suffix):
            return int(tensor.shape[1])
    raise ModelFileError(f"No entry ends with {suffix}.")


def _count(tensors: Tensors, pattern: str) -> int:
    compiled = re.compile(pattern)
    indices = [int(match[1]) for name in tensors if (match := compiled.match(name))]
    return max(indices, default=-1) + 1


def _rows(tensors: Tensors, name: str) -> int:
    return _shape(tensors, name)[0]


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise ModelFileError(f"The entry {name} is missing.")
    return tuple(tensors[name].shape)
