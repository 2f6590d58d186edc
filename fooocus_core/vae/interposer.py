"""The network that carries a latent of SDXL over into the latent space of SD 1.5.

Does not know samplers; latents here are those of the VAEs, not scaled for a UNet.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.weight_file import read_weights

_LATENT_CHANNELS = 4
_CHANNELS = 64
_BLOCKS = 12


class Interposer(nn.Module):
    """A small residual network, latent in, latent out.

    Source: city96/SD-Latent-Interposer version 4.0 (Apache-2.0).
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        # Entry 0 is the resampling between latents of different sizes; from SDXL to SD 1.5 its
        # factor is 1.
        self.core = nn.Sequential(
            nn.Identity(),
            *(_Block() for _ in range(_BLOCKS)),
            nn.BatchNorm2d(_CHANNELS),
            nn.SiLU(),
        )
        self.tail = _convolution(_CHANNELS, _LATENT_CHANNELS)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 4, h, w) of SDXL's VAE -> (B, 4, h, w) of SD 1.5's, both unscaled."""
        result: Tensor = self.tail(self.core(self.head(latent)))
        return result

    @torch.no_grad()
    def convert(self, latent: Tensor) -> Tensor:
        """Carry a latent over, computed on the network's device and in its dtype.

        Args:
            latent: (B, 4, h, w), unscaled latent of SDXL's VAE.

        Returns:
            Unscaled latent of SD 1.5's VAE; shape, device and dtype of ``latent``.
        """
        result: Tensor = self(latent.to(self.tail.weight)).to(latent)
        return result


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short = _convolution(_LATENT_CHANNELS, _CHANNELS)
        self.long = _stack(_LATENT_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.long(x) + self.short(x))


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(_CHANNELS)
        self.long = _stack(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return functional.relu(self.long(x) + x)


def load_interposer(path: Path, plan: DevicePlan) -> Interposer:
    """Load the network from its file.

    Args:
        plan: Device and dtype.

    Raises:
        ModelFileError: The file is unreadable or not such a network.
    """
    network = Interposer()
    try:
        network.load_state_dict(dict(read_weights(path).tensors), strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"{path.name} is not a latent interposer: {error}") from error
    return network.to(plan.device, plan.small).eval().requires_grad_(requires_grad=False)


def _stack(channels: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels, _CHANNELS),
        nn.SiLU(),
        _convolution(_CHANNELS, _CHANNELS),
        nn.SiLU(),
        _convolution(_CHANNELS, _CHANNELS),
    )


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
