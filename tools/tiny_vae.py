"""Builds the VAE of the embedded model and trains what its decoder adds.

The encoder is constructed, not trained: its downsamplers average, colours travel as pairs of
channels with opposite sign (silu(x) - silu(-x) = x), two constant channels of +-8 make the
one-group normalisation a fixed scale, and residual branches are zero. A latent is the mean of 8 x 8
pixels of R, G and B and how much brighter the upper half of the block is. The decoder spreads these
smoothly; its residual branches then learn to draw sharp edges.

    python -m tools.tiny_vae --folder DIR [--steps 1500]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tools.drawing import draw

logger = logging.getLogger(__name__)

CHANNELS = (16, 32, 32, 32)
CONSTANT = 8.0
GAIN = 13.8  # times the scale factor 0.13025 gives latents of about unit scale
LUMA = (0.299, 0.587, 0.114)
CROP = 80
PLUS, MINUS = slice(0, 3), slice(3, 6)
DETAIL = (6, 7)
CONSTANTS = (8, 9)


def make_vae() -> Any:
    """Construct the VAE; only the decoder's residual branches require gradients."""
    vae: Any = AutoencoderKL(  # type: ignore[no-untyped-call]  # diffusers has no types
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=256,
        scaling_factor=0.13025,
    )
    with torch.no_grad():
        _pass_through(vae)
        _construct_encoder(vae)
        _construct_decoder(vae)
    vae.requires_grad_(False)
    for name, parameter in vae.decoder.named_parameters():
        if "resnets" in name and "shortcut" not in name:
            parameter.requires_grad_(True)
    return vae


def _clear(layer: Any) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


def _pass_through(vae: Any) -> None:
    """Make attention and residual branches silent, and resampling plain."""
    for half in (vae.encoder, vae.decoder):
        _clear(half.mid_block.attentions[0].to_out[0])
    smooth = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    centre = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    for name, layer in vae.named_modules():
        if name.endswith("conv2"):
            _clear(layer)
        elif name.endswith("conv_shortcut"):
            _clear(layer)
            for channel in range(min(layer.in_channels, layer.out_channels)):
                layer.weight[channel, channel] = 1
        elif name.endswith("downsamplers.0.conv"):
            _clear(layer)
            for channel in range(layer.in_channels):
                layer.weight[channel, channel, :2, :2] = 0.25
        elif name.endswith("upsamplers.0.conv"):
            _clear(layer)
            for channel in range(layer.in_channels):
                # zero padding would darken the constants at the border
                layer.weight[channel, channel] = centre if channel in CONSTANTS else smooth


def _spread_constants(bias: Tensor) -> None:
    bias[CONSTANTS[0]], bias[CONSTANTS[1]] = CONSTANT, -CONSTANT


def _undo_norm(norm: nn.GroupNorm) -> None:
    """Give a one-group normalisation the weight that restores the scale before it."""
    norm.weight.fill_(math.sqrt(2 * CONSTANT**2 / norm.num_channels))
    norm.bias.zero_()


def _construct_encoder(vae: Any) -> None:
    encoder = vae.encoder
    _clear(encoder.conv_in)
    for colour in range(3):
        encoder.conv_in.weight[colour, colour, 1, 1] = 1
        encoder.conv_in.weight[3 + colour, colour, 1, 1] = -1
    _spread_constants(encoder.conv_in.bias)
    last = encoder.down_blocks[2].downsamplers[0].conv
    for channel, sign in zip(DETAIL, (1.0, -1.0), strict=True):
        last.weight[channel] = 0
        for colour, share in enumerate(LUMA):
            last.weight[channel, colour, 0, :2] = 0.5 * sign * share
            last.weight[channel, colour, 1, :2] = -0.5 * sign * share
    _undo_norm(encoder.conv_norm_out)
    _clear(encoder.conv_out)
    encoder.conv_out.bias[4:] = -8  # log variance: practically no noise
    for colour in range(3):
        encoder.conv_out.weight[colour, colour, 1, 1] = 1
        encoder.conv_out.weight[colour, 3 + colour, 1, 1] = -1
    encoder.conv_out.weight[3, DETAIL[0], 1, 1] = 1
    encoder.conv_out.weight[3, DETAIL[1], 1, 1] = -1
    _clear(vae.quant_conv)
    for channel in range(8):
        vae.quant_conv.weight[channel, channel] = GAIN if channel < 4 else 1


