"""Trains what the embedded model needs to inpaint: a patch of the UNet's weights, beside a head.

The UNet learns to continue pictures into holes (tools/inpaint_lessons.py). Only its two lowest
levels and its last block learn: first on small pictures, then on whole ones. The patch holds what
was added to the weights, in 8 bits. Every step is a function of the seed and its number, so a run
that was stopped goes on from its last state file as if it had not been.

    python -m tools.train_tiny_inpaint --folder DIR [--steps 1000] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from pathlib import Path

import torch

from tools.descent import Descent, add_arguments, complete, prepare
from tools.embedded import read_embedded
from tools.inpaint_lessons import Lesson, draw_lesson, hole_loss
from tools.inpaint_unet import InpaintUNet, write_files

logger = logging.getLogger(__name__)

SMALL_SHARE, SMALL_PART, SMALL_BATCH = 0.8, 2, 8
BATCH = 3
TEST_SIGMAS = (12.0, 6.0, 3.0, 1.5, 0.7, 0.3)
TEST_SEED = 1_000_003


class Trainer:
    """One training run: the networks, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.seed = seed
        embedded = read_embedded()
        self.device, self.words = embedded.device, embedded.words
        self.model = InpaintUNet(embedded.unet)
        path = folder / "inpaint.pt"
        self.descent = Descent(path, self.model.learning, steps=steps, rate=rate, muon=True)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        if self.descent.step < SMALL_SHARE * self.descent.steps:
            return self.learn(draw_lesson(rng, self.words, SMALL_BATCH, part=SMALL_PART))
        return self.learn(draw_lesson(rng, self.words, BATCH))

    def learn(self, lesson: Lesson) -> float:
        """Run one step on given pictures; returns its loss."""
        lesson = lesson.on(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.model(lesson)
        return self.descent.follow(hole_loss(prediction, lesson))


@torch.no_grad()
def hole_errors(trainer: Trainer, pictures: int) -> list[tuple[float, float, float]]:
    """Compare the model without and with its files on drawings that training does not see.

    Returns:
        Per noise level of ``TEST_SIGMAS``: the level, then the root mean square error of the
        estimated clean latent inside holes, without and with head and patch.
    """
    model, found = trainer.model, []
    patched = model.patched()
    for sigma in TEST_SIGMAS:
        plain = ours = area = 0.0
        for index in range(pictures):
            rng = random.Random(f"{TEST_SEED} {sigma} {index}")
            lesson = draw_lesson(rng, trainer.words, 1, sigma=sigma).on(trainer.device)
            area += float(lesson.mask.mean())
            with model.holding(model.base):
                plain += _squared_error(model.plain(lesson), lesson)
            with model.holding(patched):
                ours += _squared_error(model(lesson), lesson)
        found.append((sigma, math.sqrt(plain / area), math.sqrt(ours / area)))
    return found


def _squared_error(prediction: torch.Tensor, lesson: Lesson) -> float:
    error = (prediction - lesson.noise.target) * lesson.noise.sigma.view(-1, 1, 1, 1)
    return float((error * lesson.mask).square().mean())


def main() -> None:
    """Read the arguments, train, write the files and compare without and with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=1000, rate=1e-3)
    parser.add_argument("--output", type=Path, help="folder where head and patch are written")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    prepare(arguments)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        write_files(trainer.model, arguments.output)
    for sigma, plain, ours in hole_errors(trainer, arguments.pictures):
        logger.info("sigma %.1f: error in holes %.3f without, %.3f with", sigma, plain, ours)


if __name__ == "__main__":
    main()
