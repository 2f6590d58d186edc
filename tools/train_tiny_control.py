"""Trains a control-LoRA of the embedded model, for edges or for CPDS.

The frozen UNet is asked for drawings under noise while the control net is shown their control
picture, made as the pipeline makes it and counted as the pipeline counts it. Training goes from
coarse to fine: the lower levels learn first, alone and on coarse latents (tools/coarse_control.py).
Over half of the steps go on from what the step before predicted, as a sampler does from noise
without any picture, so that it learns to put right what it drew wrongly. Every step is a function
of the seed and its number, so a run that was stopped goes on from its last state file as if it had
not been.

    python -m tools.train_tiny_control --folder DIR --kind PyraCanny [--output FOLDER]
    python -m tools.train_tiny_control --folder DIR --kind CPDS [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.downloads import CONTROL_FILES
from tools.coarse_control import with_hint
from tools.control_lessons import Album, Course, Group, make_group, make_lesson
from tools.control_model import ControlModel
from tools.descent import Descent, add_arguments, complete, prepare
from tools.drawing import draw
from tools.embedded import GUIDANCE, read_embedded, say
from tools.guide_lessons import Lesson
from tools.latents import SIGMA_MAX, NoisyBatch, go_on
from tools.train_tiny import DEFAULT_SIZE

logger = logging.getLogger(__name__)

FIT_LESSONS = 6
WEIGHTS, FULL_SHARE = (0.5, 1.0), 0.6
# How often a walk begins where a single step could be, of how many steps, and to which share of the
# noise each goes. A sampler takes more and shorter ones.
WALKS, WALK_STEPS, GO_ON_TO = 0.15, 8, (0.5, 0.85)
USUAL_ERROR = (0.05, 0.03)  # mean square in clean latents: without noise, and what sigma adds
# How many times as much places count where a drawing changes, and what is a whole change.
EDGES_COUNT, CHANGE, CHANGE_REACH = 5.0, 0.5, 5
TEST_SIGMAS = (14.0, 8.0, 4.0, 2.0)
TEST_SEED = 1_000_003


STAGES = (  # until which share of the run, and what is shown
    (0.2, Course(level=2, noises=2)),
    (0.45, Course(level=1, noises=2)),
    (1.0, Course(level=0)),
)


class Trainer:
    """One training run: the frozen UNet, its control net, and where the run is."""

    def __init__(
        self, folder: Path, kind: ControlKind, *, seed: int, steps: int, rate: float
    ) -> None:
        self.seed, self.kind = seed, kind
        embedded = read_embedded()
        self.device, self.words = embedded.device, embedded.words
        self.model = ControlModel(embedded.unet, seed=seed)
        self.album = Album(f"{seed} {kind}", kind, self.model.look)
        path = folder / f"control_{kind}.pt"
        self.descent = Descent(path, self.model.learning, steps=steps, rate=rate, muon=True)

    def prepare(self, level: int, lessons: Iterable[Lesson]) -> None:
        """Let a level run alone; lessons of level 0 show what comes down to it."""
        hints = torch.Generator().manual_seed(self.seed)
        examples = (with_hint(self.model.unet, lesson, hints) for lesson in lessons)
        explained = self.model.prepare(level, examples)
        logger.info("level %d: %.0f %% of what it reads explained", level, 100 * explained)

    def _fit_lessons(self) -> Iterator[Lesson]:
        for index in range(FIT_LESSONS):
            rng = random.Random(f"{self.seed} inlet {index}")
            yield make_lesson(rng, self.words, self.album.at(0, rng), Course(level=0))

    def train_step(self) -> float:
        """Run one step, or all of a walk; returns its last loss."""
        step = self.descent.step
        rng = random.Random(f"{self.seed} {step}")
        course = self.descent.at(STAGES)
        if course.level not in self.model.levels:
            self.prepare(course.level, self._fit_lessons())
        group = self.album.at(step, rng)
        weight = 1.0 if rng.random() < FULL_SHARE else rng.uniform(*WEIGHTS)
        if rng.random() < WALKS:
            return self.walk(group, course, weight, rng)
        return self.learn(make_lesson(rng, self.words, group, course), weight)[0]

    def learn(self, lesson: Lesson, weight: float) -> tuple[float, Tensor]:
        """Run one step on a lesson; returns its loss and what was predicted before it."""
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.model(lesson.on(self.device), weight)
        loss = control_loss(prediction, lesson.noise, lesson.level)
        return self.descent.follow(loss), prediction.detach()

    def walk(self, group: Group, course: Course, weight: float, rng: random.Random) -> float:
        """Run steps on what a sampler meets that begins with noise; returns the last one's loss."""
        beginning = replace(course, sigma=SIGMA_MAX, is_beginning=True)
        lesson = make_lesson(rng, self.words, group, beginning)
        loss, told = self.learn(lesson, weight)
        for _ in range(WALK_STEPS - 1):
            lesson = self.go_on(lesson, told, weight, rng)
            loss, told = self.learn(lesson, weight)
        return loss

    @torch.no_grad()
    def go_on(self, lesson: Lesson, told: Tensor, weight: float, rng: random.Random) -> Lesson:
        """Ask at less noise, where what was predicted wrongly so far can be seen and put right."""
        silent = say(self.words, [""] * len(lesson.said.pooled), "", lesson.said.size_numbers)
        with torch.autocast(self.device, torch.bfloat16):
            untold = self.model(replace(lesson, said=silent).on(self.device), weight)
        prediction = untold.lerp(told, GUIDANCE)
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        shares = torch.empty(len(prediction)).uniform_(*GO_ON_TO, generator=generator)
        sigma = lesson.noise.sigma * shares
        noise = go_on(lesson.noise, prediction, sigma, lesson.level, generator)
        return replace(lesson, noise=noise)


