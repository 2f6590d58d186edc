"""One run of gradient descent: warm up, fall, average, save, and go on where it stopped.

Knows neither what is trained nor on what.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fooocus_core.main_memory import keeping_freed_memory
from tools.muon import MuonAndAdamW, Part

logger = logging.getLogger(__name__)

WARM_UP = 20
KEEP = 0.98
LEAST_HEIGHT = 0.03
STEPS_PER_LINE, SHOWN_LOSSES = 20, 40

Stage = TypeVar("Stage")


class Descent:
    """The optimiser, the averaged weights, and where the run is."""

    def __init__(
        self,
        path: Path,
        weights: Sequence[nn.Parameter],
        *,
        steps: int,
        rate: float,
        muon: bool = False,
    ) -> None:
        """Start at step 0.

        Args:
            path: Where the state is kept.
            weights: What is trained, already on its device.
            steps: Of the whole run.
            rate: Highest learning rate.
            muon: Whether Muon learns the matrices and convolutions, or Adam all weights.
        """
        self.steps, self.step = steps, 0
        self._path, self._rate = path, rate
        self._weights: list[Any] = list(weights)
        self.averaged: list[Tensor] = [weight.detach().clone() for weight in self._weights]
        matrices = [weight for weight in weights if muon and weight.ndim > 1]
        known = {id(weight) for weight in matrices}
        singles = [weight for weight in weights if id(weight) not in known]
        self._optimizer = MuonAndAdamW([Part(singles=singles, matrices=matrices)])

    def save(self) -> None:
        """Write the state file; a run that is cut off here keeps the older one."""
        state = {
            "weights": [weight.detach() for weight in self._weights],
            "averaged": self.averaged,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
        }
        part = self._path.with_name(f"{self._path.name}.part")
        torch.save(state, part)
        part.replace(self._path)

    @torch.no_grad()
    def load(self) -> None:
        """Go on from the state file if there is one."""
        if not self._path.exists():
            return
        state: dict[str, Any] = torch.load(self._path, map_location=self.averaged[0].device)
        for weight, value in zip(self._weights, state["weights"], strict=True):
            weight.copy_(value)
        self.averaged = state["averaged"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def follow(self, loss: Tensor) -> float:
        """Take a step down a loss, (); returns it as a number."""
        self._optimizer.follow(loss, self._height() * self._rate)
        self.step += 1
        keep = min(KEEP, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self.averaged, self._weights, 1 - keep)
        return float(loss.detach())

    @torch.no_grad()
    def settle(self) -> None:
        """Put the averaged weights in the place of the trained ones."""
        for weight, value in zip(self._weights, self.averaged, strict=True):
            weight.copy_(value)

    def at(self, stages: Sequence[tuple[float, Stage]]) -> Stage:
        """Return the stage that the run is in.

        Args:
            stages: Until which share of the run each lasts, and the stage; the last until 1.0.
        """
        share = self.step / self.steps
        return next((stage for end, stage in stages if share < end), stages[-1][1])

    def _height(self) -> float:
        """Share of the highest rate: a cosine in the second half of the run, then its end."""
        fall = min(1.0, max(0.0, (self.step / self.steps - 0.5) / 0.5))
        height = LEAST_HEIGHT + (1 - LEAST_HEIGHT) * (0.5 + 0.5 * math.cos(math.pi * fall))
        return height * min(1.0, (self.step + 1) / WARM_UP)


def add_arguments(parser: argparse.ArgumentParser, *, steps: int, rate: float) -> None:
    """Add the command-line arguments of a run with these defaults."""
    parser.add_argument("--folder", type=Path, required=True, help="for the state file")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes-per-save", type=float, default=2.0)


def prepare(arguments: argparse.Namespace) -> None:
    """Log to the terminal, keep to the threads, and make the folder of the state file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)


def complete(descent: Descent, train_step: Callable[[], float], *, minutes_per_save: float) -> None:
    """Go on from the state file, if there is one, to the end, and take the averaged weights."""
    descent.load()
    with keeping_freed_memory():
        run(descent, train_step, minutes_per_save=minutes_per_save)
    descent.settle()


def run(descent: Descent, train_step: Callable[[], float], *, minutes_per_save: float) -> None:
    """Train to the end, saving on the way and at the end; a ``train_step`` may take some steps."""
    losses: deque[float] = deque(maxlen=SHOWN_LOSSES)
    saved = time.monotonic()
    while descent.step < descent.steps:
        before = descent.step
        losses.append(train_step())
        if descent.step // STEPS_PER_LINE > before // STEPS_PER_LINE:
            logger.info("step %d loss %.3f", descent.step, sum(losses) / len(losses))
        if time.monotonic() - saved > 60 * minutes_per_save:
            descent.save()
            saved = time.monotonic()
    descent.save()
