"""A single-file checkpoint becomes a UNet, a VAE and text encoders on the planned device.

Kinds are told by key prefixes, sizes by the shapes of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fooocus_core.errors import ModelFileError
from fooocus_core.loading import architecture, key_maps
from fooocus_core.loading.attention import use_attention
from fooocus_core.loading.filling import fill_weights, list_names, naming_part, without_memory
from fooocus_core.loading.leases import stream_weights
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.rounding import rounded_weights, widen_during_forward
from fooocus_core.loading.weight_file import Tensors, WeightFile

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_SDXL_CLIP_L = "conditioner.embedders.0.transformer.text_model."
_SDXL_CLIP_G = "conditioner.embedders.1.model."
_REFINER_CLIP_G = "conditioner.embedders.0.model."
_SD15_CLIP_L = "cond_stage_model.transformer."

_CLIP_L_PART = "CLIP-L text encoder"
_CLIP_G_PART = "CLIP-G text encoder"
_NORM_GROUPS_ENTRY = "vae.norm_num_groups"
_MARKS = {"pad_token_id": 1, "bos_token_id": 49406, "eos_token_id": 49407}

Module = TypeVar("Module", bound=nn.Module)


class CheckpointKind(StrEnum):
    """What a checkpoint is for."""

    SDXL = "SDXL base"
    SDXL_REFINER = "SDXL refiner"
    SD15 = "SD 1.5"


class Prediction(StrEnum):
    """What a UNet's output means."""

    EPSILON = "epsilon"
    V = "v"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The networks of one checkpoint, in evaluation mode, where the plan has them wait.

    Attributes:
        clip_l: ``None`` for an SDXL refiner.
        clip_g: ``None`` for SD 1.5.
    """

    path: Path
    kind: CheckpointKind
    prediction: Prediction
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    clip_l: CLIPTextModel | None
    clip_g: CLIPTextModelWithProjection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refiner:
    """What is needed of a checkpoint that goes on where a base model stops.

    Attributes:
        vae: Only that of SD 1.5 is needed; ``None`` = the latents are those of the base model.
        clip_l, clip_g: Without memory, because a refiner is told what the base's encoders say; but
            LoRA files are recognised by the weights of all networks. ``None`` as in
            :class:`Checkpoint`.
    """

    path: Path
    kind: CheckpointKind
    prediction: Prediction
    unet: UNet2DConditionModel
    vae: AutoencoderKL | None
    clip_l: CLIPTextModel | None
    clip_g: CLIPTextModelWithProjection | None


def build_checkpoint(
    file: WeightFile, plan: DevicePlan, *, vae: WeightFile | None = None
) -> Checkpoint:
    """Load all networks of a checkpoint.

    Args:
        file: In single-file layout.
        plan: Devices and dtypes.
        vae: A stand-alone VAE to use instead of the checkpoint's own.

    Raises:
        ModelFileError: A file is no known checkpoint, or has entries missing or unexpected; the
            message names the file and the first few entries.
        DeviceMemoryError: The device has not enough memory.
    """
    kind = detect_kind(file)
    clip_l, clip_g = _text_prefixes(kind)
    with memory_errors(f"loading {file.path.name}"):
        return Checkpoint(
            path=file.path,
            kind=kind,
            prediction=_prediction(file),
            unet=_load_unet(file, kind, plan),
            vae=_load_vae(file, _VAE, plan) if vae is None else build_vae(vae, plan),
            clip_l=_load_clip_l(file, clip_l, plan) if clip_l else None,
            clip_g=_load_clip_g(file, clip_g, plan) if clip_g else None,
        )


def build_refiner(file: WeightFile, plan: DevicePlan) -> Refiner:
    """Load what is needed of a checkpoint of any kind to refine with it.

    Raises:
        ModelFileError: As in :func:`build_checkpoint`.
        DeviceMemoryError: The device has not enough memory.
    """
    kind = detect_kind(file)
    clip_l, clip_g = _text_prefixes(kind)
    with memory_errors(f"loading {file.path.name}"):
        return Refiner(
            path=file.path,
            kind=kind,
            prediction=_prediction(file),
            unet=_load_unet(file, kind, plan),
            vae=_load_vae(file, _VAE, plan) if kind is CheckpointKind.SD15 else None,
            clip_l=_empty_clip_l(file, clip_l) if clip_l else None,
            clip_g=_empty_clip_g(file, clip_g) if clip_g else None,
        )


def build_vae(file: WeightFile, plan: DevicePlan) -> AutoencoderKL:
    """Load a stand-alone VAE whose names are a single file's without prefix, or those of diffusers.

    Raises:
        ModelFileError: As in :func:`build_checkpoint`.
        DeviceMemoryError: The device has not enough memory.
    """
    with memory_errors(f"loading {file.path.name}"):
        return _load_vae(file, "", plan)


def detect_kind(file: WeightFile) -> CheckpointKind:
    """Tell the kind of a checkpoint by the prefixes of its entries, whatever their sizes.

    Raises:
        ModelFileError: The file is no checkpoint, or one without text encoders.
    """
    if not _has_prefix(file, _UNET):
        raise ModelFileError(
            f"{file.path.name} is not a checkpoint: it has no entries under {_UNET}*. Needed is "
            "one file with UNet, VAE and text encoders."
        )
    if _has_prefix(file, _SDXL_CLIP_G):
        return CheckpointKind.SDXL
    if _has_prefix(file, _REFINER_CLIP_G):
        return CheckpointKind.SDXL_REFINER
    if _has_prefix(file, "cond_stage_model."):
        return CheckpointKind.SD15
    raise ModelFileError(
        f"{file.path.name} has no text encoder: entries under {_SDXL_CLIP_G}* (SDXL base), "
        f"{_REFINER_CLIP_G}* (SDXL refiner) or cond_stage_model.* (SD 1.5) are needed."
    )


def _prediction(file: WeightFile) -> Prediction:
    return Prediction.V if "v_pred" in file.tensors else Prediction.EPSILON


def _has_prefix(file: WeightFile, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in file.tensors)


def _text_prefixes(kind: CheckpointKind) -> tuple[str | None, str | None]:
    match kind:
        case CheckpointKind.SDXL:
            return _SDXL_CLIP_L, _SDXL_CLIP_G
        case CheckpointKind.SDXL_REFINER:
            return None, _REFINER_CLIP_G
        case CheckpointKind.SD15:
            return _SD15_CLIP_L, None


def _load_unet(file: WeightFile, kind: CheckpointKind, plan: DevicePlan) -> UNet2DConditionModel:
    tensors = file.section(_UNET)
    with naming_part(file.path, "UNet"):
        config = architecture.unet_config(
            tensors, heads=architecture.SD15_HEADS if kind is CheckpointKind.SD15 else None
        )
        if config["in_channels"] != config["out_channels"]:
            raise ModelFileError(
                f"It takes {config['in_channels']} channels: an inpainting model. Inpainting works "
                "with ordinary SDXL checkpoints here."
            )
        with without_memory():
            unet: UNet2DConditionModel = UNet2DConditionModel(**config)
        converted = key_maps.unet_weights(tensors, unet.config)
        _require_all_used(tensors, converted)
        home = plan.unet_home
        state = rounded_weights(
            unet, converted, narrow=plan.unet, wide=plan.unet_compute, device=home
        )
        fill_weights(unet, state, home)
    use_attention(unet, plan)
    # In this order, because weights are converted faster where they are computed with.
    stream_weights(unet, plan)
    widen_during_forward(unet, plan.unet_compute)
    return unet


def _load_vae(file: WeightFile, prefix: str, plan: DevicePlan) -> AutoencoderKL:
    tensors = key_maps.without_vae_extras(file.section(prefix))
    with naming_part(file.path, "VAE"):
        config = architecture.vae_config(
            tensors,
            norm_groups=_norm_groups(file),
            diffusers_names=key_maps.has_diffusers_vae_names(tensors),
        )
        with without_memory():
            vae: AutoencoderKL = AutoencoderKL(**config)
        converted = key_maps.vae_weights(tensors, vae.config)
        _require_all_used(tensors, converted)
        home = plan.home_of(plan.vae_device)
        state = rounded_weights(vae, converted, narrow=plan.vae, wide=plan.vae_compute, device=home)
        fill_weights(vae, state, home)
    use_attention(vae, plan)
    widen_during_forward(vae, plan.vae_compute)
    return vae


def _load_clip_l(file: WeightFile, prefix: str, plan: DevicePlan) -> CLIPTextModel:
    model = _empty_clip_l(file, prefix)
    with naming_part(file.path, _CLIP_L_PART):
        return _fill_text_encoder(model, _clip_l_tensors(file, prefix), plan)


def _load_clip_g(file: WeightFile, prefix: str, plan: DevicePlan) -> CLIPTextModelWithProjection:
    model = _empty_clip_g(file, prefix)
    tensors = key_maps.without_clip_extras(file.section(prefix))
    with naming_part(file.path, _CLIP_G_PART):
        converted = key_maps.clip_g_weights(tensors)
        _require_all_used(tensors, converted)
        return _fill_text_encoder(model, converted, plan)


def _empty_clip_l(file: WeightFile, prefix: str) -> CLIPTextModel:
    with naming_part(file.path, _CLIP_L_PART), without_memory():
        shape = architecture.clip_l_config(_clip_l_tensors(file, prefix))
        return CLIPTextModel(_clip_config(shape))


def _empty_clip_g(file: WeightFile, prefix: str) -> CLIPTextModelWithProjection:
    with naming_part(file.path, _CLIP_G_PART), without_memory():
        shape = architecture.clip_g_config(file.section(prefix))
        return CLIPTextModelWithProjection(_clip_config(shape))


def _clip_l_tensors(file: WeightFile, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix("text_model."): tensor
        for name, tensor in key_maps.without_clip_extras(file.section(prefix)).items()
    }


def _clip_config(shape: dict[str, Any]) -> CLIPTextConfig:
    # The library warns of its own numbers of these where the vocabulary was cut short, as that of a
    # refiner may be.
    unknown = {name: None for name, token in _MARKS.items() if token >= shape["vocab_size"]}
    # Of the attention implementations, eager is the closest to the reference in float32.
    return CLIPTextConfig(**{**shape, **unknown, "attn_implementation": "eager"})


def _norm_groups(file: WeightFile) -> int:
    text = file.metadata.get(_NORM_GROUPS_ENTRY, str(architecture.NORM_GROUPS))
    if not text.isdecimal() or int(text) < 1:
        raise ModelFileError(f"The header entry {_NORM_GROUPS_ENTRY} is no positive number: {text}")
    return int(text)


def _fill_text_encoder(model: Module, weights: Tensors, plan: DevicePlan) -> Module:
    home = plan.home_of(plan.text_device)
    # The reference computes in float32 on rounded weights.
    state = rounded_weights(model, weights, narrow=plan.text, wide=torch.float32, device=home)
    fill_weights(model, state, home)
    widen_during_forward(model, torch.float32)
    return model


def _require_all_used(tensors: Tensors, converted: Tensors) -> None:
    if unused := key_maps.unused_names(tensors, converted):
        raise ModelFileError(f"Unexpected entries: {list_names(unused)}")
