"""The miniature UNet that adapters were recorded on, and evaluating it as the recording does.

Its vectors: 32 base channels, heads 16 wide, and a size vector that is given whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from fooocus_core.loading.architecture import unet_config
from fooocus_core.loading.key_maps import unet_weights
from fooocus_core.loading.weight_file import WeightFile
from tests.golden import load_arrays

_HEAD_WIDTH = 16


def recorded(name: str) -> Tensor:
    """One of the recorded arrays, e.g. ``x`` or ``eps_plain``."""
    return torch.tensor(load_arrays("image-ops/tiny_unet")[name])


def recorded_file(prefix: str) -> WeightFile:
    """The recorded weights under a prefix, as if read from a file: ``u`` UNet, ``c`` control."""
    arrays = load_arrays("image-ops/tiny_unet")
    tensors = {
        name.removeprefix(f"{prefix}."): torch.tensor(array)
        for name, array in arrays.items()
        if name.startswith(f"{prefix}.")
    }
    return WeightFile(path=Path(f"{prefix}.safetensors"), tensors=tensors, metadata={})


def load_tiny_unet() -> UNet2DConditionModel:
    """The miniature in float32 on the CPU."""
    tensors = recorded_file("u").tensors
    config = unet_config(tensors, heads=None)
    heads = [width // _HEAD_WIDTH for width in config["block_out_channels"]]
    unet: UNet2DConditionModel = UNet2DConditionModel(**{**config, "attention_head_dim": heads})
    state = unet_weights(tensors, unet.config)
    unet.load_state_dict({name: weight.float() for name, weight in state.items()})
    return unet.eval().requires_grad_(requires_grad=False)


def recorded_call() -> dict[str, Any]:
    """The arguments that all its calls were recorded with; sizes as :func:`given_size_vector`."""
    return {
        "sample": recorded("x"),
        "timestep": recorded("timesteps"),
        "encoder_hidden_states": recorded("context"),
        "added_cond_kwargs": {"text_embeds": torch.zeros(2, 1), "time_ids": torch.zeros(2, 1)},
    }


@contextmanager
def given_size_vector(*networks: nn.Module) -> Iterator[None]:
    """Have networks take the recorded size vector instead of making one."""
    vector = recorded("y")
    handles = [
        network.add_embedding.register_forward_pre_hook(lambda *_: (vector,))
        for network in networks
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def evaluate_tiny_unet(unet: UNet2DConditionModel, **changes: Any) -> Tensor:
    """The noise that it finds in the recorded call, with arguments added or replaced."""
    with given_size_vector(unet):
        noise: Tensor = unet(**{**recorded_call(), **changes}).sample
        return noise