def control_loss(prediction: Tensor, batch: NoisyBatch, level: int) -> Tensor:
    """How far the clean latents are off that predictions stand for, (), above all at edges.

    All noise levels count alike: errors are compared with what is usual there.

    Args:
        prediction: (B, 4, h, w), as the target of the batch.
        batch: What was asked.
        level: Of the batch.
    """
    clean, estimate = (batch.estimate(x, level) for x in (batch.target, prediction))
    around = functional.avg_pool2d(clean, CHANGE_REACH, 1, CHANGE_REACH // 2, False, False)
    change = (clean - around).abs().amax(1, keepdim=True) / CHANGE
    counts = 1 + (EDGES_COUNT - 1) * change.clamp(max=1.0)
    least, per_sigma = USUAL_ERROR
    wrong = ((estimate - clean).square() * counts).mean((1, 2, 3))
    return (wrong / (least + per_sigma * batch.sigma)).mean()


@torch.no_grad()
def clean_errors(
    trainer: Trainer, pictures: int, *, level: int = 0, size: tuple[int, int] = DEFAULT_SIZE
) -> list[tuple[float, float, float, float]]:
    """Compare without and with control pictures on drawings that training does not see.

    Returns:
        Per noise level of ``TEST_SIGMAS``: the level, then the root mean square error of the
        estimated clean latent, all with captions of other shapes: of the UNet alone, with a black
        control picture, and with the drawing's. What the second is better than the first, the
        control net does without looking.
    """
    model, found = trainer.model, []
    groups = [_unseen(trainer, index, size) for index in range(pictures)]
    black = model.look(torch.zeros(1, 3, size[1], size[0])).half()
    for sigma in TEST_SIGMAS:
        course = Course(level=level, drop=0.0, missay=1.0, sigma=sigma)
        errors = [0.0, 0.0, 0.0]
        for index, group in enumerate(groups):
            rng = random.Random(f"{TEST_SEED} {sigma} {index}")
            lesson = make_lesson(rng, trainer.words, group, course).on(trainer.device)
            predictions = (
                model.plain(lesson),
                model(replace(lesson, shown=black), 1.0),
                model(lesson, 1.0),
            )
            errors = [
                error + lesson.squared_error(prediction)
                for error, prediction in zip(errors, predictions, strict=True)
            ]
        alone, unseen, seen = (math.sqrt(error / pictures) for error in errors)
        found.append((sigma, alone, unseen, seen))
    return found


def _unseen(trainer: Trainer, index: int, size: tuple[int, int]) -> Group:
    drawing = draw(random.Random(f"{TEST_SEED} {index}"), size)
    return make_group([drawing], trainer.kind, trainer.model.look)


def main() -> None:
    """Read the arguments, train, write the file and compare without and with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=3200, rate=5e-3)
    parser.add_argument("--kind", type=ControlKind, choices=[*CONTROL_FILES], required=True)
    parser.add_argument("--output", type=Path, help="folder where the file is written")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    prepare(arguments)
    cv2.setNumThreads(arguments.threads)
    trainer = Trainer(
        arguments.folder,
        arguments.kind,
        seed=arguments.seed,
        steps=arguments.steps,
        rate=arguments.rate,
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        trainer.model.write(arguments.output / CONTROL_FILES[arguments.kind].name)
    for found in clean_errors(trainer, arguments.pictures):
        logger.info("sigma %.1f: error %.3f without, %.3f with black, %.3f with", *found)


if __name__ == "__main__":
    main()
