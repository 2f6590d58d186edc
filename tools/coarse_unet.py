"""A finished UNet whose lower levels run alone on coarse latents, as they did in its training.

What the first layer of a level saw then (tools/tiny_model.py) is not in the checkpoint. It is found
again by least squares: of what comes down to that level in the whole UNet, the part that coarse
latents explain, and what is added to the first convolution. Knows neither what is trained nor on
which pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tools.latents import NoisyBatch
from tools.tiny_model import Conditioning, Pyramid

TAPS = 3  # places of a side that an inlet looks at
INLET_INPUTS = 4 * TAPS**2 + 1
RIDGE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """Noisy latents of whole pictures, and what a UNet is told of them.

    Attributes:
        noise: Of level 0.
        said: As many.
        added: What is added to the first convolution, (B, C, h, w), if anything.
    """

    noise: NoisyBatch
    said: Conditioning
    added: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """How what comes down to a level was found again.

    Attributes:
        explained: The share of it that is, at most 1.0.
        carried: Takes means of what is added to the first convolution to what it adds there, if
            anything was added: (B, C, h, w) -> (B, C', h, w).
    """

    explained: float
    carried: nn.Conv2d | None


def frozen_pyramid(unet: Any) -> Pyramid:
    """Take a UNet whose levels run alone once their inlets are found; it keeps its weights."""
    pyramid = Pyramid()
    pyramid.unet, pyramid.inlets = unet, nn.ModuleDict()
    return pyramid.requires_grad_(requires_grad=False).to(unet.device)


@torch.no_grad()
def fit_inlet(pyramid: Pyramid, level: int, examples: Iterable[Example]) -> Fit:
    """Find the first layer of a level and put it in its place.

    Args:
        pyramid: From :func:`frozen_pyramid`.
        level: At least 1.
        examples: All with something added, or none.
    """
    unet, factor = pyramid.unet, 2**level
    seen: list[Tensor] = []
    first = unet.down_blocks[level].resnets[0]
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    inputs = []
    for example in examples:
        noise, device = example.noise, unet.device
        latent, timestep = noise.noisy.to(device), noise.timestep.to(device)
        given = [_patches(functional.avg_pool2d(latent, factor))]
        with torch.autocast(device.type, torch.bfloat16), _adding(unet.conv_in, example.added):
            pyramid(latent, timestep, example.said.to(device))
        if example.added is not None:
            given.append(functional.avg_pool2d(example.added.to(device), factor))
        inputs.append(_rows(torch.cat(given, 1)))
    handle.remove()
    known, wanted = torch.cat(inputs), torch.cat([_rows(x.float()) for x in seen])
    solved = _solve(known, wanted)
    pyramid.inlets[str(level)] = _inlet(solved[:INLET_INPUTS])
    left = (wanted - known @ solved).square().sum()
    return Fit(
        explained=1.0 - float(left / (wanted - wanted.mean(0)).square().sum()),
        carried=_carrier(solved[INLET_INPUTS:]) if len(solved) > INLET_INPUTS else None,
    )


class CoarseUNet:
    """A frozen UNet, whole or from a level down, for weights that are given in each call."""

    def __init__(self, unet: Any) -> None:
        self.pyramid = frozen_pyramid(unet)

    @property
    def unet(self) -> Any:
        """The whole UNet."""
        return self.pyramid.unet

    def __call__(
        self,
        latent: Tensor,
        timestep: Tensor,
        conditioning: Conditioning,
        *,
        level: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Predict the noise of scaled latents at a level, times 2**level: (B, 4, h, w) float32.

        Args:
            latent: (B, 4, h, w) on the CPU, as is what comes back.
            timestep: (B,).
            conditioning: On the CPU, too.
            level: Where the UNet begins.
            weights: Weights of the UNet, by parameter name, in place of its own.
        """
        device = self.unet.device
        changed = {f"unet.{name}": weight for name, weight in (weights or {}).items()}
        given = latent.to(device), timestep.to(device), conditioning.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            output: Tensor = functional_call(self.pyramid, changed, given, {"level": level})
        return output.float().cpu()


@contextmanager
def _adding(layer: nn.Module, values: Tensor | None) -> Iterator[None]:
    """Add values to what a layer puts out in a ``with`` block."""
    if values is None:
        yield
        return
    hook = layer.register_forward_hook(lambda *seen: seen[-1] + values.to(seen[-1]))
    try:
        yield
    finally:
        hook.remove()


def _patches(latent: Tensor) -> Tensor:
    """What a convolution sees of each place, and a constant: (B, INLET_INPUTS, h, w)."""
    count, _, height, width = latent.shape
    patches = functional.unfold(latent, TAPS, padding=TAPS // 2).view(count, -1, height, width)
    return torch.cat([patches, torch.ones_like(patches[:, :1])], 1)


def _rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, 2)


def _solve(given: Tensor, wanted: Tensor) -> Tensor:
    """Weights, (inputs, outputs), held small by a ridge relative to each input."""
    left = given.T @ given
    ridge = RIDGE * torch.diag(left.diagonal())
    solved: Tensor = torch.linalg.solve(left + ridge, given.T @ wanted)
    return solved


def _inlet(solved: Tensor) -> nn.Conv2d:
    inlet = nn.Conv2d(4, solved.shape[1], TAPS, padding=TAPS // 2).to(solved.device)
    inlet.weight.copy_(solved[:-1].T.view_as(inlet.weight))
    assert inlet.bias is not None
    inlet.bias.copy_(solved[-1])
    return inlet.requires_grad_(requires_grad=False)


def _carrier(solved: Tensor) -> nn.Conv2d:
    inputs, outputs = solved.shape
    carrier = nn.Conv2d(inputs, outputs, 1, bias=False).to(solved.device)
    carrier.weight.copy_(solved.T[..., None, None])
    return carrier.requires_grad_(requires_grad=False)
