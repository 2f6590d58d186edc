"""Published "segment anything" weights as transformers' ``SamModel`` has them: names and sizes.

Every size is read from the shapes, so the three published networks and smaller ones load alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import Tensors

# Convention, as shapes do not tell it.
_DECODER_HEADS = 8
# Of the layers that mix prompts and picture; elsewhere it is the library's own default.
_DECODER_NORM_EPSILON = 1e-5

_PLACES = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_SHARED_PLACES = (
    "prompt_encoder.shared_embedding.positional_embedding",
    "shared_image_embedding.positional_embedding",
)
_NAMES: Mapping[str, str] = {
    "image_encoder.": "vision_encoder.",
    ".patch_embed.proj.": ".patch_embed.projection.",
    ".blocks.": ".layers.",
    ".norm": ".layer_norm",
    ".neck.0.": ".neck.conv1.",
    ".neck.1.": ".neck.layer_norm1.",
    ".neck.2.": ".neck.conv2.",
    ".neck.3.": ".neck.layer_norm2.",
    ".point_embeddings.": ".point_embed.",
    ".mask_downscaling.0.": ".mask_embed.conv1.",
    ".mask_downscaling.1.": ".mask_embed.layer_norm1.",
    ".mask_downscaling.3.": ".mask_embed.conv2.",
    ".mask_downscaling.4.": ".mask_embed.layer_norm2.",
    ".mask_downscaling.6.": ".mask_embed.conv3.",
    ".output_upscaling.0.": ".upscale_conv1.",
    ".output_upscaling.1.": ".upscale_layer_norm.",
    ".output_upscaling.3.": ".upscale_conv2.",
}
_HEAD_LAYER = re.compile(r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.(\d)\.")
_HEAD_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_h")
_DECODER_LAYER = re.compile(r"mask_decoder\.transformer\.layers\.(\d+)\.norm1\.weight")


def sam_weights(tensors: Tensors) -> dict[str, Tensor]:
    """The entries of a published file under the names of ``SamModel``; unknown ones are kept.

    The places of picture and prompts are encoded with one matrix, which the model has twice.
    """
    weights = {_renamed(name): tensor for name, tensor in tensors.items() if name != _PLACES}
    if _PLACES in tensors:
        weights |= dict.fromkeys(_SHARED_PLACES, tensors[_PLACES])
    return weights


def sam_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``SamConfig`` for the entries of a published file.

    Raises:
        KeyError: An entry needed to tell the sizes is missing.
        ModelFileError: The entries do not belong to such a network.
    """
    patch = tensors["image_encoder.patch_embed.proj.weight"].shape
    grid = tensors["image_encoder.pos_embed"].shape[1]
    features = tensors["image_encoder.neck.0.weight"].shape[0]
    image_size, patch_size = grid * patch[-1], patch[-1]
    return {
        "vision_config": {
            "hidden_size": patch[0],
            "output_channels": features,
            "image_size": image_size,
            "patch_size": patch_size,
            "num_pos_feats": tensors[_PLACES].shape[1],
            "mlp_dim": tensors["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
            **_block_sizes(tensors, grid),
        },
        "prompt_encoder_config": {
            "hidden_size": features,
            "image_size": image_size,
            "patch_size": patch_size,
            "mask_input_channels": tensors["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        },
        "mask_decoder_config": {"hidden_size": features, **_decoder_sizes(tensors, features)},
    }


def _renamed(name: str) -> str:
    for old, new in _NAMES.items():
        name = name.replace(old, new)
    return _HEAD_LAYER.sub(lambda found: f"{found[1]}.{_HEAD_LAYERS[found[2]]}.", name)


def _block_sizes(tensors: Tensors, grid: int) -> dict[str, Any]:
    """Number, heads and windows of the blocks, told by their tables of relative places."""
    tables = {int(m[1]): t for name, t in tensors.items() if (m := _BLOCK.fullmatch(name))}
    rows = {number: len(table) for number, table in tables.items()}
    windows = {(count + 1) // 2 for count in rows.values() if count != 2 * grid - 1}
    if len(windows) > 1:
        raise ModelFileError("The image encoder has windows of several sizes.")
    width = tensors["image_encoder.patch_embed.proj.weight"].shape[0]
    return {
        "num_hidden_layers": len(tables),
        "num_attention_heads": width // tables[0].shape[1],
        "window_size": windows.pop() if windows else grid,
        "global_attn_indexes": [number for number in rows if rows[number] == 2 * grid - 1],
    }


def _decoder_sizes(tensors: Tensors, width: int) -> dict[str, Any]:
    layers = [name for name in tensors if _DECODER_LAYER.fullmatch(name)]
    prefix = "mask_decoder.transformer.layers.0."
    inner = tensors[f"{prefix}cross_attn_token_to_image.q_proj.weight"].shape[0]
    return {
        "num_hidden_layers": len(layers),
        "num_attention_heads": _DECODER_HEADS,
        "mlp_dim": tensors[f"{prefix}mlp.lin1.weight"].shape[0],
        "attention_downsample_rate": width // inner,
        "num_multimask_outputs": tensors["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        "iou_head_hidden_dim": tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        "layer_norm_eps": _DECODER_NORM_EPSILON,
    }
