"""Published GroundingDINO weights as transformers has them: names and sizes.

Every size is read from the shapes; what they do not tell follows the published network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import Tensors

_HEADS = 8
_TEXT_HEAD_WIDTH = 64
_MAX_TOKENS = 256
_COORDINATES = 2

_PREFIX = "module."
# Left over from training, or computed from the sizes.
_UNUSED = re.compile(r"label_enc\.|bert\.pooler\.|.*\.(position_ids|relative_position_index)$")
_SWIN = "model.backbone.conv_encoder.model."
# With the number of the layer in the place of {}.
_LAYERS: Mapping[str, str] = {
    "transformer.encoder.text_layers.": "model.encoder.layers.{}.text_enhancer_layer.",
    "transformer.encoder.fusion_layers.": "model.encoder.layers.{}.fusion_layer.",
    "transformer.encoder.layers.": "model.encoder.layers.{}.deformable_layer.",
    "transformer.decoder.layers.": "model.decoder.layers.{}.",
}
_BEGINNINGS: Mapping[str, str] = {
    "transformer.decoder.norm.": "model.decoder.layer_norm.",
    "transformer.decoder.ref_point_head.": "model.decoder.reference_points_head.",
    "transformer.tgt_embed.": "model.query_position_embeddings.",
    "transformer.enc_out_bbox_embed.": "model.encoder_output_bbox_embed.",
    "transformer.": "model.",
    "bert.": "model.text_backbone.",
    "feat_map.": "model.text_projection.",
    "input_proj.": "model.input_proj_vision.",
    "backbone.0.patch_embed.proj.": f"{_SWIN}swin.embeddings.patch_embeddings.projection.",
    "backbone.0.patch_embed.norm.": f"{_SWIN}swin.embeddings.norm.",
    "backbone.0.layers.": f"{_SWIN}swin.encoder.layers.",
    "backbone.0.norm": f"{_SWIN}hidden_states_norms.norm",
}
_LAYER_NAMES: Mapping[str, Mapping[str, str]] = {
    "text_enhancer_layer.": {
        ".linear": ".fc",
        ".norm1.": ".layer_norm_before.",
        ".norm2.": ".layer_norm_after.",
    },
    "fusion_layer.": {
        ".gamma_v": ".vision_param",
        ".gamma_l": ".text_param",
        ".layer_norm_v.": ".layer_norm_vision.",
        ".layer_norm_l.": ".layer_norm_text.",
        "_v_proj.": "_vision_proj.",
        "_l_proj.": "_text_proj.",
        ".v_proj.": ".vision_proj.",
        ".l_proj.": ".text_proj.",
    },
    "deformable_layer.": {
        ".linear": ".fc",
        ".norm1.": ".self_attn_layer_norm.",
        ".norm2.": ".final_layer_norm.",
    },
    "model.decoder.layers.": {
        ".linear": ".fc",
        ".cross_attn.": ".encoder_attn.",
        ".ca_text.": ".encoder_attn_text.",
        ".catext_norm.": ".encoder_attn_text_layer_norm.",
        ".norm1.": ".encoder_attn_layer_norm.",
        ".norm2.": ".self_attn_layer_norm.",
        ".norm3.": ".final_layer_norm.",
    },
    f"{_SWIN}swin.encoder.": {
        ".norm1.": ".layernorm_before.",
        ".norm2.": ".layernorm_after.",
        ".attn.proj.": ".attention.o_proj.",
        ".attn.qkv.": ".attention.qkv.",
        ".attn.relative_position_bias_table": (
            ".attention.relative_position_bias.relative_position_bias_table"
        ),
    },
}
_STAGE_NORM = re.compile(r"hidden_states_norms\.norm(\d)\.")
_FUSED = {
    ".in_proj_": ("query", "key", "value"),
    ".attention.qkv.": ("q_proj", "k_proj", "v_proj"),
}


def without_extras(tensors: Tensors) -> dict[str, Tensor]:
    """The entries that are weights, without the prefix that training on several devices left."""
    plain = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in plain.items() if not _UNUSED.match(name)}


def grounding_dino_weights(tensors: Tensors) -> dict[str, Tensor]:
    """Weights under the names of ``GroundingDinoForObjectDetection``; unknown ones are kept.

    Fused query, key and value projections are split into thirds.

    Args:
        tensors: As :func:`without_extras` gives them.

    Raises:
        KeyError: An entry needed is missing.
        ModelFileError, ValueError: One cannot be split.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        weights |= _entries(_renamed(name), tensor)
    # The model has a norm behind the last stage which nothing reads.
    norm = tensors["backbone.0.norm3.weight"]
    weights[f"{_SWIN}swin.layernorm.weight"] = torch.ones_like(norm)
    weights[f"{_SWIN}swin.layernorm.bias"] = torch.zeros_like(norm)
    return weights


