"""FreeU version 2: less of the skip connections' low frequencies, more of the backbone.

Does not know whether the UNet it is attached to is a base or a refiner; only a base gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fooocus_core.params import FreeUParams


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeU:
    """FreeU with given scales, as a change to attach to a UNet."""

    params: FreeUParams

    @contextmanager
    def attached(self, unet: Any) -> Iterator[None]:
        """Rescale what enters the residual blocks of the decoder of a ``UNet2DConditionModel``.

        Acts where the hidden state has four times (``b1``, ``s1``) or twice (``b2``, ``s2``) the
        channels of the first level. diffusers' own FreeU is version 1, another formula.
        """
        width = unet.conv_in.out_channels
        scales = {
            4 * width: (self.params.b1, self.params.s1),
            2 * width: (self.params.b2, self.params.s2),
        }
        handles = [
            resnet.register_forward_pre_hook(_rescaling(channels, *scales[channels]))
            for resnet, channels in _decoder_resnets(unet)
            if channels in scales
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def scale_backbone(hidden: Tensor, scale: float) -> Tensor:
    """Amplify the first half of the channels where the mean over channels is high.

    Args:
        hidden: Hidden state of the decoder, (B, C, h, w).
        scale: Factor at the position of the highest mean; 1.0 is neutral.

    Returns:
        Shape and dtype of ``hidden``.

    Source:
        arXiv:2309.11497, section 3.3; the map of means is that of version 2 of its code.
    """
    mean = hidden.mean(dim=1, keepdim=True)
    lowest = mean.amin(dim=(2, 3), keepdim=True)
    highest = mean.amax(dim=(2, 3), keepdim=True)
    factor = (scale - 1.0) * ((mean - lowest) / (highest - lowest)) + 1.0
    half = hidden.shape[1] // 2
    return torch.cat([hidden[:, :half] * factor, hidden[:, half:]], dim=1)


def scale_low_frequencies(skip: Tensor, scale: float) -> Tensor:
    """Multiply the lowest frequencies of a skip connection.

    Args:
        skip: (B, C, h, w).
        scale: Factor on the 2x2 lowest frequencies; 1.0 is neutral.

    Returns:
        Shape and dtype of ``skip``; the transform is computed in float32.

    Source:
        arXiv:2309.11497, section 3.3, equations 4 to 6.
    """
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
    row, column = skip.shape[-2] // 2, skip.shape[-1] // 2
    spectrum[..., row - 1 : row + 1, column - 1 : column + 1] *= scale
    filtered: Tensor = torch.fft.ifftn(
        torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)
    ).real
    return filtered.to(skip.dtype)


def _decoder_resnets(unet: Any) -> Iterator[tuple[nn.Module, int]]:
    channels = unet.mid_block.resnets[-1].out_channels
    for block in unet.up_blocks:
        for resnet in block.resnets:
            yield resnet, channels
            channels = resnet.out_channels


def _rescaling(
    channels: int, backbone_scale: float, skip_scale: float
) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def rescale(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001
        joined, *rest = args
        hidden = scale_backbone(joined[:, :channels], backbone_scale)
        skip = scale_low_frequencies(joined[:, channels:], skip_scale)
        return (torch.cat([hidden, skip], dim=1), *rest)

    return rescale
