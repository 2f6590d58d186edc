"""Names of weights: single-file layout to the names of diffusers and transformers.

The only file that touches the converters diffusers keeps private. All tables are without prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor

from fooocus_core.loading.weight_file import Tensors

# The library does not type these.
_Converter = Callable[..., dict[str, Tensor | None]]
_convert_unet: _Converter = convert_ldm_unet_checkpoint
_convert_vae: _Converter = convert_ldm_vae_checkpoint

_UNET_PREFIX = "model.diffusion_model."
# Entries that carry no weight of the network: buffers, the contrastive temperature, and the
# projection of CLIP-L, which only image-text matching uses.
_CLIP_IGNORED = ("position_ids", "logit_scale", "text_projection.weight")
_VAE_IGNORED = ("loss.", "model_ema.")
_OLD_ATTENTION = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
_OPEN_CLIP_VISION = "visual."
_VISION_PREFIXES = ("vision_model.", "visual_projection.")
_VISION_NAMES = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1.": "vision_model.embeddings.patch_embedding.",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre.": "vision_model.pre_layrnorm.",
    "ln_post.": "vision_model.post_layernorm.",
    "transformer.resblocks.": "vision_model.encoder.layers.",
}
_OPEN_CLIP_TEXT_NAMES = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
}
_OPEN_CLIP_LAYER_NAMES = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}
_FUSED = ".attn.in_proj_"
_BLIP_VISION = "visual_encoder."
_BLIP_NAMES = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "blocks.": "encoder.layers.",
    "norm.": "post_layernorm.",
}
_BLIP_LAYER_NAMES = {
    ".norm1.": ".layer_norm1.",
    ".norm2.": ".layer_norm2.",
    ".attn.qkv.": ".self_attn.qkv.",
    ".attn.proj.": ".self_attn.projection.",
}
_DIFFUSERS_VAE_MARK = "decoder.up_blocks.0.resnets.0.norm1.weight"


def unet_weights(tensors: Tensors, config: Any) -> dict[str, Tensor]:
    """Weights of a single-file UNet under the names of ``UNet2DConditionModel``."""
    prefixed = {_UNET_PREFIX + name: tensor for name, tensor in tensors.items()}
    return _present(_convert_unet(prefixed, config))


def has_diffusers_vae_names(tensors: Tensors) -> bool:
    """Whether a VAE is already named as ``AutoencoderKL`` names it."""
    return _DIFFUSERS_VAE_MARK in tensors


def vae_weights(tensors: Tensors, config: Any) -> dict[str, Tensor]:
    """Weights of a VAE in either naming under the names of ``AutoencoderKL``."""
    if not has_diffusers_vae_names(tensors):
        return _present(_convert_vae(tensors, config))
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_ATTENTION.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def clip_g_weights(tensors: Tensors) -> dict[str, Tensor]:
    """Weights of an OpenCLIP text encoder under the names of ``CLIPTextModelWithProjection``.

    The fused input projection is split into query, key and value thirds, which are views of it; the
    text projection is transposed, because the file stores it for ``x @ P``. Unknown ones are kept.

    Raises:
        ValueError: A fused entry is empty.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "text_projection":
            converted["text_projection.weight"] = tensor.movedim(0, -1).contiguous()
        else:
            converted |= _open_clip_entries(name, tensor, _OPEN_CLIP_TEXT_NAMES)
    return converted


def clip_vision_weights(tensors: Tensors) -> dict[str, Tensor]:
    """Weights of an image encoder in either naming as ``CLIPVisionModelWithProjection`` names them.

    Entries of a text encoder beside it are left out. Of OpenCLIP's names, the fused input
    projection is split into query, key and value thirds and the projection is transposed, because
    the file stores it for ``x @ P``; unknown ones are kept.

    Raises:
        ValueError: A fused entry is empty.
    """
    if not any(name.startswith(_OPEN_CLIP_VISION) for name in tensors):
        weights = without_clip_extras(tensors)
        return {name: t for name, t in weights.items() if name.startswith(_VISION_PREFIXES)}
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPEN_CLIP_VISION):
            converted |= _vision_entries(name.removeprefix(_OPEN_CLIP_VISION), tensor)
    return converted


def blip_weights(tensors: Tensors) -> dict[str, Tensor]:
    """Weights of a BLIP captioner as ``BlipForConditionalGeneration`` names them."""
    renamed = {}
    for name, tensor in without_clip_extras(tensors).items():
        inner = name.removeprefix(_BLIP_VISION)
        if inner != name:
            name = f"vision_model.{_renamed(inner, _BLIP_NAMES, _BLIP_LAYER_NAMES)}"
        renamed[name] = tensor
    return renamed


def without_clip_extras(tensors: Tensors) -> dict[str, Tensor]:
    """The entries of a text encoder that are weights of the network."""
    return {name: t for name, t in tensors.items() if not name.endswith(_CLIP_IGNORED)}


def without_vae_extras(tensors: Tensors) -> dict[str, Tensor]:
    """The entries of a VAE without those left over from its training."""
    return {name: t for name, t in tensors.items() if not name.startswith(_VAE_IGNORED)}


def _vision_entries(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """What an entry of OpenCLIP's image encoder becomes."""
    if name == "proj":
        return {"visual_projection.weight": tensor.movedim(0, -1).contiguous()}
    return _open_clip_entries(name, tensor, _VISION_NAMES)


def _open_clip_entries(
    name: str, tensor: Tensor, beginnings: Mapping[str, str]
) -> dict[str, Tensor]:
    name = _renamed(name, beginnings, _OPEN_CLIP_LAYER_NAMES)
    if _FUSED not in name:
        return {name: tensor}
    layer, kind = name.split(_FUSED)
    thirds = zip("qkv", tensor.chunk(3), strict=True)
    return {f"{layer}.self_attn.{third}_proj.{kind}": part for third, part in thirds}


def _renamed(name: str, beginnings: Mapping[str, str], parts: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _present(converted: dict[str, Tensor | None]) -> dict[str, Tensor]:
    # The converters put ``None`` where half of a pair is missing.
    return {name: tensor for name, tensor in converted.items() if tensor is not None}


def unused_names(source: Tensors, converted: Tensors) -> list[str]:
    """Names of ``source`` whose tensors are not in ``converted``.

    Entries that conversion splits, flattens or transposes are taken for used.
    """
    used = {id(tensor) for tensor in converted.values()}
    rewritten = ("mid.attn_1.", ".in_proj_", "text_projection")
    return [
        name
        for name, tensor in source.items()
        if id(tensor) not in used and not any(part in name for part in rewritten)
    ]
