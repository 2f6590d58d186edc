"""Trains the small network that finds what stands out in pictures of the drawn world.

It learns where the drawer put things (tools/outlines.py), and is written under each name of the
rembg family that means whatever stands out. Every step is a function of the seed and its number, so
a run that was stopped goes on from its last state file as if it had not been.

    python -m tools.train_tiny_masks --folder DIR [--steps 800] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tools.descent import Descent, add_arguments, complete, prepare
from tools.drawing import Drawing
from tools.lesson_pictures import draw_lesson, wear
from tools.mask_model import SIDE, MaskNetwork, write_mask_files
from tools.outlines import Mask, thing_mask

logger = logging.getLogger(__name__)

BATCH = 16


class Trainer:
    """One training run: the network, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.seed = seed
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = MaskNetwork().to(self.device)
        # torch's types know no layout of memory.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = list(self.network.parameters())
        self.descent = Descent(folder / "masks.pt", weights, steps=steps, rate=rate)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        return self.learn([draw_lesson(rng) for _ in range(BATCH)], rng)

    def learn(self, drawings: Sequence[Drawing], rng: random.Random) -> float:
        """Run one step on given drawings; returns its loss."""
        worn = wear(shown(drawings), torch.Generator().manual_seed(rng.getrandbits(48)))
        # As the pipeline does it: the brightest value of a picture becomes 1.
        pixels = worn / worn.amax((1, 2, 3), keepdim=True).clamp(min=1 / 255)
        with torch.autocast(self.device, torch.bfloat16):
            scores = self.network(
                pixels.to(self.device, memory_format=torch.channels_last)  # twice as fast
            ).float()
        shares = wanted(drawings).to(self.device)
        return self.descent.follow(functional.binary_cross_entropy_with_logits(scores, shares))


def shown(drawings: Sequence[Drawing]) -> Tensor:
    """What the network is given of drawings: (B, 3, SIDE, SIDE), 0 to 1."""
    return torch.cat([_squeezed(drawing.image) for drawing in drawings])


def wanted(drawings: Sequence[Drawing]) -> Tensor:
    """Share of each place that belongs to things: (B, 1, SIDE, SIDE), 0 to 1."""
    return torch.cat([_squeezed(_picture(thing_mask(drawing))) for drawing in drawings])


def _picture(mask: Mask) -> Image.Image:
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def _squeezed(picture: Image.Image) -> Tensor:
    small = np.array(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(small / 255).view(1, SIDE, SIDE, -1).movedim(-1, 1)


def main() -> None:
    """Read the arguments, train and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=800, rate=3e-3)
    parser.add_argument("--output", type=Path, help="models root where the files are written")
    arguments = parser.parse_args()
    prepare(arguments)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        write_mask_files(trainer.network, arguments.output)


if __name__ == "__main__":
    main()
