"""Super-resolution with an ESRGAN network, whatever size its file has.

Knows pixels only: neither which size a picture should get nor what it is enlarged for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fooocus_core.downloads import UPSCALER
from fooocus_core.errors import DeviceMemoryError, ModelFileError
from fooocus_core.loading.filling import fill_weights, naming_part
from fooocus_core.loading.memory import DevicePlan, free_cached_memory, memory_errors
from fooocus_core.loading.weight_file import Tensors, read_weights
from fooocus_core.params import Image
from fooocus_core.vae.codec import to_image, to_pixels
from fooocus_core.vae.tiling import Tiles, finished_rows

Check = Callable[[], None]

_CHANNELS = 3
_SLOPE = 0.2
_RESIDUAL_SCALE = 0.2
_TILE_SIDES = (512, 256, 128)
_OVERLAP = 32
_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB")
_CONVOLUTION = re.compile(r"model\.(\d+)\.weight")
# Without doublings no convolution has a higher place, and each doubling adds one that has.
_LAST_COMMON = 6

_log = logging.getLogger(__name__)


class EsrganNetwork(nn.Module):
    """Residual blocks of dense blocks, then doublings of the size; parts are named as in files.

    Attributes:
        scale: Output size by input size.

    Source:
        arXiv:1809.00219, section 3.1; xinntao/ESRGAN (Apache-2.0), its older file layout.
    """

    def __init__(self, *, filters: int, growth: int, blocks: int, doublings: int) -> None:
        super().__init__()
        self.scale = 2**doublings
        doubling = [
            layer
            for _ in range(doublings)
            for layer in (
                nn.Upsample(scale_factor=2),
                _convolution(filters, filters),
                _activation(),
            )
        ]
        self.model = nn.Sequential(
            _convolution(_CHANNELS, filters),
            _Trunk(filters, growth, blocks),
            *doubling,
            _convolution(filters, filters),
            _activation(),
            _convolution(filters, _CHANNELS),
        )

    def forward(self, pixels: Tensor, check: Check = lambda: None) -> Tensor:
        """Enlarge a picture.

        Args:
            pixels: (B, 3, H, W), 0-1.
            check: Called before each residual block; may raise in order to stop.

        Returns:
            (B, 3, H * scale, W * scale), about 0-1.
        """
        first, trunk, *rest = self.model
        x: Tensor = trunk(first(pixels), check)
        for layer in rest:
            x = layer(x)
        return x


class _Trunk(nn.Module):
    def __init__(self, filters: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.sub = nn.Sequential(
            *(_ResidualBlock(filters, growth) for _ in range(blocks)),
            _convolution(filters, filters),
        )

    def forward(self, x: Tensor, check: Check) -> Tensor:
        inner = x
        for layer in self.sub:
            check()
            inner = layer(inner)
        return x + inner


class _ResidualBlock(nn.Module):
    def __init__(self, filters: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = _DenseBlock(filters, growth)
        self.RDB2 = _DenseBlock(filters, growth)
        self.RDB3 = _DenseBlock(filters, growth)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.RDB3(self.RDB2(self.RDB1(x)))
        return x + _RESIDUAL_SCALE * inner


class _DenseBlock(nn.Module):
    def __init__(self, filters: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 5):
            inputs = filters + (number - 1) * growth
            layer = nn.Sequential(_convolution(inputs, growth), _activation())
            self.add_module(f"conv{number}", layer)
        self.conv5 = nn.Sequential(_convolution(filters + 4 * growth, filters))

    def forward(self, x: Tensor) -> Tensor:
        *dense, last = self.children()
        features = x
        for layer in dense:
            features = torch.cat([features, layer(features)], dim=1)
        result: Tensor = x + _RESIDUAL_SCALE * last(features)
        return result


class Upscaler:
    """Enlarges pictures of any size, a tile at a time."""

    def __init__(self, network: EsrganNetwork, device: torch.device) -> None:
        self._network = network
        self._device = device

    @torch.no_grad()
    def enlarge(self, image: Image, check: Check = lambda: None) -> Image:
        """Enlarge a picture by the network's scale, in float32.

        Tiles of 512 pixels that overlap by 32, averaged, clamped to 0-1, times 255, *truncated*.
        If the device runs out of memory, all is done again with tiles half as large.

        Args:
            image: (H, W, 3) RGB.
            check: Called several times per tile; may raise in order to stop.

        Returns:
            (H * scale, W * scale, 3) RGB.

        Raises:
            DeviceMemoryError: Not even a tile of 128 pixels fits into the device's memory.
            ModelFileError: The result has values that are not finite.
        """
        for side in _TILE_SIDES:
            try:
                return self._enlarge(image, Tiles(width=side, height=side, overlap=_OVERLAP), check)
            except torch.OutOfMemoryError:
                _log.info("The device has not enough memory to enlarge tiles of %d pixels.", side)
            # Outside of the handler, which keeps the failed run's tensors alive.
            free_cached_memory()
        raise DeviceMemoryError(
            "The device ran out of memory while enlarging the picture in tiles of "
            f"{_TILE_SIDES[-1]} pixels."
        )

    def _enlarge(self, image: Image, tiles: Tiles, check: Check) -> Image:
        scale = self._network.scale
        height, width, channels = image.shape
        enlarged = np.empty((height * scale, width * scale, channels), np.uint8)

        def run(tile: Tensor) -> Tensor:
            # Convolutions add up in another order on this memory layout; the reference uses it.
            tile = tile.to(self._device, memory_format=torch.channels_last)
            result: Tensor = self._network(tile, check)
            return result

        top = 0
        rows = finished_rows(to_pixels(image), run, tiles, scale=scale)
        # Mapped, so that no finished floating-point rows stay while the next ones are computed.
        for part in map(_to_image, rows):
            enlarged[top : top + len(part)] = part
            top += len(part)
        return enlarged


def load_upscaler(path: Path, plan: DevicePlan) -> Upscaler:
    """Load the upscaler from its file.

    Args:
        plan: Device; the network computes in float32 everywhere.

    Raises:
        ModelFileError: The file is unreadable or not such a network.
        DeviceMemoryError: The device has not enough memory.
    """
    file = read_weights(path)
    with memory_errors(f"loading {path.name}"), naming_part(path, "upscaler"):
        network = build_network(file.tensors, plan.device)
    return Upscaler(network, plan.device)


def build_network(tensors: Tensors, device: torch.device) -> EsrganNetwork:
    """Make the network that tensors belong to, and give it these in float32.

    Args:
        tensors: In ESRGAN's older layout; the dense blocks of a residual block are ``RDB1``-``3``
            or, as in the published file, ``residual_block_1``-``3``.

    Raises:
        KeyError: An entry needed to tell the size is missing.
        ModelFileError: Other entries are missing, unexpected or of a wrong shape.
    """
    state = {
        name.replace("residual_block_", "RDB"): tensor.float() for name, tensor in tensors.items()
    }
    blocks = {match[1] for match in map(_BLOCK.match, state) if match}
    convolutions = [int(match[1]) for match in map(_CONVOLUTION.fullmatch, state) if match]
    with torch.device("meta"):
        network = EsrganNetwork(
            filters=state["model.0.weight"].shape[0],
            growth=state["model.1.sub.0.RDB1.conv1.0.weight"].shape[0],
            blocks=len(blocks),
            doublings=sum(place > _LAST_COMMON for place in convolutions),
        )
    fill_weights(network, state, device)
    return network


def _to_image(values: Tensor) -> Image:
    if not torch.isfinite(values).all():
        raise ModelFileError(
            f"{UPSCALER.name} gave values that are not finite, so there is no picture; the file "
            "is damaged."
        )
    return to_image(values.clamp_(0.0, 1.0))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _activation() -> nn.LeakyReLU:
    return nn.LeakyReLU(_SLOPE, inplace=True)
