"""The tensors of a control-LoRA file for the embedded model, before and after training.

In the published layout: every weight of the encoder half as a low-rank change, its biases and
norms as they are, a hint block, and convolutions that start at zero. The ranks and the hint block's
widths are smaller. Knows nothing about pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fooocus_core.choices import ControlKind
from fooocus_core.loading.control_lora import CONTROL_MARK
from fooocus_core.loading.lora_names import unet_layers
from fooocus_core.loading.weight_file import read_weights
from tools.tiny_model import HIGHWAY

RANK = 12
STAGES = (8, 16, 32, 64)  # of the hint block, from pixels to places of the latent
LAST_GAIN = 0.03
HERE = ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0))
AROUND = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
# The mean of two by two, for a step of two.
HALVING = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]) / 4
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What an untrained control-LoRA does: brighter or darker, by the control picture alone.

    What is taken for noise is lowered in red, green and blue by ``gain`` times what ``kernel``
    gives of the brightness of the control picture, 0.0 to 1.0, less ``middle``; so the picture gets
    brighter there.

    Attributes:
        kernel: :data:`HERE` or :data:`AROUND`, over places of the latent.
        middle: Brightness that changes nothing.
        gain: Of the noise, whose strength is 1.0; below zero, pictures get darker.
    """

    kernel: tuple[tuple[float, ...], ...]
    middle: float
    gain: float


# Edges become broad dark lines, as narrow ones are lost in the noise.
PUSHES = {
    ControlKind.PYRA_CANNY: Push(kernel=AROUND, middle=0.0, gain=-0.4),
    ControlKind.CPDS: Push(kernel=HERE, middle=0.5, gain=0.45),
}


def make_tensors(unet: Any, push: Push, seed: int) -> dict[str, Tensor]:
    """Make tensors that do nothing but push: (names of the file) -> float32.

    The brightness of the control picture goes through the hint block unchanged, as the difference
    of two channels, because silu(x) - silu(-x) = x; halving a side averages it. From there it is
    written where the first convolution of the UNet writes nothing, and read from there by the first
    of the zero convolutions. That is one skip connection of the UNet's last block, which turns it
    into a prediction (tools/tiny_model.py).
    """
    generator = torch.Generator().manual_seed(seed)
    free, kernel = unused_direction(unet), torch.tensor(push.kernel)
    answer = push.gain * darkening(unet)
    return {
        **_changes(unet, generator),
        **_hint_block(free, kernel, generator),
        **_zero_convolutions(unet),
        "zero_convs.0.0.weight": -torch.outer(answer, free)[..., None, None],
        "zero_convs.0.0.bias": answer * push.middle * float(kernel.sum()),
    }


def unused_direction(unet: Any) -> Tensor:
    """A unit vector over the channels, (C,), along which the first convolution writes nothing."""
    first = unet.conv_in
    used = torch.cat([first.weight.detach().flatten(1), first.bias.detach()[:, None]], 1)
    directions, _, _ = torch.linalg.svd(used.float().cpu(), full_matrices=True)
    return directions[:, used.shape[1]]


def darkening(unet: Any) -> Tensor:
    """What to add to the outermost skip connection, (C,), to raise the noise of R, G and B by 1."""
    shortcut = unet.up_blocks[-1].resnets[-1].conv_shortcut.weight.detach().float().cpu()
    skip = shortcut[0 : 2 * HIGHWAY : 2, -unet.config.block_out_channels[0] :, 0, 0]
    return torch.linalg.pinv(skip) @ torch.tensor([1.0, 1.0, 1.0, 0.0])


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


def _hint_block(free: Tensor, kernel: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    widths = [3, STAGES[0]]
    for stage, following in zip(STAGES, STAGES[1:], strict=False):
        widths += [stage, following]
    tensors = {}
    for index, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        # Keeps the strength of what passes through SiLU, roughly.
        weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * math.sqrt(2 / 9 / inputs)
        halves = index > 0 and index % 2 == 0
        _carry_brightness(weight, HALVING if halves else torch.tensor(HERE))
        tensors[f"input_hint_block.{2 * index}.weight"] = weight
        tensors[f"input_hint_block.{2 * index}.bias"] = torch.zeros(outputs)
    last = torch.randn(len(free), widths[-1], 3, 3, generator=generator) * LAST_GAIN
    last -= torch.einsum("c,d,dikl->cikl", free, free, last)
    for channel, sign in enumerate((1.0, -1.0)):
        last[:, channel] = sign * free[:, None, None] * kernel
    name = f"input_hint_block.{2 * (len(widths) - 1)}"
    return {**tensors, f"{name}.weight": last, f"{name}.bias": torch.zeros(len(free))}


def _carry_brightness(weight: Tensor, kernel: Tensor) -> None:
    """Make the first two rows give the mean of the input's colours, or the difference of its first
    two channels, and its negative."""
    inputs = weight.shape[1]
    read = torch.full((3,), 1 / 3) if inputs == 3 else torch.tensor([1.0, -1.0])
    weight[:2] = 0
    for channel, sign in enumerate((1.0, -1.0)):
        weight[channel, : len(read)] = sign * read[:, None, None] * kernel


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a control-LoRA: (names of the file) -> float32, without its mark."""
    tensors = read_weights(path).tensors
    return {name: tensor.float() for name, tensor in tensors.items() if name != CONTROL_MARK}


def write_file(tensors: Mapping[str, Tensor], output: Path) -> None:
    """Write a control-LoRA, fp16; an older file is replaced by a whole one."""
    content = {name: tensor.detach().cpu().half() for name, tensor in tensors.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    save_file({CONTROL_MARK: torch.zeros(0).half(), **content}, part)
    part.replace(output)
