"""Trains the LoRAs of the embedded model: outline drawing, and one for each performance mode.

The base stays frozen; low-rank changes learn beside it (tools/low_rank.py), at the strength at
which requests use them. Most steps work on coarse latents, for which the base runs from a lower
level (tools/coarse_unet.py); the last ones on whole pictures. Every step is a function of the seed
and its number, so a run that was stopped goes on from its last state file as if it had not been.

    python -m tools.train_tiny_lora KIND --folder DIR [--steps 900] [--output FOLDER]

with KIND one of outline, lcm, lightning, hyper-sd.
"""

from __future__ import annotations

import argparse
import logging
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from fooocus_core.choices import Performance
from fooocus_core.params import Lora
from fooocus_core.performance import MODES, PerformanceMode
from tools.coarse_unet import CoarseUNet
from tools.descent import Descent, add_arguments, complete, prepare
from tools.embedded import read_embedded
from tools.ink import draw_in_ink
from tools.inlets import fit_inlets
from tools.latents import noise_loss
from tools.lora_checks import Likeness, compare, draw_tests, paint_mode, paint_style
from tools.lora_lessons import Base, Frame, Lesson, Lessons, ModeLessons, StyleLessons
from tools.low_rank import LowRankLayers, Spelling

logger = logging.getLogger(__name__)

OUTLINE_FILE = "tiny_outline.safetensors"
RANK = 16
STAGES = (  # until which share of the run, and what is shown
    (0.6, Frame(level=2, count=8)),
    (0.75, Frame(level=1, count=4)),
    (1.0, Frame(level=0, count=2)),
)
TEST_LEVEL = 2


class Kind(StrEnum):
    """Which LoRA."""

    OUTLINE = "outline"
    LCM = "lcm"
    LIGHTNING = "lightning"
    HYPER_SD = "hyper-sd"


MODES_OF = {
    Kind.LCM: Performance.EXTREME_SPEED,
    Kind.LIGHTNING: Performance.LIGHTNING,
    Kind.HYPER_SD: Performance.HYPER_SD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What one LoRA learns from, and the file it becomes.

    Attributes:
        mode: The performance mode that it is for, if any.
        lora: Name of the file, and the weight at which requests use it.
        spelling: How the published file of this kind names layers.
    """

    mode: PerformanceMode | None
    lora: Lora
    spelling: Spelling

    def lessons(self, base: Base) -> Lessons:
        """What is shown."""
        if self.mode is None:
            return StyleLessons(base.words, draw_in_ink)
        return ModeLessons(base, self.mode)


def course_of(kind: Kind) -> Course:
    """What a kind of LoRA learns from."""
    mode = MODES[MODES_OF[kind]] if kind in MODES_OF else None
    if mode is None or mode.lora is None:
        lora = Lora(name=OUTLINE_FILE, weight=1.0)
        return Course(mode=None, lora=lora, spelling=Spelling.ORIGINAL)
    return Course(mode=mode, lora=mode.lora, spelling=Spelling.DIFFUSERS)


def read_base() -> Base:
    """Read the embedded checkpoint."""
    embedded = read_embedded()
    return Base(words=embedded.words, unet=CoarseUNet(embedded.unet))


class Trainer:
    """One training run: the frozen base, the changes beside it, and where it is."""

    def __init__(
        self, base: Base, kind: Kind, folder: Path, *, seed: int, steps: int, rate: float
    ) -> None:
        self.base, self.course, self.seed = base, course_of(kind), seed
        self.lessons = self.course.lessons(base)
        self.layers = LowRankLayers(base.unet.unet, rank=RANK, seed=seed)
        path = folder / f"{kind}.pt"
        self.descent = Descent(path, self.layers.learning, steps=steps, rate=rate, muon=True)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        return self.learn(rng, self.descent.at(STAGES))

    def learn(self, rng: random.Random, frame: Frame) -> float:
        """Run one step on pictures of a frame; returns its loss."""
        weights = self.weights()
        return self.descent.follow(self.loss(self.lessons.draw(rng, frame, weights), weights))

    def weights(self) -> dict[str, torch.Tensor]:
        """The changed weights of the UNet, as a request gets them."""
        return self.layers.weights(self.course.lora.weight)

    def loss(self, lesson: Lesson, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        """How wrong the UNet is with some weights: ()."""
        batch = lesson.noise
        prediction = self.base.unet(
            batch.noisy, batch.timestep, lesson.said, level=lesson.level, weights=weights
        )
        return noise_loss(prediction, batch, lesson.level)

    def write(self, folder: Path) -> None:
        """Write the file of the LoRA."""
        self.layers.write(folder / self.course.lora.name, self.course.spelling)


@torch.no_grad()
def compare_both(trainer: Trainer, count: int, *, level: int = TEST_LEVEL) -> dict[str, Likeness]:
    """Compare coarse pictures without and with the LoRA with drawings that training does not see.

    Those of a mode are painted as it paints, those of the style with guidance.
    """
    drawings, found = draw_tests(count, level), {}
    for name, weights in (("without", {}), ("with", trainer.weights())):
        if trainer.course.mode is None:
            pictures = paint_style(trainer.base, drawings, level, weights)
        else:
            pictures = paint_mode(trainer.base, trainer.course.mode, drawings, level, weights)
        found[name] = compare(pictures, drawings)
    return found


def main() -> None:
    """Read the arguments, train, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", type=Kind, choices=[*Kind])
    add_arguments(parser, steps=900, rate=2e-3)
    parser.add_argument("--output", type=Path, help="folder where the file is written")
    parser.add_argument("--pictures", type=int, default=48, help="to compare without and with it")
    arguments = parser.parse_args()
    prepare(arguments)
    base = read_base()
    levels = (frame.level for _, frame in STAGES)
    fit_inlets(base.words, base.unet.pyramid, levels, arguments.seed)
    trainer = Trainer(
        base,
        arguments.kind,
        arguments.folder,
        seed=arguments.seed,
        steps=arguments.steps,
        rate=arguments.rate,
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        trainer.write(arguments.output)
    for name, likeness in compare_both(trainer, arguments.pictures).items():
        logger.info("%s: %s", name, likeness)


if __name__ == "__main__":
    main()
