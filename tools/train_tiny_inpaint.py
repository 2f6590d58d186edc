"""Trains what the embedded model needs to inpaint: a patch of the UNet's weights, beside a head.

The UNet learns to continue pictures into holes (tools/inpaint_lessons.py). Only its two lowest
levels learn: first on small pictures, then on whole ones. At the end its last block, which
is linear, is solved by least squares. The patch holds what was added to the weights, in 8 bits.
Every step is a function of the seed and its number, so a run that was stopped goes on from its last
state file as if it had not been.

    python -m tools.train_tiny_inpaint --folder DIR [--steps 1900] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from tools.fit_output import Equations, LastBlock
from tools.inpaint_lessons import Lesson, Words, draw_lesson, hole_loss
from tools.inpaint_unet import InpaintUNet, write_files

logger = logging.getLogger(__name__)

CHECKPOINT = Path("fooocus_core/data/tiny/checkpoints/tiny.safetensors")
SMALL_SHARE, SMALL_PART, SMALL_BATCH = 0.8, 2, 8
BATCH = 3
WARM_UP = 30
KEEP = 0.98
OUTSIDE = 0.2  # weight of what is around holes when the last block is solved
TEST_SIGMAS = (12.0, 6.0, 3.0, 1.5, 0.7, 0.3)
TEST_SEED = 1_000_003


class Trainer:
    """One training run: networks, optimiser, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.folder, self.seed, self.steps, self.rate = folder, seed, steps, rate
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint = build_checkpoint(read_weights(CHECKPOINT), plan_device(None, DeviceOptions()))
        self.words = Words(checkpoint)
        self.model = InpaintUNet(checkpoint.unet, self.device)
        self.averaged = [weight.detach().clone() for weight in self.model.learning]
        self.optimizer = torch.optim.Adam(self.model.learning, rate, betas=(0.9, 0.99))
        self.step = 0

    def save(self) -> None:
        """Write the state file; a run that is cut off here keeps the older one."""
        state = {
            "learning": [weight.detach() for weight in self.model.learning],
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        part = self.folder / "inpaint.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "inpaint.pt")

    def load(self) -> None:
        """Go on from the state file if there is one."""
        path = self.folder / "inpaint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        self._put(state["learning"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    @torch.no_grad()
    def _put(self, values: list[torch.Tensor]) -> None:
        for weight, value in zip(self.model.learning, values, strict=True):
            weight.copy_(value)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.step}")
        if self.step < SMALL_SHARE * self.steps:
            return self.learn(draw_lesson(rng, self.words, SMALL_BATCH, part=SMALL_PART))
        return self.learn(draw_lesson(rng, self.words, BATCH))

    def learn(self, lesson: Lesson) -> float:
        """Run one step on given pictures; returns its loss."""
        lesson = lesson.on(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            prediction = self.model(lesson)
        loss = hole_loss(prediction, lesson)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(self.model.learning, 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(KEEP, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, list(self.model.learning), 1 - keep)
        return float(loss.detach())

    def _rate(self) -> float:
        fall = max(0.0, (self.step / self.steps - 0.5) / 0.5)
        height = 0.03 + 0.97 * (0.5 + 0.5 * math.cos(math.pi * fall))
        return self.rate * min(1.0, (self.step + 1) / WARM_UP) * height

    @torch.no_grad()
    def finish(self, batches: int, *, part: int = 1) -> None:
        """Take the averaged weights, and solve the last block for them.

        Args:
            batches: How many batches of pictures it is solved on.
            part: Divides the sides of these.

        Source:
            tools/fit_output.py, here with what is in holes counting most.
        """
        self._put(self.averaged)
        # What is solved is what the file says of the other weights.
        for name, value in self.model.patched().items():
            self.model.changing[name].copy_(value)
        block = LastBlock(self.model.unet)
        equations = Equations(block.width)
        for index in range(batches):
            rng = random.Random(f"{self.seed} last block {index}")
            lesson = draw_lesson(rng, self.words, BATCH, part=part).on(self.device)
            with torch.autocast(self.device, torch.bfloat16):
                self.model(lesson)
            weights = lesson.mask + OUTSIDE * (1 - lesson.mask)
            target = replace(lesson.noise, target=lesson.noise.target * weights)
            equations.add(block.features() * weights, target)
        block.set_weights(equations.solve())


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


def run(trainer: Trainer, *, minutes_per_save: float, stop_after: int) -> None:
    """Train to the end, or for a number of steps, saving on the way and at the end."""
    losses: deque[float] = deque(maxlen=40)
    saved = time.monotonic()
    last = min(trainer.steps, trainer.step + stop_after)
    while trainer.step < last:
        losses.append(trainer.train_step())
        if trainer.step % 20 == 0:
            logger.info("step %d loss %.3f", trainer.step, sum(losses) / len(losses))
        if time.monotonic() - saved > 60 * minutes_per_save:
            trainer.save()
            saved = time.monotonic()
    trainer.save()


def main() -> None:
    """Read the arguments, train, write the files and compare without and with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the state file")
    parser.add_argument("--output", type=Path, help="folder where head and patch are written")
    parser.add_argument("--steps", type=int, default=1900)
    parser.add_argument("--stop-after", type=int, default=10**9, help="number of steps")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes-per-save", type=float, default=2.0)
    parser.add_argument("--batches", type=int, default=30, help="to solve the last block with")
    parser.add_argument("--pictures", type=int, default=12, help="per level in the comparison")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    trainer.load()
    run(
        trainer,
        minutes_per_save=arguments.minutes_per_save,
        stop_after=arguments.stop_after,
    )
    trainer.finish(arguments.batches)
    if arguments.output:
        write_files(trainer.model, arguments.output)
    for sigma, plain, ours in hole_errors(trainer, arguments.pictures):
        logger.info("sigma %.1f: error in holes %.3f without, %.3f with", sigma, plain, ours)


if __name__ == "__main__":
    main()
