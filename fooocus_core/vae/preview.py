"""Small, quick pictures of an unfinished latent.

Knows nothing of the VAE proper; a missing network file only means that there are no previews.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.weight_file import read_weights

_CHANNELS = (4, 8, 16, 32, 64, 32, 16, 8, 3)
_KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
_PADDING = 11
_SLOPE = 0.1


class PreviewNetwork(nn.Module):
    """Eight convolutions from a latent to a small picture.

    Source: lllyasviel/Fooocus 2.5.5, its VAE approximation.
    """

    def __init__(self) -> None:
        super().__init__()
        for number, kernel in enumerate(_KERNELS, start=1):
            convolution = nn.Conv2d(_CHANNELS[number - 1], _CHANNELS[number], kernel)
            self.add_module(f"conv{number}", convolution)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 4, h, w) in the sampler's scale -> (B, 3, 2 h, 2 w), about -1 to 1."""
        x = functional.interpolate(latent, scale_factor=2)
        x = functional.pad(x, (_PADDING,) * 4)
        for convolution in self.children():
            x = functional.leaky_relu(convolution(x), _SLOPE)
        return x

    @torch.no_grad()
    def picture(self, denoised: Tensor) -> NDArray[np.uint8]:
        """Picture of a denoised latent.

        Args:
            denoised: (1, 4, h, w), the sampler's prediction, *not* divided by the latent scale.

        Returns:
            uint8 (2 h, 2 w, 3), truncated.
        """
        weight = next(self.parameters())
        values = (self(denoised.to(weight)).float() * 127.5 + 127.5).nan_to_num(0.0)
        array: NDArray[np.float32] = values[0].permute(1, 2, 0).cpu().numpy()
        return np.clip(array, 0, 255).astype(np.uint8)


def load_preview(path: Path, plan: DevicePlan) -> PreviewNetwork:
    """Load the network from its file.

    Raises:
        ModelFileError: The file is unreadable or not such a network.
    """
    network = PreviewNetwork()
    try:
        network.load_state_dict(dict(read_weights(path).tensors), strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"{path.name} is not a preview network.") from error
    return network.to(plan.device, plan.small).eval().requires_grad_(requires_grad=False)