def grounding_dino_config(tensors: Tensors) -> dict[str, Any]:
    """Arguments of ``GroundingDinoConfig``.

    Args:
        tensors: As :func:`without_extras` gives them.

    Raises:
        KeyError: An entry needed to tell the sizes is missing.
    """
    encoder, decoder = "transformer.encoder.layers.", "transformer.decoder.layers."
    queries, width = tensors["transformer.tgt_embed.weight"].shape
    levels = len(tensors["transformer.level_embed"])
    return {
        "backbone_config": {"model_type": "swin", **_swin_sizes(tensors)},
        # Not eager attention, with which the yes and no of the text mask is added to the scores.
        "text_config": {
            "model_type": "bert",
            "attn_implementation": "sdpa",
            **_bert_sizes(tensors),
        },
        "num_queries": queries,
        "d_model": width,
        "num_feature_levels": levels,
        "max_text_len": _MAX_TOKENS,
        "encoder_layers": _count(tensors, encoder),
        "encoder_attention_heads": _HEADS,
        "encoder_ffn_dim": len(tensors[f"{encoder}0.linear1.weight"]),
        "encoder_n_points": _points(tensors[f"{encoder}0.self_attn.sampling_offsets.bias"], levels),
        "decoder_layers": _count(tensors, decoder),
        "decoder_attention_heads": _HEADS,
        "decoder_ffn_dim": len(tensors[f"{decoder}0.linear1.weight"]),
        "decoder_n_points": _points(
            tensors[f"{decoder}0.cross_attn.sampling_offsets.bias"], levels
        ),
        # Such kernels would be fetched from a hub.
        "disable_custom_kernels": True,
    }


def _renamed(name: str) -> str:
    for start, new in _LAYERS.items():
        if name.startswith(start):
            layer, _, rest = name.removeprefix(start).partition(".")
            name = new.format(layer) + rest
    for beginning, new in _BEGINNINGS.items():
        if name.startswith(beginning):
            name = new + name.removeprefix(beginning)
    for place, names in _LAYER_NAMES.items():
        if place in name:
            for old, new in names.items():
                name = name.replace(old, new)
    # The stages are counted from the one before.
    return _STAGE_NORM.sub(lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}.", name)


def _entries(name: str, tensor: Tensor) -> dict[str, Tensor]:
    for mark, parts in _FUSED.items():
        if mark in name:
            outer, kind = name.split(mark)
            inner = outer if mark.startswith(".in_proj") else f"{outer}.attention"
            if tensor.ndim == 0:
                raise ModelFileError(f"{name} is one number and cannot be split.")
            thirds = zip(parts, tensor.chunk(3), strict=True)
            return {f"{inner}.{part}.{kind}": third for part, third in thirds}
    return {name: tensor}


def _swin_sizes(tensors: Tensors) -> dict[str, Any]:
    stages = range(_count(tensors, "backbone.0.layers."))
    first = [f"backbone.0.layers.{stage}.blocks.0." for stage in stages]
    tables = [tensors[f"{prefix}attn.relative_position_bias_table"].shape for prefix in first]
    patch = tensors["backbone.0.patch_embed.proj.weight"].shape
    return {
        "embed_dim": patch[0],
        "patch_size": patch[-1],
        "depths": [_count(tensors, f"backbone.0.layers.{stage}.blocks.") for stage in stages],
        "num_heads": [columns for _, columns in tables],
        "window_size": (isqrt(tables[0][0]) + 1) // 2,
        "out_indices": [stage + 1 for stage in stages[1:]],
    }


def _bert_sizes(tensors: Tensors) -> dict[str, Any]:
    words = tensors["bert.embeddings.word_embeddings.weight"].shape
    return {
        "vocab_size": words[0],
        "hidden_size": words[1],
        "max_position_embeddings": len(tensors["bert.embeddings.position_embeddings.weight"]),
        "num_hidden_layers": _count(tensors, "bert.encoder.layer."),
        "num_attention_heads": max(words[1] // _TEXT_HEAD_WIDTH, 1),
        "intermediate_size": len(tensors["bert.encoder.layer.0.intermediate.dense.weight"]),
    }


def _count(names: Iterable[str], prefix: str) -> int:
    """How many numbers follow the prefix."""
    behind = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return len({rest.partition(".")[0] for rest in behind})


def _points(offsets: Tensor, levels: int) -> int:
    return len(offsets) // (_HEADS * levels * _COORDINATES)
