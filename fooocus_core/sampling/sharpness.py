"""The sharpness filter: smooths the predicted noise where the picture behind it is smooth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_RADIUS = 6
_SPACE_SIGMA = 3.0
_COLOUR_SIGMA = 3.0
_STRENGTH_PER_UNIT = 0.001


def soften(noise: Tensor, guide: Tensor, *, sharpness: float, progress: float) -> Tensor:
    """Blend the positive noise prediction with its filtered self.

    Less noise in smooth places leaves more texture there, hence the name of the setting.

    Args:
        noise: Positive prediction ``x - denoised``, (B, 4, h, w) float32, any size.
        guide: The denoised latent it belongs to, same shape.
        sharpness: 0.0 returns ``noise``; 2.0 is usual, 30.0 much.
        progress: 0.0 at the first timestep, 1.0 at the last.

    Returns:
        Shape and dtype of ``noise``.

    Source:
        lllyasviel/Fooocus, modules/patch.py.
    """
    weight = _STRENGTH_PER_UNIT * sharpness * progress
    if weight == 0.0:
        return noise
    return bilateral(noise, guide) * weight + noise * (1 - weight)


def bilateral(x: Tensor, guide: Tensor) -> Tensor:
    """Average ``x`` over a 13 x 13 window, weighted by nearness in place and in the guide.

    The guide is normalised per sample by its mean and unbiased standard deviation over all
    channels and places. The distance in the guide is ``(sum over channels of |difference|)^2``;
    both weights are Gaussian with sigma 3; borders are reflected, those of latents too small to be
    reflected by 6 places are repeated.

    Args:
        x: (B, 4, h, w) float32.
        guide: Same shape.

    Returns:
        Shape and dtype of ``x``.

    Source:
        Bilateral filter: Tomasi and Manduchi, ICCV 1998; guided form and constants are those of
        lllyasviel/Fooocus 2.5.5.
    """
    height, width = x.shape[-2:]
    spread, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    guide = (guide - mean) / (spread + 1e-5)
    padding = (_RADIUS,) * 4
    mode = "reflect" if min(height, width) > _RADIUS else "replicate"
    x_padded = functional.pad(x, padding, mode=mode)
    guide_padded = functional.pad(guide, padding, mode=mode)
    total = torch.zeros_like(x)
    total_weight = torch.zeros_like(x[:, :1])
    # One row of the window at a time: few enough calls for a GPU, little enough memory for a CPU.
    for row, weights in enumerate(space_kernel().to(x)):
        lines = slice(row, row + height)
        distance = _windows(guide_padded[..., lines, :], width) - guide.unsqueeze(2)
        distance = distance.abs_().sum(dim=1, keepdim=True).square_()
        weight = distance.mul_(-0.5 / _COLOUR_SIGMA**2).exp_().mul_(weights.view(-1, 1, 1))
        total += (_windows(x_padded[..., lines, :], width) * weight).sum(dim=2)
        total_weight += weight.sum(dim=2)
    return total / total_weight


def _windows(lines: Tensor, width: int) -> Tensor:
    """Views of padded lines, one per column of the window: (B, C, 13, h, width)."""
    return lines.unfold(-1, width, 1).movedim(-2, 2)


def space_kernel() -> Tensor:
    """Weights by place, (13, 13) float32, summing to 1."""
    places = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float32)
    line = (-0.5 * (places / _SPACE_SIGMA) ** 2).exp()
    line = line / line.sum()
    return line[:, None] * line[None, :]
