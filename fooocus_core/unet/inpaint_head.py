"""What an inpaint model is shown of the picture around the hole.

The mask and the latent of the picture without its hole become a feature that is added to the
UNet's first hidden state. Knows neither how the hole was found nor what is put into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.downloads import INPAINT_HEAD
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.vae.codec import PIXELS_PER_LATENT

_KEY = "head"
_MASK_CHANNELS = 1
_LATENT_CHANNELS = 4
_KERNEL = 3
_GREY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InpaintFeature:
    """The feature of one picture, as a change to attach to a UNet.

    Attributes:
        values: (1, C, h, w) float32; C is the width of the UNet's first level.
    """

    values: Tensor

    @contextmanager
    def attached(self, unet: Any) -> Iterator[None]:
        """Add the feature to what the first convolution of a ``UNet2DConditionModel`` returns.

        It is added in the dtype of that, to every row of a batch, before the first skip connection
        leaves.

        Raises:
            ModelFileError: The head was made for a UNet of another width.
        """
        width, own = unet.conv_in.out_channels, self.values.shape[1]
        if own != width:
            raise ModelFileError(
                f"{INPAINT_HEAD.name} is for models of width {own}, but the base model's is "
                f"{width}."
            )
        values = self.values

        def add(module: nn.Module, args: Any, hidden: Tensor) -> Tensor:  # noqa: ARG001
            # Carried to the UNet's device at its first use only.
            nonlocal values
            values = values.to(hidden)
            return hidden + values

        handle = unet.conv_in.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InpaintHead:
    """A single convolution from mask and latent to the feature.

    Attributes:
        weight: (C, 5, 3, 3) float32 on the CPU; the mask is the first of the five channels.
    """

    weight: Tensor

    @torch.no_grad()
    def feature(self, mask: Tensor, latent: Tensor) -> InpaintFeature:
        """Compute the feature of a picture, once for all steps.

        Args:
            mask: As :func:`latent_mask` makes it, (1, 1, h, w).
            latent: Of the picture whose hole :func:`hide_hole` filled, (1, 4, h, w), the
                *sampler's* scale.

        Source:
            lllyasviel/Fooocus, modules/inpaint_worker.py.
        """
        feed = torch.cat([mask.to(self.weight), latent.to(self.weight)], dim=1)
        padded = functional.pad(feed, (1, 1, 1, 1), mode="replicate")
        return InpaintFeature(values=functional.conv2d(padded, self.weight))


def load_inpaint_head(path: Path) -> InpaintHead:
    """Load the head from its file.

    Raises:
        ModelFileError: The file is unreadable or holds something else.
    """
    weight = read_weights(path).tensors.get(_KEY)
    expected = (_MASK_CHANNELS + _LATENT_CHANNELS, _KERNEL, _KERNEL)
    if weight is None or tuple(weight.shape[1:]) != expected:
        found = "there is none" if weight is None else f"its shape is {tuple(weight.shape)}"
        raise ModelFileError(
            f"{path.name} is not an inpaint head: it needs a tensor '{_KEY}' of the shape "
            f"(channels, {', '.join(map(str, expected))}), but {found}."
        )
    weight = weight.to(torch.float32)
    if not bool(torch.isfinite(weight).all()):
        raise ModelFileError(f"{path.name}: {_KEY} holds values that are not finite.")
    return InpaintHead(weight=weight)


def hide_hole(pixels: Tensor, mask: NDArray[np.uint8]) -> Tensor:
    """Paint the hole of a picture grey, so that nothing of what was there can be seen.

    Args:
        pixels: (1, 3, H, W) float32, 0-1, as ``vae.codec.to_pixels`` makes it.
        mask: (H, W), 0 or 255 = hole.

    Returns:
        Like ``pixels``; to be encoded without cropping.
    """
    hole = _to_zero_or_one(mask)
    return pixels * (1.0 - hole) + _GREY * hole


def latent_mask(mask: NDArray[np.uint8]) -> Tensor:
    """Shrink a mask to the latent; a place is part of the hole if any of its pixels is.

    Args:
        mask: (H, W), 0 or 255 = hole.

    Returns:
        (1, 1, H // 8, W // 8) float32, 0 or 1.
    """
    height, width = (side // PIXELS_PER_LATENT * PIXELS_PER_LATENT for side in mask.shape)
    values = torch.from_numpy(mask.astype(np.float32) / 255.0)[None, None]
    fitted = functional.interpolate(values, (height, width), mode="bilinear").round()
    return functional.max_pool2d(fitted, PIXELS_PER_LATENT).round()


def _to_zero_or_one(mask: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.round(mask.astype(np.float32) / 255.0))[None, None]
