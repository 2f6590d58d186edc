"""The UNet of the embedded refiner, and its file in the key layout of the SDXL refiner.

As in the published one, attention is in the inner levels but not in the lowest, the context is that
of the second text encoder alone, and of the numbers beside the pooled vector the last is a score.
Knows nothing about pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file

from fooocus_core.loading.weight_file import WeightFile
from tools.tiny_export import SECOND_PREFIX, StateDict, unet_keys
from tools.tiny_model import HEAD_WIDTH, HIGHWAY, SIZE_WIDTH, TEXT_WIDTH

CHANNELS = (32, 64, 64, 64, 64)
ATTENTION_LEVELS = (2, 3)
SIZE_COUNT = 5  # height, width, 0, 0, score
TEXT_PREFIX = "conditioner.embedders.0.model."
TABLE = "token_embedding.weight"
METADATA = {"modelspec.architecture": "stable-diffusion-xl-v1-refiner"}


def make_refiner() -> Any:
    """Build the UNet with fresh weights; at first it takes its whole input for noise."""
    has_attention = [level in ATTENTION_LEVELS for level in range(len(CHANNELS))]
    from_top = ["CrossAttnDownBlock2D" if found else "DownBlock2D" for found in has_attention]
    to_top = ["CrossAttnUpBlock2D" if found else "UpBlock2D" for found in has_attention[::-1]]
    unet: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]  # diffusers has no types
        sample_size=128,
        down_block_types=from_top,
        up_block_types=to_top,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        transformer_layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(max(width // HEAD_WIDTH, 1) for width in CHANNELS),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTH + SIZE_COUNT * SIZE_WIDTH,
    )
    unet.set_attn_processor(AttnProcessor())  # as in tools/tiny_model.py
    _take_input_for_noise(unet)
    return unet


@torch.no_grad()
def _take_input_for_noise(unet: Any) -> None:
    """Make the UNet begin with its input as its answer, and with residual branches that say little.

    As in the base's UNet (tools/tiny_model.py), the last block puts out what is taken for noise and
    its negative: the last normalisation gives each the strength of noise, whatever that of the
    input, and what comes after it passes their difference unchanged.
    """
    for name, module in unet.named_modules():
        if name.endswith(("conv2", "proj_out")):
            module.weight.mul_(0.1)
    last, inlet = unet.up_blocks[-1].resnets[-1], unet.conv_in
    kept = 2 * HIGHWAY  # channels of the input that hold places without their neighbours
    centre = inlet.weight[:kept, :, 1:2, 1:2].clone()
    inlet.weight[:kept] = 0
    inlet.weight[:kept, :, 1:2, 1:2] = centre
    back = torch.linalg.pinv(centre.flatten(1))  # (4, 8): channels back to the latent
    hidden = last.conv_shortcut.in_channels - inlet.out_channels
    unet.conv_out.weight.zero_()
    unet.conv_out.bias.zero_()
    for channel in range(HIGHWAY):
        for row, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
            last.conv2.weight[row] = 0
            last.conv2.bias[row] = 0
            last.conv_shortcut.weight[row] = 0
            last.conv_shortcut.weight[row, hidden : hidden + kept, 0, 0] = sign * back[channel]
            last.conv_shortcut.bias[row] = -sign * (back[channel] @ inlet.bias[:kept])
            unet.conv_out.weight[channel, row, 1, 1] = sign


def refiner_keys(unet: Any, base: WeightFile) -> StateDict:
    """Collect what a refiner's file holds, fp16, under the published names.

    Of the text encoder, which a refiner has but nobody asks, there are the base's layers and a
    single row of its vocabulary. A VAE it does not need: its latents are the base's.

    Args:
        unet: The trained UNet.
        base: The checkpoint whose text encoder told it the captions.
    """
    text = dict(base.section(SECOND_PREFIX))
    text[TABLE] = text[TABLE][:1]
    tensors = {
        **unet_keys(unet.state_dict()),
        **{TEXT_PREFIX + name: tensor for name, tensor in text.items()},
    }
    return {key: tensor.detach().cpu().half().contiguous() for key, tensor in tensors.items()}


def write_refiner(unet: Any, base: WeightFile, output: Path) -> None:
    """Write the file; an older one at the place is replaced only by a whole new one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_suffix(".part")
    save_file(refiner_keys(unet, base), part, metadata=METADATA)
    part.replace(output)
