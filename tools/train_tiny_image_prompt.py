"""Trains what image prompts of the embedded model need: image encoder, adapter, negative tokens.

The frozen UNet draws and is shown, through encoder and adapter, the very drawing that it is to find
under noise, or, where it is told a caption, mostly another with the same background or landscape:
the picture says what is behind, the words what is in front. The noise is mostly strong, because
image prompts act in the first half of a run unless a request asks for more. Some rows have no
picture; these train the tokens of the negative prompt. Training goes from coarse to fine: first
only the lower levels of the UNet run, on coarse latents (tools/coarse_unet.py). Every step is a
function of the seed and its number, so a run that was stopped goes on from its last state file as
if it had not been.

    python -m tools.train_tiny_image_prompt --folder DIR [--steps 1000] [--output FOLDER]
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
from tools.guide_lessons import Lesson
from tools.image_prompt_lessons import Course, draw_lesson
from tools.image_prompt_model import ImagePromptModel
from tools.inlets import fit_inlets
from tools.latents import noise_loss
from tools.lookalikes import Lookalikes

logger = logging.getLogger(__name__)

ABSENT = 0.12
WEIGHTS = (0.4, 1.0)
STAGES = (  # until which share of the run, and what is shown
    (0.7, Course(count=10, level=2)),
    (0.85, Course(count=5, level=1)),
    (1.0, Course(count=3)),
)
USUAL_WEIGHT = 0.6
TEST_SIGMAS = (14.0, 8.0, 4.0, 2.0)
TEST_SEED = 1_000_003


class Trainer:
    """One training run: the frozen UNet, what learns beside it, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.seed = seed
        embedded = read_embedded()
        self.device, self.words, self.unet = embedded.device, embedded.words, embedded.unet
        self.lookalikes = Lookalikes(seed)
        self.model = ImagePromptModel(self.unet, seed=seed, device=self.device)
        path = folder / "image_prompt.pt"
        self.descent = Descent(path, self.model.learning, steps=steps, rate=rate, muon=True)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        course = self.descent.at(STAGES)
        return self.learn(draw_lesson(rng, self.words, self.lookalikes, course), rng)

    def learn(self, lesson: Lesson, rng: random.Random) -> float:
        """Run one step on a lesson; returns its loss."""
        weight = rng.uniform(*WEIGHTS)
        absent = torch.tensor([rng.random() < ABSENT for _ in lesson.shown])
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.model(lesson.on(self.device), weight, absent)
        return self.descent.follow(noise_loss(prediction, lesson.noise, lesson.level))


@torch.no_grad()
def clean_errors(trainer: Trainer, pictures: int) -> list[tuple[float, float, float]]:
    """Compare without and with image prompts on drawings that training does not see, no captions.

    Returns:
        Per noise level of ``TEST_SIGMAS``: the level, then the root mean square error of the
        estimated clean latent, without and with the drawing as image prompt.
    """
    model, found = trainer.model, []
    for sigma in TEST_SIGMAS:
        course = Course(count=1, drop=1.0, sigma=sigma)
        plain = ours = 0.0
        for index in range(pictures):
            rng = random.Random(f"{TEST_SEED} {sigma} {index}")
            lesson = draw_lesson(rng, trainer.words, trainer.lookalikes, course).on(trainer.device)
            plain += lesson.squared_error(model.plain(lesson))
            prediction = model(lesson, USUAL_WEIGHT, torch.tensor([False]))
            ours += lesson.squared_error(prediction)
        found.append((sigma, math.sqrt(plain / pictures), math.sqrt(ours / pictures)))
    return found


def main() -> None:
    """Read the arguments, train, write the files and compare without and with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=1000, rate=2e-3)
    parser.add_argument("--output", type=Path, help="models root where the files are written")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    prepare(arguments)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    levels = (course.level for _, course in STAGES)
    fit_inlets(trainer.words, trainer.model.pyramid, levels, arguments.seed)
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        trainer.model.write(arguments.output)
    for sigma, plain, ours in clean_errors(trainer, arguments.pictures):
        logger.info("sigma %.1f: error %.3f without, %.3f with", sigma, plain, ours)


if __name__ == "__main__":
    main()
