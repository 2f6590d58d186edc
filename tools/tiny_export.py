"""Writes the embedded model as one file in the key layout of an SDXL checkpoint.

The inverse of the conversions that the diffusers library applies to such files. Knows only names
and shapes; the networks come as state dictionaries.

    python -m tools.tiny_export --state DIR/state.pt --vae DIR/vae.pt --output FILE
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

VOCABULARY = 49408

StateDict = dict[str, Tensor]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
FIRST_PREFIX = "conditioner.embedders.0.transformer.text_model."
SECOND_PREFIX = "conditioner.embedders.1.model."
METADATA = {"modelspec.architecture": "stable-diffusion-xl-v1-base", "vae.norm_num_groups": "1"}

UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET_PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _split(key: str) -> tuple[str, str]:
    """Split the name of a layer from the name of its parameter."""
    layer, _, parameter = key.rpartition(".")
    return layer, parameter


def _resnet(key: str) -> str:
    layer, parameter = _split(key)
    return f"{RESNET_PARTS[layer]}.{parameter}"


def _unet_block_key(side: str, block: int, part: str, rest: str, layout: UNetLayout) -> str:
    kind, index, tail = re.fullmatch(r"(\w+)\.(\d+)\.(.*)", f"{part}.{rest}").groups()  # type: ignore[union-attr]
    per_level = layout.down if side == "down" else layout.up
    start = block * (per_level + 1) + 1 if side == "down" else block * per_level
    name = "input_blocks" if side == "down" else "output_blocks"
    if kind == "resnets":
        return f"{name}.{start + int(index)}.0.{_resnet(tail)}"
    if kind == "attentions":
        return f"{name}.{start + int(index)}.1.{tail}"
    if kind == "downsamplers":
        return f"{name}.{start + per_level}.0.op.{_split(tail)[1]}"
    place = 2 if block in layout.up_with_attention else 1
    return f"{name}.{start + per_level - 1}.{place}.{tail}"


class UNetLayout:
    """How many resnets each level of a UNet has, and which up blocks have attention."""

    def __init__(self, state: StateDict) -> None:
        self.down = 1 + max(_numbers(state, r"down_blocks\.\d+\.resnets\.(\d+)\."))
        self.up = 1 + max(_numbers(state, r"up_blocks\.\d+\.resnets\.(\d+)\."))
        self.up_with_attention = set(_numbers(state, r"up_blocks\.(\d+)\.attentions\."))


def _numbers(state: StateDict, pattern: str) -> list[int]:
    return [int(found[1]) for key in state if (found := re.match(pattern, key))]


def unet_keys(state: StateDict) -> StateDict:
    """Rename the tensors of a diffusers UNet."""
    layout = UNetLayout(state)
    return {UNET_PREFIX + _unet_key(key, layout): tensor for key, tensor in state.items()}


def _unet_key(key: str, layout: UNetLayout) -> str:
    layer, parameter = _split(key)
    if layer in UNET_ENDS:
        return f"{UNET_ENDS[layer]}.{parameter}"
    if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(.*)", key):
        side, block, part, rest = found.groups()
        return _unet_block_key(side, int(block), part, rest, layout)
    if found := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.*)", key):
        return f"middle_block.{2 * int(found[1])}.{_resnet(found[2])}"
    if found := re.fullmatch(r"mid_block\.attentions\.0\.(.*)", key):
        return f"middle_block.1.{found[1]}"
    raise KeyError(key)


def vae_keys(state: StateDict) -> StateDict:
    """Rename the tensors of a diffusers VAE; its attention becomes 1 x 1 convolutions."""
    levels = 1 + max(_numbers(state, r"encoder\.down_blocks\.(\d+)\."))
    renamed = {}
    for key, tensor in state.items():
        value = tensor[:, :, None, None] if _is_attention_matrix(key, tensor) else tensor
        renamed[VAE_PREFIX + _vae_key(key, levels)] = value
    return renamed


def _is_attention_matrix(key: str, tensor: Tensor) -> bool:
    return "attentions" in key and tensor.ndim == 2


VAE_RULES: tuple[tuple[str, str], ...] = (
    (r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2"),
    (r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.conv", r"encoder.down.\1.downsample.conv"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def _vae_key(key: str, levels: int) -> str:
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d)\.resnets\.(\d)\.(.*)", key):
        key = f"decoder.up.{levels - 1 - int(found[1])}.block.{found[2]}.{found[3]}"
    elif found := re.fullmatch(r"decoder\.up_blocks\.(\d)\.upsamplers\.0\.conv\.(.*)", key):
        key = f"decoder.up.{levels - 1 - int(found[1])}.upsample.conv.{found[2]}"
    for pattern, replacement in VAE_RULES:
        key = re.sub(pattern, replacement, key)
    return key


def first_encoder_keys(state: StateDict, table: Tensor) -> StateDict:
    """Rename the tensors of the first text encoder; ``table`` is its whole vocabulary."""
    name = "embeddings.token_embedding.weight"
    return {FIRST_PREFIX + key: table if key == name else tensor for key, tensor in state.items()}


SECOND_RULES: tuple[tuple[str, str], ...] = (
    (r"^text_model\.", ""),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^final_layer_norm", "ln_final"),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"self_attn\.", "attn."),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)


def second_encoder_keys(state: StateDict, table: Tensor) -> StateDict:
    """Rename the tensors of the second encoder to OpenCLIP's names, with fused q, k and v."""
    renamed = {
        SECOND_PREFIX + "token_embedding.weight": table,
        SECOND_PREFIX + "text_projection": state["text_projection.weight"].T,
    }
    for key, tensor in state.items():
        if "token_embedding" in key or key == "text_projection.weight":
            continue
        name = key
        for pattern, replacement in SECOND_RULES:
            name = re.sub(pattern, replacement, name)
        if found := re.fullmatch(r"(.*attn\.)q_proj\.(weight|bias)", name):
            parts = [state[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            renamed[f"{SECOND_PREFIX}{found[1]}in_proj_{found[2]}"] = torch.cat(parts)
        elif not re.search(r"attn\.[kv]_proj\.", name):
            renamed[SECOND_PREFIX + name] = tensor
    return renamed


def _part(state: StateDict, prefix: str) -> StateDict:
    return {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }


def _full_table(rows: Tensor, token_ids: list[int]) -> Tensor:
    """Spread trained rows over the whole vocabulary; untrained tokens stay zero."""
    table = torch.zeros(VOCABULARY, rows.shape[1])
    table[token_ids] = rows[1:]
    return table


def checkpoint_of(networks: StateDict, vae: StateDict, token_ids: list[int]) -> StateDict:
    """Collect all tensors of the checkpoint, fp16, under their published names.

    Args:
        networks: State of the training networks: ``pyramid.unet.``, ``text.first.`` and
            ``text.second.``.
        vae: State of the VAE.
        token_ids: The token of each row of the trained embeddings, from row 1 on.
    """
    first, second = _part(networks, "text.first."), _part(networks, "text.second.")
    first_table = _full_table(first["embeddings.token_embedding.weight"], token_ids)
    second_table = _full_table(second["text_model.embeddings.token_embedding.weight"], token_ids)
    tensors = {
        **unet_keys(_part(networks, "pyramid.unet.")),
        **vae_keys(vae),
        **first_encoder_keys(first, first_table),
        **second_encoder_keys(second, second_table),
    }
    return {key: tensor.detach().cpu().half().contiguous() for key, tensor in tensors.items()}


def export(state_path: Path, vae_path: Path, output: Path) -> None:
    """Write the checkpoint; an older file at the place is replaced only by a whole new one."""
    state = torch.load(state_path, map_location="cpu")
    tensors = checkpoint_of(state["averaged"], torch.load(vae_path), state["token_ids"])
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    save_file(tensors, part, metadata=METADATA)
    part.replace(output)


def main() -> None:
    """Read the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.state, arguments.vae, arguments.output)


if __name__ == "__main__":
    main()
