"""Constructs the control-LoRAs of the embedded model, for edges and for CPDS.

They have the published layout, but are not trained: the brightness of the control picture moves
what the UNet takes for noise, and so the picture, place by place. The hint block carries the
brightness through as the difference of two channels, because silu(x) - silu(-x) = x; halving a side
averages it. Its last layer writes it where the first convolution of the UNet writes nothing, and
the first of the zero convolutions reads it there. What that gives goes to a skip connection of the
UNet's last block, which turns it into a prediction (tools/tiny_model.py). The low-rank changes and
the other zero convolutions are nought. Knows nothing about pictures.

    python -m tools.tiny_control --output FOLDER
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.lora_names import unet_layers
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from tools.tiny_model import HIGHWAY
from tools.train_tiny_inpaint import CHECKPOINT

MARK = "lora_controlnet"
ENCODER = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
HINT_LAYERS = 8
# The mean of two by two, for a step of two; the loader's networks halve in these layers.
HALVING = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]) / 4
HALVING_LAYERS = (2, 4, 6)
HERE = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
AROUND = torch.ones(3, 3)
PAIR = torch.tensor([1.0, -1.0])

StateDict = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Push:
    """What a control-LoRA does.

    What is taken for noise is lowered in red, green and blue by ``gain`` times what ``kernel``
    gives of the brightness of the control picture less ``middle``; so the picture gets brighter
    there.

    Attributes:
        kernel: (3, 3), over places of the latent.
        middle: Brightness that changes nothing, 0.0 to 1.0.
        gain: Of the noise, whose strength is 1.0; below zero, pictures get darker.
    """

    kernel: Tensor
    middle: float
    gain: float


# Edges become broad dark lines; narrow ones are lost in the noise that samplers add.
PUSHES = {
    ControlKind.PYRA_CANNY: Push(kernel=AROUND, middle=0.0, gain=-0.4),
    ControlKind.CPDS: Push(kernel=HERE, middle=0.5, gain=0.45),
}


def make_tensors(unet: Any, push: Push) -> StateDict:
    """Make the tensors of a control-LoRA for a UNet: (names of the file) -> float32."""
    free = unused_direction(unet)
    answer = push.gain * darkening(unet)
    return {
        MARK: torch.zeros(0),
        **_changes(unet),
        **_hint_block(free, push.kernel),
        **_zero_convolutions(unet),
        "zero_convs.0.0.weight": -torch.outer(answer, free)[..., None, None],
        "zero_convs.0.0.bias": answer * push.middle * float(push.kernel.sum()),
    }


def unused_direction(unet: Any) -> Tensor:
    """A unit vector over the channels, (C,), along which the first convolution writes nothing."""
    first = unet.conv_in
    used = torch.cat([first.weight.detach().flatten(1), first.bias.detach()[:, None]], 1)
    directions, _, _ = torch.linalg.svd(used.float(), full_matrices=True)
    free: Tensor = directions[:, used.shape[1]]
    return free


def darkening(unet: Any) -> Tensor:
    """What to add to the outermost skip connection, (C,), to raise the noise of R, G and B by 1."""
    shortcut = unet.up_blocks[-1].resnets[-1].conv_shortcut.weight.detach().float()
    skip = shortcut[0 : 2 * HIGHWAY : 2, -unet.config.block_out_channels[0] :, 0, 0]
    answer: Tensor = torch.linalg.pinv(skip) @ torch.tensor([1.0, 1.0, 1.0, 0.0])
    return answer


def _changes(unet: Any) -> StateDict:
    """No change of the encoder's weights, and its biases and norms as they are."""
    parameters = {name: parameter.detach().float() for name, parameter in unet.named_parameters()}
    tensors: StateDict = {}
    for original, layer in unet_layers(unet):
        if not original.startswith(ENCODER):
            continue
        if (bias := parameters.get(f"{layer}.bias")) is not None:
            tensors[f"{original}.bias"] = bias
        weight = parameters.get(f"{layer}.weight")
        if weight is not None and weight.ndim == 1:
            tensors[f"{original}.weight"] = weight
        elif weight is not None:
            tensors[f"{original}.down"] = torch.zeros(1, *weight.shape[1:])
            tensors[f"{original}.up"] = torch.zeros(len(weight), 1, *(1,) * (weight.ndim - 2))
    return tensors


def _hint_block(free: Tensor, kernel: Tensor) -> StateDict:
    taps = [HALVING if index in HALVING_LAYERS else HERE for index in range(HINT_LAYERS - 1)]
    tensors: StateDict = {}
    for index, tap in enumerate([*taps, kernel]):
        reads = torch.full((3,), 1 / 3) if index == 0 else PAIR
        writes = free if index == len(taps) else PAIR
        weight = torch.einsum("o,i,kl->oikl", writes, reads, tap)
        tensors[f"input_hint_block.{2 * index}.weight"] = weight
        tensors[f"input_hint_block.{2 * index}.bias"] = torch.zeros(len(writes))
    return tensors


def _zero_convolutions(unet: Any) -> StateDict:
    widths = [unet.config.block_out_channels[0]]
    for block in unet.down_blocks:
        outputs = block.resnets[0].out_channels
        widths += [outputs] * (len(block.resnets) + len(block.downsamplers or ()))
    layers = {f"zero_convs.{index}.0": width for index, width in enumerate(widths)}
    layers["middle_block_out.0"] = widths[-1]
    tensors: StateDict = {}
    for name, width in layers.items():
        tensors[f"{name}.weight"] = torch.zeros(width, width, 1, 1)
        tensors[f"{name}.bias"] = torch.zeros(width)
    return tensors


def write_files(unet: Any, folder: Path) -> None:
    """Write a control-LoRA of each kind, fp16; an older file is replaced by a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, push in PUSHES.items():
        tensors = {name: x.half().contiguous() for name, x in make_tensors(unet, push).items()}
        path = folder / CONTROL_FILES[kind].name
        part = path.with_suffix(".part")
        save_file(tensors, part)
        part.replace(path)


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the files")
    arguments = parser.parse_args()
    checkpoint = build_checkpoint(read_weights(CHECKPOINT), plan_device(None, DeviceOptions()))
    write_files(checkpoint.unet, arguments.output)


if __name__ == "__main__":
    main()
