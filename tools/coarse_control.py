"""The lower levels of a control net, run alone on coarse latents like those of its UNet.

What a control net adds to its first convolution comes down to a level as a linear function of the
means of it (tools/coarse_unet.py); the residuals of the level are the last ones of the whole
network. Knows nothing about pictures.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.coarse_unet import Example
from tools.guide_lessons import Lesson

HINT_SIZE = 0.5  # root mean square of what stands for a control net's contribution


def coarse_control(network: Any, level: int, inlet: nn.Module) -> Any:
    """Return a control net of the lower levels, sharing its weights with the whole one.

    It takes what is added to its first layer instead of control pictures.

    Args:
        network: A ``ControlNetModel``; with level 0 it stays whole.
        level: Where it begins.
        inlet: First layer of the level.
    """
    view = copy.copy(network)
    view._modules = dict(network._modules)
    view.controlnet_cond_embedding = nn.Identity()
    view.conv_in = inlet
    view.down_blocks = nn.ModuleList(network.down_blocks[level:])
    first = skips_above(network, level)
    view.controlnet_down_blocks = nn.ModuleList(network.controlnet_down_blocks[first:])
    return view


def skips_above(network: Any, level: int) -> int:
    """How many skip connections start above what comes into a level."""
    blocks = network.down_blocks[:level]
    return sum(len(block.resnets) + len(block.downsamplers or ()) for block in blocks)


def with_hint(unet: Any, lesson: Lesson, generator: torch.Generator) -> Example:
    """Make a lesson of level 0 an example with something that a control net might add.

    That is what is shown, mixed into the channels of the UNet's first convolution by chance.
    """
    height, width = lesson.noise.noisy.shape[-2:]
    shown = functional.adaptive_avg_pool2d(lesson.shown.float(), (height, width))
    shown = shown - shown.mean((0, 2, 3), keepdim=True)
    mix = torch.randn(unet.conv_in.out_channels, shown.shape[1], generator=generator).to(shown)
    fields: Tensor = torch.einsum("oc,bchw->bohw", mix, shown)
    fields = fields / fields.square().mean().sqrt().clamp(min=1e-6) * HINT_SIZE
    added = fields.repeat_interleave(len(lesson.noise.noisy) // len(shown), 0)
    return Example(noise=lesson.noise, said=lesson.said, added=added)
