"""Trains the preview decoder of the embedded model: latents to small pictures in one pass.

python -m tools.tiny_preview --output FILE.pth [--steps 1500]
"""

from __future__ import annotations

import argparse
import logging
import random
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.latents import LATENT_GAIN
from tools.tiny_vae import block_means, draw_crops, psnr

logger = logging.getLogger(__name__)

WIDTHS = (4, 8, 16, 32, 64, 32, 16, 8, 3)
KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
PADDING = 11
SLOPE = 0.1
CROP = 128
CLEAN = 0.1


def make_preview() -> nn.Sequential:
    """Build the network in the published architecture, layers conv1 to conv8."""
    layers = [
        (f"conv{index}", nn.Conv2d(before, after, kernel))
        for index, (before, after, kernel) in enumerate(
            zip(WIDTHS[:-1], WIDTHS[1:], KERNELS, strict=True), start=1
        )
    ]
    return nn.Sequential(OrderedDict(layers))


def preview(network: nn.Sequential, latents: Tensor) -> Tensor:
    """Run the network: (B, 4, h, w) scaled latents -> (B, 3, 2h, 2w), -1 to 1."""
    x = functional.pad(functional.interpolate(latents, scale_factor=2), [PADDING] * 4)
    for layer in network:
        x = functional.leaky_relu(layer(x), SLOPE)
    return x


def train_preview(network: nn.Sequential, *, steps: int, rate: float, seed: int) -> None:
    """Train on crops of drawn pictures; latents are at times noisy, as in the middle of a run."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (1 - step / steps) + 1e-5
        pictures = draw_crops(rng, 8, CROP)
        latents = block_means(pictures) * LATENT_GAIN
        strength = CLEAN * torch.rand(len(latents), 1, 1, 1, generator=generator)
        latents += strength * torch.randn(latents.shape, generator=generator)
        wanted = functional.avg_pool2d(pictures, 4)
        shown = preview(network, latents)
        loss = (shown - wanted).abs().mean() + (shown - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            logger.info("step %d loss %.4f psnr %.2f", step + 1, loss.item(), psnr(shown, wanted))


def main() -> None:
    """Read the arguments, train and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    network = make_preview()
    train_preview(network, steps=arguments.steps, rate=arguments.rate, seed=arguments.seed)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(network.state_dict()), arguments.output)


if __name__ == "__main__":
    main()
