"""The small network that finds what stands out, and its files in the rembg family's signatures.

All files hold the same network; they differ in how large a picture they are given, and how it is
prepared. Knows nothing about drawings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.choices import MaskModel
from fooocus_core.downloads import foreground_file
from tools.layers import Layer
from tools.onnx_export import write_onnx

SIDE = 128  # of the square that the network looks at
WIDTHS = (8, 16, 32, 40, 48)  # of the levels, each half as large as the one before
RIM = 4  # places
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SLOPE = 0.25  # of likelihoods, by scores: from -2 to 2 they go from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a file is given: a square picture, and what its channels were divided by."""

    side: int
    std: tuple[float, float, float] = STD


# Those of the family that mean whatever stands out; others look for people or garments.
SIGNATURES: Mapping[MaskModel, Signature] = {
    MaskModel.U2NET: Signature(side=320),
    MaskModel.U2NETP: Signature(side=320),
    MaskModel.SILUETA: Signature(side=320),
    MaskModel.ISNET_GENERAL_USE: Signature(side=1024, std=(1.0, 1.0, 1.0)),
}


class MaskNetwork(nn.Module):
    """Looks at a picture coarsely and at once, then refines what it has found level by level.

    Beside the colours it is shown how far they are from that of the picture's rim.
    """

    def __init__(self) -> None:
        super().__init__()
        steps = list(zip(WIDTHS, WIDTHS[1:], strict=False))
        self.first = Layer(6, WIDTHS[0])
        self.down = nn.ModuleList(Layer(a, b, stride=2) for a, b in steps)
        self.middle = nn.ModuleList(Layer(WIDTHS[-1], WIDTHS[-1], reach=n) for n in (1, 2, 4))
        self.narrow = nn.ModuleList(nn.Conv2d(b, b // 2, 1) for _, b in reversed(steps))
        self.up = nn.ModuleList(Layer(b // 2 + a, a) for a, b in reversed(steps))
        self.last = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Score places: (B, 3, SIDE, SIDE), 0 to 1 -> (B, 1, SIDE, SIDE), above 0 = found."""
        x = self.first(torch.cat([2 * pixels - 1, pixels - rim_colours(pixels)], dim=1))
        seen = []
        for layer in self.down:
            seen.append(x)
            x = layer(x)
        for layer in self.middle:
            x = x + layer(x)
        for narrow, layer in zip(self.narrow, self.up, strict=True):
            finer = functional.interpolate(narrow(x), scale_factor=2.0, mode="bilinear")
            x = layer(torch.cat([finer, seen.pop()], dim=1))
        scores: Tensor = self.last(x)
        return scores


def rim_colours(pixels: Tensor) -> Tensor:
    """Mean colours of the rims of pictures: (B, 3, H, W) -> (B, 3, 1, 1)."""
    rows = pixels[:, :, :RIM].mean((2, 3)) + pixels[:, :, -RIM:].mean((2, 3))
    columns = pixels[..., :RIM].mean((2, 3)) + pixels[..., -RIM:].mean((2, 3))
    return ((rows + columns) / 4)[..., None, None]


class MaskFile(nn.Module):
    """The network behind the input and output of one of the family's files."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: MaskNetwork, signature: Signature) -> None:
        super().__init__()
        self._network, self._signature = network, signature
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(signature.std).view(1, 3, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Find what stands out: (1, 3, side, side), normalised -> (1, 1, side, side).

        Likelihoods are exactly 0 and 1 where there is no doubt, so that a picture in which nothing
        stands out has an empty mask.
        """
        side = self._signature.side
        scores = self._network(shrink(values * self.std + self.mean, side))
        found = functional.interpolate(scores, (side, side), mode="bilinear")
        return (found * SLOPE + 0.5).clamp(0, 1)


def shrink(pixels: Tensor, side: int) -> Tensor:
    """Average a square picture of a side down to the side that the network looks at."""
    # Areas of which a half is left over are cut into quarters first.
    if side % SIDE:
        pixels, side = functional.interpolate(pixels, scale_factor=2.0, mode="nearest"), 2 * side
    return functional.avg_pool2d(pixels, side // SIDE)


def write_mask_files(network: MaskNetwork, root: Path) -> None:
    """Write a file for each mask model of the family below a models root."""
    network = network.cpu().eval()
    for model, signature in SIGNATURES.items():
        file = foreground_file(model)
        write_onnx(
            MaskFile(network, signature),
            (1, 3, signature.side, signature.side),
            root / file.kind.value / file.name,
            names=("input.1", "d0"),
        )
