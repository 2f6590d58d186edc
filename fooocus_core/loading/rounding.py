"""Weights rounded to a narrow format, kept in it, and computed with in a wider one.

The embeddings of text encoders are neither rounded nor narrow. Norms and a network's first layer
are rounded but kept wide: they are small, and diffusers tells by the first weight which dtype a
network wants its input in.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fooocus_core.loading.leases import lend_during_forward
from fooocus_core.loading.weight_file import Tensors

_NARROW = (nn.Linear, nn.Conv2d)


def rounded_weights(
    network: nn.Module,
    weights: Tensors,
    *,
    narrow: torch.dtype,
    wide: torch.dtype,
    device: torch.device,
) -> dict[str, Tensor]:
    """The weights in the dtypes in which ``network`` keeps them.

    Args:
        network: Gives the kinds of its layers; its own weights do not count.
        weights: By the network's names, in any dtype. Unknown names are kept.
        narrow: Dtype to round to.
        wide: Dtype the network computes in.
        device: Where they are kept.
    """
    layers = dict(network.named_modules())
    narrow_layers = set(_narrow_layers(network))
    kept = {}
    for name, weight in weights.items():
        layer = layers.get(name.rpartition(".")[0])
        if isinstance(layer, nn.Embedding):
            kept[name] = weight.to(device, wide)
        elif layer in narrow_layers or narrow == wide:
            kept[name] = weight.to(device, narrow)
        else:
            kept[name] = weight.to(narrow).to(device, wide)
    return kept


def widen_during_forward(network: nn.Module, wide: torch.dtype) -> None:
    """Have layers that are kept narrow compute with copies of their weights in ``wide``."""
    for layer in _narrow_layers(network):
        if layer.weight.dtype != wide:
            lend_during_forward(layer, partial(_convert, dtype=wide))


def _narrow_layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    layers = [module for module in network.modules() if not any(module.children())]
    return [layer for layer in layers[1:] if isinstance(layer, _NARROW)]


def _convert(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype)
