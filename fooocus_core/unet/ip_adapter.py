"""IP-adapters: what an image encoder saw becomes keys and values for a UNet's attention.

Knows neither how pictures are encoded nor how keys and values are attended to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from fooocus_core.downloads import IMAGE_ENCODER, IP_NEGATIVE
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import Tensors, read_torch_file, read_weights
from fooocus_core.unet.image_attention import KeyValue, Layers, ReadPicture
from fooocus_core.unet.resampler import Resampler, ResamplerSizes, resampler_sizes
from fooocus_core.unet.size_conditioning import PromptSide

_RESAMPLER = "image_proj"
_LAYERS = "ip_adapter"
_NEGATIVE = "data"
_LAYER = re.compile(r"(\d+)\.to_k_ip\.weight")


class IpAdapter:
    """Makes keys and values for a UNet's cross-attention layers of what an encoder saw."""

    def __init__(self, name: str, network: AdapterNetwork, negative: Tensor) -> None:
        """Take over a network, which has to be where it computes when a picture is read.

        Args:
            name: Of its file.
            network: Its weights.
            negative: Tokens of no picture, (1, tokens, width).
        """
        self.network = network
        self._name = name
        self._negative_tokens = negative

    @torch.no_grad()
    def read(self, hidden: Tensor) -> ReadPicture:
        """Read a picture.

        Args:
            hidden: What the image encoder gives, (1, places, features), on the same device.

        Raises:
            ModelFileError: The encoder is of another width than the adapter's, or the result has
                values that are not finite.
            DeviceMemoryError: The device has not enough memory.
        """
        features = self.network.image_proj.proj_in
        if hidden.shape[-1] != features.in_features:
            raise ModelFileError(
                f"{self._name} reads image encoders of width {features.in_features}, but "
                f"{IMAGE_ENCODER.name} is {hidden.shape[-1]} wide."
            )
        with memory_errors("reading an image prompt"):
            positive = self._keys_values(self.network.image_proj(hidden.to(features.weight)))
            sides = {PromptSide.POSITIVE: positive, PromptSide.NEGATIVE: self._negative}
            _check_finite(self._name, positive)
            _check_finite(IP_NEGATIVE.name, self._negative)
        return ReadPicture(adapter=self._name, sides=sides)

    @cached_property
    def _negative(self) -> Layers:
        return self._keys_values(self._negative_tokens)

    def _keys_values(self, tokens: Tensor) -> Layers:
        tokens = tokens.to(self.network.image_proj.latents)
        return tuple(layer(tokens) for layer in self.network.ip_adapter.values())


class AdapterNetwork(nn.Module):
    """The weights of an adapter; parts are named as in the published files."""

    def __init__(self, sizes: ResamplerSizes, widths: Mapping[str, int]) -> None:
        """Make a network without training; ``widths`` of its layers, by their names, in order."""
        super().__init__()
        self.image_proj = Resampler(sizes)
        self.ip_adapter = nn.ModuleDict(
            {name: _Projections(sizes.output, width) for name, width in widths.items()}
        )


class _Projections(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(inputs, outputs, bias=False)
        self.to_v_ip = nn.Linear(inputs, outputs, bias=False)

    def forward(self, tokens: Tensor) -> KeyValue:
        return KeyValue(key=self.to_k_ip(tokens), value=self.to_v_ip(tokens))


def load_ip_adapter(path: Path, negative: Path, plan: DevicePlan) -> IpAdapter:
    """Load an adapter of the "plus" kind to where the plan has networks of its device wait.

    Args:
        path: A torch file of two tables of tensors, ``image_proj`` and ``ip_adapter``.
        negative: File of the tokens that stand for no picture.
        plan: Devices and dtypes.

    Raises:
        ModelFileError: A file is unreadable or something else, or has entries missing or
            unexpected; names it and the first few entries.
        DeviceMemoryError: The device has not enough memory.
    """
    home = plan.home_of(plan.device)
    tables = _read_tables(path)
    with memory_errors(f"loading {path.name}"), naming_part(path, "IP-adapter"):
        with without_memory():
            network = AdapterNetwork(resampler_sizes(tables[_RESAMPLER]), _widths(tables[_LAYERS]))
        state = {
            f"{part}.{name}": tensor.to(home, plan.small)
            for part, table in tables.items()
            for name, tensor in table.items()
        }
        fill_weights(network, state, home)
    return IpAdapter(path.name, network, _read_negative(negative, network))


def _check_finite(file: str, layers: Layers) -> None:
    # In one piece, because each look at a device makes it wait.
    values = torch.cat([part.flatten() for pair in layers for part in (pair.key, pair.value)])
    if not torch.isfinite(values).all():
        raise ModelFileError(f"{file} gave values that are not finite; the file is damaged.")


def _read_tables(path: Path) -> dict[str, Tensors]:
    content = read_torch_file(path)
    tables = {
        part: table
        for part in (_RESAMPLER, _LAYERS)
        if isinstance(content, Mapping) and isinstance(table := content.get(part), Mapping)
    }
    if len(tables) < 2:
        raise ModelFileError(
            f"{path.name} is not an IP-adapter: it needs two tables of tensors, {_RESAMPLER} and "
            f"{_LAYERS}."
        )
    return tables


def _widths(tensors: Tensors) -> dict[str, int]:
    """Width of each layer by its number in the file, in the order of these numbers."""
    found = {int(m[1]): len(tensors[m[0]]) for m in map(_LAYER.fullmatch, tensors) if m}
    return {str(number): found[number] for number in sorted(found)}


def _read_negative(path: Path, network: AdapterNetwork) -> Tensor:
    """The tokens of no picture, if there are as many as the network gives, as wide."""
    tokens = read_weights(path).tensors.get(_NEGATIVE)
    latents = network.image_proj.latents
    needed = (1, latents.shape[1], network.image_proj.proj_out.out_features)
    if tokens is None or tuple(tokens.shape) != needed:
        found = "there is none" if tokens is None else f"its shape is {tuple(tokens.shape)}"
        raise ModelFileError(
            f"{path.name} does not go with the IP-adapter: it needs a tensor '{_NEGATIVE}' of the "
            f"shape {needed}, but {found}."
        )
    return tokens
