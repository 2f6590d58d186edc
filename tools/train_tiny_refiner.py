"""Trains the refiner of the embedded model: a UNet that finishes what a base model has begun.

It sees only the noise levels that are left at the earliest switch (tools/refiner_lessons.py), and
learns to lead imperfect pictures to drawings with sharp edges and flat colours. Of the base model
it needs the text encoder alone, which stays as it is. First the pictures are small. Every step is a
function of the seed and its number, so a run that was stopped goes on from its last state file as
if it had not been.

    python -m tools.train_tiny_refiner --folder DIR [--steps 4500] [--output FILE]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.descent import Descent, add_arguments, complete, prepare
from tools.embedded import read_embedded
from tools.latents import noise_loss
from tools.refiner_lessons import Course, Lesson, draw_lesson
from tools.refiner_model import make_refiner, write_refiner

logger = logging.getLogger(__name__)

SMALL_SHARE = 0.7
SMALL = Course(count=8, part=4)
LARGE = Course(count=3, part=2)
TEST_SIGMAS = (2.0, 1.2, 0.6, 0.3, 0.14)
TEST_SEED = 1_000_003


class Trainer:
    """One training run: what learns, the frozen base model, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        torch.manual_seed(seed)
        self.seed = seed
        self.base = read_embedded()
        self.device, self.words = self.base.device, self.base.words
        self.unet: Any = make_refiner().to(self.device)
        path, weights = folder / "refiner.pt", list(self.unet.parameters())
        self.descent = Descent(path, weights, steps=steps, rate=rate, muon=True)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        is_small = self.descent.step < SMALL_SHARE * self.descent.steps
        return self.learn(draw_lesson(rng, self.words, SMALL if is_small else LARGE))

    def learn(self, lesson: Lesson) -> float:
        """Run one step on given pictures; returns its loss."""
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.predict(lesson)
        return self.descent.follow(noise_loss(prediction, lesson.noise, 0))

    def predict(self, lesson: Lesson) -> Tensor:
        """Predict the noise and what else is wrong: (B, 4, h, w) float32 on the CPU."""
        return _predicted(self.unet, lesson.on(self.device).told_refiner())

    def predict_base(self, lesson: Lesson) -> Tensor:
        """Predict the noise as the base model does: (B, 4, h, w) float32 on the CPU."""
        return _predicted(self.base.unet, lesson.on(self.device).told_base())


def _predicted(unet: Any, told: dict[str, Any]) -> Tensor:
    prediction: Tensor = unet(**told).sample
    return prediction.float().cpu()


@torch.no_grad()
def clean_errors(
    trainer: Trainer, pictures: int, *, worn: bool
) -> list[tuple[float, float, float]]:
    """Compare base and refiner on drawings that training does not see.

    Args:
        trainer: Whose networks are compared.
        pictures: How many, per noise level.
        worn: Whether the pictures are imperfect.

    Returns:
        Per noise level of ``TEST_SIGMAS``: the level, then the root mean square error of the
        estimated clean latent, of the base and of the refiner.
    """
    found = []
    for sigma in TEST_SIGMAS:
        course = Course(count=1, part=2, worn=worn, sigma=sigma)
        base = ours = 0.0
        for index in range(pictures):
            rng = random.Random(f"{TEST_SEED} {sigma} {index}")
            lesson = draw_lesson(rng, trainer.words, course)
            base += _squared_error(trainer.predict_base(lesson), lesson)
            ours += _squared_error(trainer.predict(lesson), lesson)
        found.append((sigma, math.sqrt(base / pictures), math.sqrt(ours / pictures)))
    return found


def _squared_error(prediction: Tensor, lesson: Lesson) -> float:
    error = (prediction - lesson.noise.target) * lesson.noise.sigma.view(-1, 1, 1, 1)
    return float(error.square().mean())


def main() -> None:
    """Read the arguments, train, write the file and compare base and refiner."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=4500, rate=2e-3)
    parser.add_argument("--output", type=Path, help="where the refiner's file is written")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    prepare(arguments)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        write_refiner(trainer.unet, trainer.base.file, arguments.output)
    for worn in (False, True):
        for sigma, base, ours in clean_errors(trainer, arguments.pictures, worn=worn):
            state = "imperfect" if worn else "intact"
            logger.info("%s, sigma %.2f: error %.3f base, %.3f refiner", state, sigma, base, ours)


if __name__ == "__main__":
    main()
