"""The building block of small networks that look at pictures.

Knows neither the networks nor the pictures.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

GROUP = 8  # channels that are brought to a common scale together


class Layer(nn.Module):
    """A convolution of 3 x 3 places, made alike over pictures, and cut off below zero."""

    def __init__(self, given: int, width: int, *, stride: int = 1, reach: int = 1) -> None:
        """Start with fresh weights.

        Args:
            given: Channels that come in.
            width: Channels that go out, a multiple of ``GROUP``.
            stride: Places between those that are looked at.
            reach: Places between the taps.
        """
        super().__init__()
        self.taps = nn.Conv2d(
            given, width, 3, stride=stride, padding=reach, dilation=reach, bias=False
        )
        self.level = nn.GroupNorm(width // GROUP, width)

    def forward(self, x: Tensor) -> Tensor:
        """Look: (B, given, h, w) -> (B, width, h / stride, w / stride)."""
        return functional.relu(self.level(self.taps(x)))
