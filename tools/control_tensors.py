"""The tensors of a control-LoRA file for the embedded model, before and after training.

In the published layout: every weight of the encoder half as a low-rank change, its biases and
norms as they are, a hint block, and convolutions that start at zero. The ranks and the hint block's
widths are smaller. Knows nothing about pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fooocus_core.loading.control_lora import CONTROL_MARK
from fooocus_core.loading.lora_names import unet_layers

RANK = 12
STAGES = (8, 16, 32, 64)  # of the hint block, from pixels to places of the latent
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")


def make_tensors(unet: Any, seed: int) -> dict[str, Tensor]:
    """Make tensors that leave the UNet as it is: (names of the file) -> float32."""
    generator = torch.Generator().manual_seed(seed)
    return {
        **_changes(unet, generator),
        **_hint_block(unet.config.block_out_channels[0], generator),
        **_zero_convolutions(unet),
    }


def _changes(unet: Any, generator: torch.Generator) -> dict[str, Tensor]:
    parameters = {name: parameter.detach() for name, parameter in unet.named_parameters()}
    tensors = {}
    for original, layer in unet_layers(unet):
        if not original.startswith(ENCODER):
            continue
        if (bias := parameters.get(f"{layer}.bias")) is not None:
            tensors[f"{original}.bias"] = bias.clone()
        if (weight := parameters.get(f"{layer}.weight")) is None:
            continue
        if weight.ndim == 1:
            tensors[f"{original}.weight"] = weight.clone()
            continue
        rank = min(RANK, *weight.shape[:2])
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        tensors[f"{original}.down"] = down / math.sqrt(down[0].numel())
        tensors[f"{original}.up"] = torch.zeros(len(weight), rank, *(1,) * (weight.ndim - 2))
    return tensors


def _hint_block(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    widths = [3, STAGES[0]]
    for stage, following in zip(STAGES, STAGES[1:], strict=False):
        widths += [stage, following]
    widths.append(width)
    tensors = {}
    for index, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
        # Keeps the strength of what passes through SiLU, roughly.
        tensors[f"input_hint_block.{2 * index}.weight"] = weight * math.sqrt(2 / (9 * inputs))
        tensors[f"input_hint_block.{2 * index}.bias"] = torch.zeros(outputs)
    return tensors


def _zero_convolutions(unet: Any) -> dict[str, Tensor]:
    widths = [unet.config.block_out_channels[0]]
    for block in unet.down_blocks:
        outputs = block.resnets[0].out_channels
        widths += [outputs] * (len(block.resnets) + len(block.downsamplers or ()))
    names = [f"zero_convs.{index}.0" for index in range(len(widths))]
    tensors = {}
    for name, width in zip([*names, "middle_block_out.0"], [*widths, widths[-1]], strict=True):
        tensors[f"{name}.weight"] = torch.zeros(width, width, 1, 1)
        tensors[f"{name}.bias"] = torch.zeros(width)
    return tensors


def write_file(tensors: Mapping[str, Tensor], output: Path) -> None:
    """Write a control-LoRA, fp16; an older file is replaced by a whole one."""
    content = {name: tensor.detach().cpu().half() for name, tensor in tensors.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    save_file({CONTROL_MARK: torch.zeros(0).half(), **content}, part)
    part.replace(output)
