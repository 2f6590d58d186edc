"""A finished UNet whose lower levels run alone on coarse latents, as they did in its training.

What the first layer of a level saw then (tools/tiny_model.py) is not in the checkpoint. It is found
again by least squares: of what comes down to that level in the whole UNet, the part that coarse
latents explain. Knows neither what is trained nor on which pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tools.latents import NoisyBatch
from tools.tiny_model import Conditioning, Pyramid

TAPS = 3  # places of a side that an inlet looks at
RIDGE = 1e-4

Example = tuple[NoisyBatch, Conditioning]


class CoarseUNet:
    """A frozen UNet, whole or from a level down, for weights that are given in each call."""

    def __init__(self, unet: Any, device: str) -> None:
        self.pyramid = Pyramid()
        self.pyramid.unet = unet
        self.pyramid.requires_grad_(requires_grad=False).to(device)
        self.device = device

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
        changed = {f"unet.{name}": weight for name, weight in (weights or {}).items()}
        given = latent.to(self.device), timestep.to(self.device), self._moved(conditioning)
        with torch.autocast(self.device, torch.bfloat16):
            output: Tensor = functional_call(self.pyramid, changed, given, {"level": level})
        return output.float().cpu()

    @torch.no_grad()
    def fit_inlet(self, level: int, examples: Iterable[Example]) -> float:
        """Find the first layer of a level.

        Args:
            level: At least 1.
            examples: Noisy latents of whole pictures.

        Returns:
            The share of what comes down to the level that the layer explains, at most 1.0.
        """
        size = 2**level
        seen: list[Tensor] = []
        first = self.unet.down_blocks[level].resnets[0]
        handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        inputs = []
        for noise, conditioning in examples:
            self(noise.noisy, noise.timestep, conditioning, level=0)
            inputs.append(_rows(_patches(functional.avg_pool2d(noise.noisy, size))))
        handle.remove()
        given, wanted = torch.cat(inputs), torch.cat([_rows(x.float().cpu()) for x in seen])
        solved = _solve(given, wanted)
        self.pyramid.inlets[str(level)] = _inlet(solved).to(self.device)
        left = (wanted - given @ solved).square().sum()
        return 1.0 - float(left / (wanted - wanted.mean(0)).square().sum())

    def _moved(self, conditioning: Conditioning) -> Conditioning:
        return Conditioning(
            context=conditioning.context.to(self.device),
            pooled=conditioning.pooled.to(self.device),
            size_numbers=conditioning.size_numbers.to(self.device),
        )


def _patches(latent: Tensor) -> Tensor:
    """What a convolution sees of each place, and a constant: (B, 4 * TAPS**2 + 1, h, w)."""
    count, _, height, width = latent.shape
    patches = functional.unfold(latent, TAPS, padding=TAPS // 2).view(count, -1, height, width)
    return torch.cat([patches, torch.ones(count, 1, height, width)], 1)


def _rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(0, 2)


def _solve(given: Tensor, wanted: Tensor) -> Tensor:
    """Weights, (inputs, outputs), held small by a ridge relative to each input."""
    left = given.T @ given
    ridge = RIDGE * torch.diag(left.diagonal())
    solved: Tensor = torch.linalg.solve(left + ridge, given.T @ wanted)
    return solved


def _inlet(solved: Tensor) -> nn.Conv2d:
    inlet = nn.Conv2d(4, solved.shape[1], TAPS, padding=TAPS // 2)
    inlet.weight.copy_(solved[:-1].T.view_as(inlet.weight))
    assert inlet.bias is not None
    inlet.bias.copy_(solved[-1])
    return inlet.requires_grad_(requires_grad=False)
