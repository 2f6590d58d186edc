"""Solves the last layer of the trained UNet by least squares.

The last block of the UNet puts out what it takes for noise (tools/tiny_model.py). How it reads that
from what comes into it is linear, so the best weights for given features can be computed. Steps of
a gradient method stay too coarse for mean colours under strong noise, where an error of the output
counts fifteenfold.

    python -m tools.fit_output --folder DIR [--batches 40]
"""

from __future__ import annotations

import argparse
import logging
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.latents import NoisyBatch, add_noise, draw_timesteps, loss_weight
from tools.prompts import make_batch
from tools.tiny_model import HIGHWAY, Conditioning
from tools.train_tiny import (
    DEFAULT_SIZE,
    SIZES,
    Trainer,
    draw_latents,
    on,
    size_numbers,
)

logger = logging.getLogger(__name__)

BATCH = 4
COARSE_LEVEL = 3
FINE_LIMIT = 6.0  # weight of single pixels, at most
RIDGE = 2e-3
TAPS = 9


class LastBlock:
    """The last residual block, seen as linear in its weights."""

    def __init__(self, unet: Any) -> None:
        self._block = unet.up_blocks[-1].resnets[-1]
        self._seen: dict[str, Tensor] = {}
        self._watch(self._block, "input")
        self._watch(self._block.conv2, "branch")

    @property
    def width(self) -> int:
        """How many numbers the prediction of a pixel is a linear function of."""
        shortcut, branch = self._block.conv_shortcut, self._block.conv2
        return int(shortcut.in_channels + TAPS * branch.in_channels + 1)

    def _watch(self, module: nn.Module, name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._seen[name] = inputs[0].detach().float().cpu()

        module.register_forward_pre_hook(keep)

    def features(self) -> Tensor:
        """Return what came in at the last run: (B, width, h, w)."""
        came, branch = self._seen["input"], self._seen["branch"]
        size = came.shape[-2:]
        taps = functional.unfold(branch, 3, padding=1).view(len(came), -1, *size)
        return torch.cat([came, taps, torch.ones(len(came), 1, *size)], 1)

    @torch.no_grad()
    def set_weights(self, weights: Tensor) -> None:
        """Put solved weights, (4, width), into the block, each with its negative beside it."""
        shortcut, branch = self._block.conv_shortcut, self._block.conv2
        split = [shortcut.in_channels, TAPS * branch.in_channels, 1]
        direct, taps, constant = torch.split(weights.to(shortcut.weight), split, 1)
        for channel in range(HIGHWAY):
            for row, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                shortcut.weight[row, :, 0, 0] = sign * direct[channel]
                shortcut.bias[row] = sign * constant[channel, 0]
                branch.weight[row] = sign * taps[channel].view(branch.in_channels, 3, 3)
                branch.bias[row] = 0


class Equations:
    """Weighted normal equations, for pixels and for means over coarse blocks."""

    def __init__(self, width: int) -> None:
        self._left, self._right = torch.zeros(width, width), torch.zeros(width, HIGHWAY)

    def add(self, features: Tensor, batch: NoisyBatch) -> None:
        """Add the pictures of a batch."""
        factor = 2**COARSE_LEVEL
        fine = loss_weight(batch.sigma, 0).clamp(max=FINE_LIMIT)
        coarse = loss_weight(batch.sigma, COARSE_LEVEL) * factor**2
        means = functional.avg_pool2d(features, factor)
        wanted = functional.avg_pool2d(batch.target, factor)
        for index in range(len(features)):
            # every fifth pixel is enough, and a stride prime to the width meets all columns
            step = slice(index, None, 5)
            pixels, targets = features[index].flatten(1), batch.target[index].flatten(1)
            self._add(pixels[:, step], targets[:, step], fine[index])
            self._add(means[index].flatten(1), wanted[index].flatten(1), coarse[index])

    def _add(self, features: Tensor, targets: Tensor, weight: Tensor) -> None:
        share = weight / features.shape[1]
        self._left += share * (features @ features.T)
        self._right += share * (features @ targets.T)

    def solve(self) -> Tensor:
        """Return the weights, (4, width), held small by a ridge relative to each feature."""
        ridge = RIDGE * torch.diag(self._left.diagonal().clamp(min=1e-6))
        solved: Tensor = torch.linalg.solve(self._left + ridge, self._right)
        return solved.T


@torch.no_grad()
def fit_output(trainer: Trainer, *, batches: int, seed: int) -> None:
    """Fit the last block of the averaged networks on freshly drawn pictures."""
    networks, rng = trainer.averaged, random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    block = LastBlock(networks.pyramid.unet)
    equations = Equations(block.width)
    for _ in range(batches):
        size = DEFAULT_SIZE if rng.random() < 0.6 else rng.choice(SIZES)
        latents, captions = draw_latents(rng, size, 0, BATCH)
        timestep = draw_timesteps(BATCH, 0, trainer.sigmas, generator)
        batch = add_noise(latents, timestep, 0, trainer.sigmas, generator)
        numbers = size_numbers(size, timestep, generator).to(trainer.device)
        with torch.autocast(trainer.device, torch.bfloat16):
            context, pooled = networks.text(
                on(make_batch(trainer.table, captions, rng), trainer.device)
            )
            networks.pyramid(
                batch.noisy.to(trainer.device),
                timestep.to(trainer.device),
                Conditioning(context=context, pooled=pooled, size_numbers=numbers),
            )
        equations.add(block.features(), batch)
    weights = equations.solve()
    logger.info("largest weight %.2f", float(weights.abs().max()))
    block.set_weights(weights)


def main() -> None:
    """Read the arguments, fit, and write the state file again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="with the state file")
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(arguments.folder, seed=0, rate=1e-3, device=device)
    trainer.load()
    fit_output(trainer, batches=arguments.batches, seed=arguments.seed)
    trainer.save()


if __name__ == "__main__":
    main()
