"""What stands out in a picture, or the garments in it: the networks of the rembg family.

Knows pixels only: neither which network a request names nor where its file lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fooocus_core.choices import ClothCategory, MaskModel
from fooocus_core.errors import ModelFileError
from fooocus_core.images.arrays import Mask, size_of
from fooocus_core.images.resize import resample
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.onnx_file import OnnxNetwork, load_onnx
from fooocus_core.params import Image, Size

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_UNSCALED = (1.0, 1.0, 1.0)
_CLASSES = 4  # background and one per category
_LEVELS: Mapping[ClothCategory, int] = {
    ClothCategory.UPPER: 1,
    ClothCategory.LOWER: 2,
    ClothCategory.FULL: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a network is shown of a picture.

    Attributes:
        side: Of the square that all of the picture is stretched to, in pixels.
        std: What each channel is divided by after the mean is taken off.
    """

    side: int
    std: tuple[float, float, float] = _STD


_PREPARATIONS: Mapping[MaskModel, Preparation] = {
    MaskModel.U2NET: Preparation(side=320),
    MaskModel.U2NETP: Preparation(side=320),
    MaskModel.U2NET_HUMAN_SEG: Preparation(side=320),
    MaskModel.SILUETA: Preparation(side=320),
    MaskModel.U2NET_CLOTH_SEG: Preparation(side=768),
    MaskModel.ISNET_GENERAL_USE: Preparation(side=1024, std=_UNSCALED),
    MaskModel.ISNET_ANIME: Preparation(side=1024, std=_UNSCALED),
}


class ForegroundNetwork:
    """Makes masks of pictures with one network of the family."""

    def __init__(self, network: OnnxNetwork, model: MaskModel, name: str) -> None:
        """Take over a network; ``name`` is that of its file, for errors."""
        self._network = network
        self._model = model
        self._name = name

    def mask(self, image: Image, category: ClothCategory = ClothCategory.FULL) -> Mask:
        """Make the mask of a picture.

        Args:
            image: (H, W, 3) RGB.
            category: Which garments; only ``u2net_cloth_seg`` tells them apart.

        Returns:
            (H, W), white = what stands out; grey where that is uncertain.

        Raises:
            ModelFileError: The network is another one, or its file is damaged.
        """
        output = self._network.run(prepare(image, _PREPARATIONS[self._model]))
        size = size_of(image)
        if self._model is MaskModel.U2NET_CLOTH_SEG:
            return garment_mask(self._checked(output, _CLASSES)[0], category, size)
        return saliency_mask(self._checked(output, 1)[0, 0], size)

    def _checked(self, output: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
        side = _PREPARATIONS[self._model].side
        if output.ndim != 4 or output.shape[1] < channels or output.shape[2:] != (side, side):
            raise ModelFileError(
                f"{self._name} gives values of shape {output.shape}, so it is not {self._model}."
            )
        return output


def load_foreground_network(path: Path, model: MaskModel, plan: DevicePlan) -> ForegroundNetwork:
    """Load a network of the family.

    Raises:
        PackageMissingError: ONNX Runtime is not installed.
        ModelFileError: The file is unreadable or another network.
    """
    return ForegroundNetwork(load_onnx(path, plan), model, path.name)


def prepare(image: Image, preparation: Preparation) -> NDArray[np.float32]:
    """Make what a network is given of a picture.

    Order, float64: resize to a square, divide by the picture's brightest value, take off the mean
    of each channel, divide by ``std``; then to float32.

    Args:
        image: (H, W, 3) RGB; a black one stays 0 before the mean is taken off.

    Returns:
        (1, 3, side, side) float32.

    Source:
        danielgatis/rembg 2.0.57 (MIT), rembg/sessions/base.py.
    """
    square = resample(image, Size(preparation.side, preparation.side))
    values = square / max(int(square.max()), 1)
    values = (values - np.array(_MEAN)) / np.array(preparation.std)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def saliency_mask(values: NDArray[np.float32], size: Size) -> Mask:
    """Make a mask of how much each place stands out.

    Order, float32: stretch to 0-1 between the least and the largest value, times 255, *truncate*,
    resize.

    Args:
        values: (side, side); if all are equal, nothing stands out.
        size: Of the picture.

    Source:
        danielgatis/rembg 2.0.57 (MIT), rembg/sessions/u2net.py.
    """
    least, largest = values.min(), values.max()
    if least == largest:
        return np.zeros((size.height, size.width), dtype=np.uint8)
    levels: Mask = ((values - least) / (largest - least) * np.float32(255)).astype(np.uint8)
    return resample(levels, size)


def garment_mask(scores: NDArray[np.float32], category: ClothCategory, size: Size) -> Mask:
    """Make the mask of one kind of garments.

    The numbers of the likeliest kinds are resized *as grey levels* before one of them is picked,
    so that the edge between nothing and ``full`` shows lines of ``upper`` and ``lower``; where the
    filter overshoots there is nothing.

    Args:
        scores: (4, side, side); the first is that of no garment.
        size: Of the picture.

    Returns:
        Black and white.

    Source:
        danielgatis/rembg 2.0.57 (MIT), rembg/sessions/u2net_cloth_seg.py.
    """
    kinds: Mask = scores.argmax(axis=0).astype(np.uint8)
    picked = resample(kinds, size) == _LEVELS[category]
    return np.where(picked, 255, 0).astype(np.uint8)