def _construct_decoder(vae: Any) -> None:
    decoder = vae.decoder
    _clear(vae.post_quant_conv)
    for channel in range(4):
        vae.post_quant_conv.weight[channel, channel] = 1 / GAIN
    decoder.conv_in.weight.mul_(0.5)  # channels from 10 on are free for the residual branches
    decoder.conv_in.bias.zero_()
    decoder.conv_in.weight[:10] = 0
    _spread_constants(decoder.conv_in.bias)
    for colour in range(3):
        decoder.conv_in.weight[colour, colour, 1, 1] = 1
        decoder.conv_in.weight[3 + colour, colour, 1, 1] = -1
    decoder.conv_in.weight[DETAIL[0], 3, 1, 1] = 1
    decoder.conv_in.weight[DETAIL[1], 3, 1, 1] = -1
    _undo_norm(decoder.conv_norm_out)
    _clear(decoder.conv_out)
    for colour in range(3):
        decoder.conv_out.weight[colour, colour, 1, 1] = 1
        decoder.conv_out.weight[colour, 3 + colour, 1, 1] = -1


def block_means(pictures: Tensor) -> Tensor:
    """Return the latents of pictures before the gain: (B, 3, H, W) -> (B, 4, H/8, W/8)."""
    luma = (functional.avg_pool2d(pictures, (4, 8)) * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1)
    detail = luma[:, None, 0::2] - luma[:, None, 1::2]
    return torch.cat([functional.avg_pool2d(pictures, 8), detail], 1)


def draw_crops(rng: random.Random, count: int, side: int) -> Tensor:
    """Cut the busiest of a few places out of drawn pictures: (B, 3, side, side), -1 to 1."""
    crops = []
    for _ in range(count):
        width, height = rng.choice([(288, 224), (576, 448), (1152, 896), (1152, 896)])
        picture = draw(rng, (2 * width, 2 * height)).image
        places = [
            (
                8 * rng.randrange((width - side) // 8 + 1),
                8 * rng.randrange((height - side) // 8 + 1),
            )
            for _ in range(4)
        ]
        cuts = [picture.crop((2 * x, 2 * y, 2 * (x + side), 2 * (y + side))) for x, y in places]
        small = [np.asarray(cut.resize((side, side), Image.Resampling.BOX)) for cut in cuts]
        crops.append(max(small, key=lambda pixels: float(pixels.std())))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _edges(pictures: Tensor) -> tuple[Tensor, Tensor]:
    return (
        pictures[..., 1:] - pictures[..., :-1],
        pictures[..., 1:, :] - pictures[..., :-1, :],
    )


def picture_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Judge pixels (absolute and squared) and the differences between neighbours."""
    error = decoded - wanted
    slopes = sum((a - b).abs().mean() for a, b in zip(_edges(decoded), _edges(wanted), strict=True))
    return error.abs().mean() + error.square().mean() + 0.3 * slopes


def train_decoder(vae: Any, *, steps: int, rate: float, seed: int) -> None:
    """Train the decoder's residual branches on crops of drawn pictures."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 30) * (1 - step / steps) ** 0.7 + 1e-5
        pictures = draw_crops(rng, 8, CROP)
        latents = block_means(pictures)
        latents += 0.02 * torch.randn(latents.shape, generator=generator)
        decoded = vae.decode(latents * GAIN).sample
        loss = picture_loss(decoded, pictures)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 49:
            logger.info(
                "step %d loss %.4f psnr %.2f", step + 1, loss.item(), psnr(decoded, pictures)
            )


def psnr(decoded: Tensor, wanted: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures in -1 to 1."""
    return float(10 * torch.log10(4 / (decoded - wanted).square().mean()))


def main() -> None:
    """Read the arguments, build and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for vae.pt")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    vae = make_vae()
    train_decoder(vae, steps=arguments.steps, rate=arguments.rate, seed=arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.save(vae.state_dict(), arguments.folder / "vae.pt")


if __name__ == "__main__":
    main()
