"""The lower levels of a UNet and of its control net, run alone on coarse latents.

Averages of a noisy latent over blocks of s x s places are a coarser picture under noise of 1/s the
strength (tools/tiny_model.py), so lower levels can be taught there, at a fraction of the time. A
checkpoint does not tell how they are fed and read alone. Both are found by least squares: what
reaches a level as a linear function of the means of the latent and of what a control net adds to
it, and the noise as one of what the level hands up. Knows nothing about pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.image_prompt_lessons import Lesson
from tools.latents import loss_weight

LATENT = 4  # channels
RIDGE = 1e-3  # of the mean square of what is read
HINT_SIZE = 0.5  # root mean square of what stands for a control net's contribution


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ports:
    """How a level is fed and read when it runs alone; all are convolutions of one place.

    Attributes:
        latent: (B, 4, h, w) -> (B, C, h, w), means of the scaled noisy latent.
        hint: (B, C', h, w) -> (B, C, h, w), means of what is added to the first convolution.
        outlet: (B, C + 4, h, w) -> (B, 4, h, w), what the level hands up, and the latent, to the
            noise times 2**level.
    """

    latent: nn.Conv2d
    hint: nn.Conv2d
    outlet: nn.Conv2d


def coarse_unet(unet: Any, level: int, ports: Ports) -> Any:
    """Return a UNet of the lower levels, sharing its weights with the whole one.

    It takes latents of the level and returns what its uppermost level hands up.
    """
    view = _view(unet)
    view.conv_in = ports.latent
    view.down_blocks = nn.ModuleList(unet.down_blocks[level:])
    *blocks, last = unet.up_blocks[: len(unet.up_blocks) - level]
    last = _view(last)
    last.upsamplers = None
    view.up_blocks = nn.ModuleList([*blocks, last])
    view.conv_norm_out, view.conv_out = None, nn.Identity()
    return view


def coarse_control(network: Any, level: int, ports: Ports | None) -> Any:
    """Return a control net of the lower levels, sharing its weights with the whole one.

    It takes what is added to its first layer instead of control pictures; its residuals are the
    last ones of the whole network. Level 0 is the whole one and needs no ports.
    """
    view = _view(network)
    view.controlnet_cond_embedding = nn.Identity()
    if ports is not None:
        view.conv_in = ports.latent
    view.down_blocks = nn.ModuleList(network.down_blocks[level:])
    first = skips_above(network, level)
    view.controlnet_down_blocks = nn.ModuleList(network.controlnet_down_blocks[first:])
    return view


def skips_above(network: Any, level: int) -> int:
    """How many skip connections start above what comes into a level."""
    blocks = network.down_blocks[:level]
    return sum(len(block.resnets) + len(block.downsamplers or ()) for block in blocks)


@torch.no_grad()
def find_ports(unet: Any, level: int, lessons: Iterable[Lesson]) -> Ports:
    """Find how a level is fed and read, on lessons of level 0; their choice decides the result."""
    watch, inlet, outlet = _Watch(unet, level), _Fit(), _Fit()
    for number, lesson in enumerate(lessons):
        added = _random_fields(unet, lesson, torch.Generator().manual_seed(number))
        latent = functional.avg_pool2d(lesson.noise.noisy, 2**level)
        with watch.adding(added):
            unet(*lesson.latents, **lesson.prompts)
        inlet.add(watch.came, latent, functional.avg_pool2d(added, 2**level))
        with watch.adding(torch.zeros_like(added)):
            unet(*lesson.latents, **lesson.prompts)
        target = functional.avg_pool2d(lesson.noise.target, 2**level).to(latent) * 2**level
        weight = loss_weight(lesson.noise.sigma, level).sqrt().view(-1, 1, 1, 1).to(latent)
        outlet.add(target, watch.handed, latent, weight=weight)
    weights, bias = inlet.solve()
    return Ports(
        latent=_convolution(weights[:, :LATENT], bias),
        hint=_convolution(weights[:, LATENT:], torch.zeros_like(bias)),
        outlet=_convolution(*outlet.solve()),
    )


class _Fit:
    """Least squares over the places of pictures."""

    def __init__(self) -> None:
        self._given: list[Tensor] = []
        self._wanted: list[Tensor] = []

    def add(self, wanted: Tensor, *given: Tensor, weight: Tensor | None = None) -> None:
        """Add pictures: (B, C, h, w) each; ``weight`` is one factor per picture."""
        ones = torch.ones_like(wanted[:, :1])
        factor = ones if weight is None else ones * weight
        self._given.append(_rows(torch.cat([*given, ones], 1) * factor))
        self._wanted.append(_rows(wanted * factor))

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return the weights (wanted, given), held small by a ridge, and the constants (wanted)."""
        given, wanted = torch.cat(self._given), torch.cat(self._wanted)
        square = given.T @ given
        ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square)).to(square)
        solved: Tensor = torch.linalg.solve(square + ridge, given.T @ wanted)
        return solved[:-1].T, solved[-1]


@dataclass(slots=True, eq=False)
class _Watch:
    """Sees what reaches a level and what it hands up while the whole UNet runs."""

    unet: Any
    level: int
    came: Tensor = field(init=False)
    handed: Tensor = field(init=False)

    @contextmanager
    def adding(self, values: Tensor) -> Iterator[None]:
        """Watch, and add values to what the first convolution puts out, in a ``with`` block."""
        blocks = self.unet.up_blocks
        last = blocks[len(blocks) - 1 - self.level].resnets[-1]
        hooks = [
            self.unet.conv_in.register_forward_hook(lambda *seen: seen[-1] + values),
            self.unet.down_blocks[self.level].resnets[0].register_forward_pre_hook(self._come),
            last.register_forward_hook(self._hand),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _come(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.came = inputs[0]

    def _hand(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self.handed = output


def _random_fields(unet: Any, lesson: Lesson, generator: torch.Generator) -> Tensor:
    """What a control net might add: its own picture's features, mixed anew for each lesson."""
    height, width = lesson.noise.noisy.shape[-2:]
    shown = functional.adaptive_avg_pool2d(lesson.shown.float(), (height, width))
    shown = shown - shown.mean((0, 2, 3), keepdim=True)
    mix = torch.randn(unet.conv_in.out_channels, shown.shape[1], generator=generator).to(shown)
    fields = torch.einsum("oc,bchw->bohw", mix, shown)
    fields = fields / fields.square().mean().sqrt().clamp(min=1e-6) * HINT_SIZE
    return fields.repeat_interleave(len(lesson.noise.noisy) // len(shown), 0)


def _rows(values: Tensor) -> Tensor:
    """Places as rows: (B, C, h, w) -> (B h w, C) float64."""
    return values.movedim(1, -1).flatten(0, -2).double()


def _convolution(weights: Tensor, constants: Tensor) -> nn.Conv2d:
    layer: Any = nn.Conv2d(weights.shape[1], weights.shape[0], 1).to(weights.device)
    layer.weight.copy_(weights[..., None, None])
    layer.bias.copy_(constants)
    return layer.requires_grad_(requires_grad=False)  # type: ignore[no-any-return]


def _view(module: Any) -> Any:
    """A copy of a module whose parts can be exchanged without touching the module."""
    view = copy.copy(module)
    view._modules = dict(module._modules)
    return view
