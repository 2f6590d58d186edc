"""RetinaFace on ResNet-50: where a picture has faces, at every place it could have one.

Knows neither files nor what is done with the faces. The parts are named as in the published file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ANCHORS = 2  # at each place of each level
STRIDES = (8, 16, 32)  # pixels from one place of a level to the next

Check = Callable[[], None]

_BLOCKS = (3, 4, 6, 3)
_WIDTHS = (64, 128, 256, 512)
_STAGE_STRIDES = (1, 2, 2, 2)
_EXPANSION = 4
_STEM = 64
_FEATURES = 256
_CLASSES = 2
_BOX = 4
_LANDMARKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What the network says of every anchor, level after level, row after row of a level.

    Attributes:
        offsets: Centre and size of a box relative to its anchor, (N, 4).
        probabilities: Of background and face, (N, 2); a row sums to 1.0.
        landmarks: Eyes, nose and corners of the mouth relative to the anchor, x and y in turn,
            (N, 10).
    """

    offsets: Tensor
    probabilities: Tensor
    landmarks: Tensor


class RetinaFace(nn.Module):
    """A ResNet, a feature pyramid of its last three stages, a context module and heads for each.

    Source:
        arXiv:1905.00641, section 3; the body is arXiv:1512.03385 with the stride in the middle
        convolution of a block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = _Body()
        self.fpn = _Pyramid([width * _EXPANSION for width in _WIDTHS[1:]])
        self.ssh1 = _Context()
        self.ssh2 = _Context()
        self.ssh3 = _Context()
        self.ClassHead = _heads(_CLASSES)
        self.BboxHead = _heads(_BOX)
        self.LandmarkHead = _heads(_LANDMARKS)

    def forward(self, pixels: Tensor, check: Check = lambda: None) -> Predictions:
        """Look for faces.

        Args:
            pixels: Blue, green and red, 0-255, less their mean; (1, 3, H, W) float32 of any size.
            check: Called before each block of the body; may raise in order to stop.

        Returns:
            Predictions for ``ANCHORS`` anchors at each of ``ceil(H / stride) * ceil(W / stride)``
            places, for each of ``STRIDES``.
        """
        levels = self.fpn(*self.body(pixels, check))
        contexts = (self.ssh1, self.ssh2, self.ssh3)
        features = [context(level) for context, level in zip(contexts, levels, strict=True)]
        return Predictions(
            offsets=_predict(self.BboxHead, features, _BOX),
            probabilities=_predict(self.ClassHead, features, _CLASSES).softmax(dim=-1),
            landmarks=_predict(self.LandmarkHead, features, _LANDMARKS),
        )


class _Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        inputs = [_STEM, *(width * _EXPANSION for width in _WIDTHS[:-1])]
        self.layer1, self.layer2, self.layer3, self.layer4 = map(
            _stage, inputs, _WIDTHS, _BLOCKS, _STAGE_STRIDES
        )

    def forward(self, x: Tensor, check: Check) -> list[Tensor]:
        """The outputs of the last three stages."""
        check()
        x = functional.relu_(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                check()
                x = block(x)
            outputs.append(x)
        return outputs[1:]


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            None
            if inputs == outputs
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu_(self.bn1(self.conv1(x)))
        inner = functional.relu_(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        inner += x if self.downsample is None else self.downsample(x)
        return functional.relu_(inner)


class _Pyramid(nn.Module):
    def __init__(self, inputs: list[int]) -> None:
        super().__init__()
        first, second, third = inputs
        self.output1 = _activated(first, _FEATURES, kernel=1)
        self.output2 = _activated(second, _FEATURES, kernel=1)
        self.output3 = _activated(third, _FEATURES, kernel=1)
        self.merge1 = _activated(_FEATURES, _FEATURES, kernel=3)
        self.merge2 = _activated(_FEATURES, _FEATURES, kernel=3)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
        third: Tensor = self.output3(coarse)
        second: Tensor = self.merge2(_add_enlarged(self.output2(middle), third))
        first: Tensor = self.merge1(_add_enlarged(self.output1(fine), second))
        return first, second, third


class _Context(nn.Module):
    """Three fields of view side by side: one, two and three convolutions deep."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _FEATURES // 2, _FEATURES // 4
        self.conv3X3 = _convolution(_FEATURES, half, kernel=3)
        self.conv5X5_1 = _activated(_FEATURES, quarter, kernel=3)
        self.conv5X5_2 = _convolution(quarter, quarter, kernel=3)
        self.conv7X7_2 = _activated(quarter, quarter, kernel=3)
        self.conv7x7_3 = _convolution(quarter, quarter, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(shared))
        views = [self.conv3X3(x), self.conv5X5_2(shared), wide]
        return functional.relu_(torch.cat(views, dim=1))


class _Head(nn.Module):
    def __init__(self, values: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(_FEATURES, ANCHORS * values, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.conv1x1(x)
        return values.permute(0, 2, 3, 1)


def _heads(values: int) -> nn.ModuleList:
    return nn.ModuleList(_Head(values) for _ in STRIDES)


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(inputs, width, stride)
    return nn.Sequential(
        first, *(_Block(width * _EXPANSION, width, stride=1) for _ in range(blocks - 1))
    )


def _convolution(inputs: int, outputs: int, *, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _activated(inputs: int, outputs: int, *, kernel: int) -> nn.Sequential:
    # Only networks with features of 64 channels or fewer have leaky units here, of slope 0.1.
    return _convolution(inputs, outputs, kernel=kernel).append(nn.ReLU(inplace=True))


def _add_enlarged(x: Tensor, coarse: Tensor) -> Tensor:
    return x + functional.interpolate(coarse, size=x.shape[-2:], mode="nearest")


def _predict(heads: nn.ModuleList, features: list[Tensor], values: int) -> Tensor:
    """(N, values) of all levels."""
    levels = [head(x).reshape(-1, values) for head, x in zip(heads, features, strict=True)]
    return torch.cat(levels)
