"""What tests of networks share: where to run, recorded test tensors, one UNet evaluation."""

from __future__ import annotations

from math import log, prod
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.architecture import unet_config
from fooocus_core.loading.checkpoint import Checkpoint, build_checkpoint, build_vae
from fooocus_core.loading.memory import DevicePlan, plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.text.encoder import TextConditioning
from tests.golden import load_json

CPU_PLAN = plan_device(None, DeviceOptions())


def load_checkpoint(path: Path, plan: DevicePlan, *, vae: Path | None = None) -> Checkpoint:
    """A checkpoint with its own VAE or that of another file."""
    return build_checkpoint(read_weights(path), plan, vae=read_weights(vae) if vae else None)


def load_vae(path: Path, plan: DevicePlan) -> AutoencoderKL:
    """A stand-alone VAE."""
    return build_vae(read_weights(path), plan)


def load_small_sdxl(weights: Path) -> Checkpoint:
    """The checkpoint most vectors were recorded with, float32 on the CPU."""
    return load_checkpoint(weights / "checkpoints" / "tiny_sdxl.safetensors", CPU_PLAN)


def manifest_tensors(name: str, prefix: str) -> dict[str, Tensor]:
    """Tensors without memory, shaped as in a real file, by the name behind ``prefix``."""
    return {
        key.removeprefix(prefix): torch.empty(shape, device="meta")
        for key, (_, shape) in load_json(f"manifests/{name}").items()
        if key.startswith(prefix)
    }


def manifest_unet(name: str) -> UNet2DConditionModel:
    """A real-sized UNet without memory."""
    config = unet_config(manifest_tensors(name, "model.diffusion_model."), heads=None)
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


def sine_tensor(shape: tuple[int, ...], step: float) -> Tensor:
    """The check values' test tensor ``det(shape, step)``."""
    return torch.sin(step * torch.arange(prod(shape), dtype=torch.float32)).reshape(shape)


class Formula:
    """The UNet of the integrated checks: a formula in what it is given."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, weight: float = 0.8, *, is_sized: bool = True) -> None:
        """``weight`` of the latent; whether the pooled vector and sizes count."""
        self._weight = weight
        self._is_sized = is_sized
        self.calls = 0

    def __call__(self, sample: Tensor, *_: Tensor, **inputs: Any) -> tuple[Tensor]:
        """As ``UNet2DConditionModel`` without its result object."""
        self.calls += 1
        change = 0.1 * torch.tanh(20 * inputs["encoder_hidden_states"].mean(dim=(1, 2)))
        if self._is_sized:
            change = change + 0.05 * _size_vector(**inputs["added_cond_kwargs"]).mean(dim=1)
        return (self._weight * sample + change.view(-1, 1, 1, 1),)


def _size_vector(text_embeds: Tensor, time_ids: Tensor) -> Tensor:
    frequencies = torch.exp(-log(10000) * torch.arange(128) / 128)
    angles = time_ids[..., None] * frequencies
    sinusoids = torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(1)
    return torch.cat([text_embeds, sinusoids], dim=1)


def formula_prompts() -> tuple[TextConditioning, TextConditioning]:
    """Positive and negative conditioning of the integrated checks."""
    positive = TextConditioning(
        embeddings=sine_tensor((1, 77, 2048), 0.011), pooled=sine_tensor((1, 1280), 0.013)
    )
    negative = TextConditioning(
        embeddings=0.5 * sine_tensor((1, 154, 2048), 0.017),
        pooled=0.5 * sine_tensor((1, 1280), 0.019),
    )
    return positive, negative


@torch.no_grad()
def evaluate_unet(
    unet: UNet2DConditionModel, x: Tensor, timestep: Tensor, context: Tensor, y: Tensor
) -> Tensor:
    """One evaluation with the size vector ``y`` given whole, as the recording does."""
    pooled = torch.zeros(len(x), y.shape[1] - 6 * 256)
    sizes = torch.zeros(len(x), 6)
    handle = unet.add_embedding.register_forward_pre_hook(lambda *_: (y,))
    try:
        return unet(
            x,
            timestep,
            encoder_hidden_states=context,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        ).sample
    finally:
        handle.remove()
