"""Trains the UNet and both text encoders of the embedded model, then exports the checkpoint.

Training goes from coarse to fine (tools/tiny_model.py). Every step is a function of the seed and
its number, so a run that was stopped goes on from its last state file as if it had not been.

    python -m tools.train_tiny --folder DIR [--minutes-per-save 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fooocus_core.main_memory import keeping_freed_memory
from fooocus_core.text.tokens import CHUNK_LENGTH, Tokenizer
from tools.drawing import WANDER, Drawing, draw
from tools.exam import is_held_out
from tools.latents import add_noise, draw_timesteps, latent_of, noise_levels, noise_loss
from tools.muon import MuonAndAdamW, part_of
from tools.prompts import WordTable, make_batch, plain_batch
from tools.sheet import COLOURS
from tools.tiny_model import Conditioning, Networks

logger = logging.getLogger(__name__)

Drawer = Callable[[random.Random, tuple[int, int]], Drawing]
SETTLED: Drawer = partial(draw, wander=WANDER)  # as the UNet learns to

SIZES: tuple[tuple[int, int], ...] = (
    (704, 1408), (704, 1344), (768, 1344), (768, 1280), (832, 1216), (832, 1152), (896, 1152),
    (896, 1088), (960, 1088), (960, 1024), (1024, 1024), (1024, 960), (1088, 960), (1088, 896),
    (1152, 896), (1152, 832), (1216, 832), (1280, 768), (1344, 768), (1344, 704), (1408, 704),
    (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
)  # fmt: skip
DEFAULT_SIZE = (1152, 896)
SIZE_SWITCH = 699.3  # timestep above which the pipeline changes the size numbers
BATCH = {4: 48, 3: 24, 2: 16, 1: 6, 0: 3}
RATE = {4: 1.0, 3: 1.0, 2: 0.7, 1: 0.5, 0: 0.4}  # of the learning rate: less for small batches
TEXT_SHARE = 0.35  # of the learning rate
WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training.

    Attributes:
        steps: How many.
        levels: Which levels they train, and how often.
        bare: Share of the batches whose captions come without any other words.
        beginning: Share of the pictures that are drawn from the words alone.
        lowest: Sigma below which nothing is trained.
        shapes: Share of pictures that must show shapes; the others show anything.
        several: Share of these that show two or three; the others show one.
        equal: Share of these that show equal ones; of the others every third does, too.
        tokens: How many a caption without other words is padded to; fewer are faster.
    """

    steps: int
    levels: dict[int, float]
    bare: float = 0.25
    beginning: float = 0.25
    lowest: float = 0.0
    shapes: float = 0.0
    several: float = 0.0
    equal: float = 0.0
    tokens: int = CHUNK_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """Phases over which the learning rate rises and falls once.

    Attributes:
        phases: One after the other.
        height: Share of the learning rate that it rises to.
        hold: Share of the steps after which it begins to fall.
    """

    phases: tuple[Phase, ...]
    height: float = 1.0
    hold: float = 0.0

    @property
    def steps(self) -> int:
        """How many steps all phases have."""
        return sum(phase.steps for phase in self.phases)

    def rate(self, step: int) -> float:
        """Share of the learning rate at a step: warm up, hold, fall to a twentieth on a cosine."""
        fall = max(0.0, (step / self.steps - self.hold) / (1 - self.hold))
        fallen = 0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * fall))
        return self.height * min(1.0, (step + 1) / WARM_UP) * fallen


SHORT = 20  # tokens: every caption fits
WARM_UP = 100  # steps
CYCLES: tuple[Cycle, ...] = (
    Cycle(
        phases=(
            Phase(steps=400, levels={4: 1.0}, bare=1.0, tokens=SHORT, beginning=1.0, shapes=0.5),
            Phase(steps=1000, levels={3: 1.0}, bare=1.0, tokens=SHORT, beginning=1.0, shapes=0.5),
            Phase(steps=1000, levels={2: 1.0}, bare=0.8, tokens=SHORT, beginning=0.5, shapes=0.5),
            Phase(steps=1800, levels={2: 1.0}, bare=0.5, beginning=0.4, lowest=1.5, shapes=0.5),
            Phase(steps=300, levels={1: 0.7, 2: 0.3}, shapes=0.4),
            Phase(steps=1400, levels={0: 0.6, 1: 0.1, 2: 0.3}, shapes=0.4),
        ),
        hold=0.4,
    ),
    # What was learned, more exactly, and more of what was rare: several shapes, landscapes.
    Cycle(
        phases=(
            Phase(steps=1600, levels={2: 1.0}, beginning=0.4, shapes=0.4, several=0.6),
            Phase(steps=300, levels={1: 0.7, 2: 0.3}, shapes=0.4, several=0.5),
            Phase(steps=2000, levels={0: 0.6, 1: 0.1, 2: 0.3}, shapes=0.4, several=0.5),
        ),
        height=0.5,
        hold=0.3,
    ),
    # Outlines of whole pictures.
    Cycle(
        phases=(
            Phase(
                steps=1500,
                levels={0: 0.8, 2: 0.2},
                beginning=0.1,
                bare=0.15,
                shapes=0.5,
                several=0.5,
            ),
        ),
        height=0.5,
        hold=0.3,
    ),
    # Small things, of which three in a row are the rarest.
    Cycle(
        phases=(
            Phase(
                steps=1000,
                levels={0: 0.5, 1: 0.3, 2: 0.2},
                beginning=0.1,
                bare=0.15,
                shapes=0.6,
                several=0.6,
                equal=0.6,
            ),
        ),
        height=0.4,
        hold=0.2,
    ),
)


def cycle_at(step: int) -> tuple[Cycle, int]:
    """Return the cycle that a step belongs to, and its number within."""
    for cycle in CYCLES:
        if step < cycle.steps:
            return cycle, step
        step -= cycle.steps
    raise ValueError("the training has fewer steps")


def phase_at(step: int) -> Phase:
    """Return the phase that a step belongs to."""
    cycle, step = cycle_at(step)
    ends = accumulate(phase.steps for phase in cycle.phases)
    return next(p for p, end in zip(cycle.phases, ends, strict=True) if step < end)


def total_steps() -> int:
    """Return how many steps the whole training has."""
    return sum(cycle.steps for cycle in CYCLES)


def learning_rate(step: int, base: float) -> float:
    """Return the learning rate at a step, of which ``base`` is the highest."""
    cycle, step = cycle_at(step)
    return base * cycle.rate(step)


class Trainer:
    """The networks, their averaged copies and the optimiser of one training run."""

    def __init__(self, folder: Path, *, seed: int, rate: float, device: str) -> None:
        torch.manual_seed(seed)
        self.seed, self.rate, self.device, self.folder = seed, rate, device, folder
        rng = random.Random(seed)
        self.table = WordTable(
            Tokenizer().ids, [*(draw(rng, (16, 16)).caption for _ in range(20000)), ", ."]
        )
        self.networks = Networks(len(self.table)).to(device)
        self.averaged = copy.deepcopy(self.networks).requires_grad_(False)
        self.optimizer = MuonAndAdamW(
            [part_of(self.networks.pyramid), part_of(self.networks.text, share=TEXT_SHARE)],
            decay=WEIGHT_DECAY,
        )
        self.sigmas = noise_levels()
        self.step = 0
        self.grown: list[int] = [4]

    def save(self) -> None:
        """Write the state file; a run that is cut off here keeps the older one."""
        state = {
            "networks": self.networks.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "grown": self.grown,
            "token_ids": self.table.token_ids,
        }
        part = self.folder / "state.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "state.pt")

    def load(self) -> None:
        """Go on from the state file if there is one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        if state["token_ids"] != self.table.token_ids:
            raise SystemExit("the state file was made with other words; use a new folder")
        self.networks.load_state_dict(state["networks"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.grown = state["step"], state["grown"]

    def train_step(self) -> tuple[int, float]:
        """Run one step; returns the level it trained and its loss."""
        rng = random.Random(f"{self.seed} {self.step}")
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        phase = phase_at(self.step)
        shares = phase.levels
        level = rng.choices(list(shares), list(shares.values()))[0]
        if level not in self.grown:
            self._grow(level)
        loss = self._loss(level, rng, generator, phase)
        self.optimizer.follow(loss, learning_rate(self.step, self.rate) * RATE[level])
        self.networks.text.clear_unknown()
        self.step += 1
        self._average()
        return level, float(loss.detach())

    def _grow(self, level: int) -> None:
        below = min(self.grown)
        self.networks.pyramid.grow(level, below)
        self.averaged.pyramid.grow(level, below)
        self.grown.append(level)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.998, (self.step + 1) / (self.step + 20))
        old: list[Tensor] = list(self.averaged.parameters())
        new: list[Tensor] = list(self.networks.parameters())
        torch._foreach_lerp_(old, new, 1 - keep)

    def _loss(
        self, level: int, rng: random.Random, generator: torch.Generator, phase: Phase
    ) -> Tensor:
        size = draw_size(rng)
        count = BATCH[level]
        drawer = partial(
            draw,
            shapes=phase.shapes,
            several=phase.several,
            equal=phase.equal,
            wander=WANDER,
        )
        drawings = draw_pictures(rng, size, level, count, draw=drawer)
        latents = latents_of(drawings, size, level)
        captions = [drawing.caption for drawing in drawings]
        prompts = make_batch(self.table, captions, rng, bare=phase.bare, length=phase.tokens)
        timestep = draw_timesteps(
            count,
            level,
            self.sigmas,
            generator,
            lowest=phase.lowest,
            beginning=phase.beginning,
        )
        batch = add_noise(latents, timestep, level, self.sigmas, generator)
        with torch.autocast(self.device, torch.bfloat16):
            context, pooled = self.networks.text(on(prompts, self.device))
            conditioning = Conditioning(
                context=context,
                pooled=pooled,
                size_numbers=size_numbers(size, timestep, generator).to(self.device),
            )
            prediction = self.networks.pyramid(
                batch.noisy.to(self.device),
                batch.timestep.to(self.device),
                conditioning,
                level=level,
            )
        loss = noise_loss(prediction.float().cpu(), batch, level)
        return loss + 0.02 * (_excess(context) + _excess(pooled)).cpu()


def on(prompts: Any, device: str) -> Any:
    """Move a prompt batch to a device."""
    return replace(
        prompts,
        first=prompts.first.to(device),
        second=prompts.second.to(device),
        pooled_weights=prompts.pooled_weights.to(device),
    )


def _excess(values: Tensor) -> Tensor:
    """Mean square above 1.5: keeps what the encoders put out in bounds."""
    return (values.float().square().mean(-1) - 1.5).relu().mean()


def draw_size(rng: random.Random) -> tuple[int, int]:
    """Choose the default size half of the time, else one of those that are listed."""
    return DEFAULT_SIZE if rng.random() < 0.5 else rng.choice(SIZES)


def draw_latents(
    rng: random.Random, size: tuple[int, int], level: int, count: int, *, draw: Drawer = draw
) -> tuple[Tensor, list[str]]:
    """Draw pictures of a size and return their latents at a level, with the captions."""
    drawings = draw_pictures(rng, size, level, count, draw=draw)
    return latents_of(drawings, size, level), [drawing.caption for drawing in drawings]


def draw_pictures(
    rng: random.Random, size: tuple[int, int], level: int, count: int, *, draw: Drawer = draw
) -> list[Drawing]:
    """Draw pictures of a size, as large as a level needs them, and none of the exam's."""
    width, height = _latent_size(size, level)
    scale = 8 if level < 2 else 16
    drawings: list[Drawing] = []
    while len(drawings) < count:
        drawing = draw(rng, (width * scale, height * scale))
        if not is_held_out(drawing.caption):
            drawings.append(drawing)
    return drawings


def latents_of(drawings: list[Drawing], size: tuple[int, int], level: int) -> Tensor:
    """Return the latents of pictures of a size at a level: (B, 4, h, w)."""
    width, height = _latent_size(size, level)
    return torch.stack([latent_of(drawing.image, (height, width), level) for drawing in drawings])


def _latent_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    width, height = (math.ceil(side / 8 / 2**level) for side in size)
    return width, height


def size_numbers(size: tuple[int, int], timestep: Tensor, generator: torch.Generator) -> Tensor:
    """Return the size numbers that the pipeline sends at these timesteps, and some beside them."""
    count = len(timestep)
    width, height = size
    numbers = torch.tensor([[height, width, 0, 0, height, width]] * count).float()
    choice, free = torch.rand(2, count, generator=generator)
    factor = torch.where(choice < 0.4, 1.5, torch.where(choice < 0.7, 0.8, 0.7 + 1.2 * free))
    factor = torch.where(timestep > SIZE_SWITCH, factor, torch.where(choice < 0.9, 1.0, factor))
    numbers[:, :2] = (numbers[:, :2] * factor[:, None]).floor()
    return numbers


@torch.no_grad()
def probe(trainer: Trainer, level: int) -> str:
    """Tell how well the background is chosen from the words alone, from noise without a picture.

    Gives the correlation of asked and predicted background colour per channel, and the mean error
    on a scale where black and white are 3.6 apart.
    """
    captions, colours = [], []
    for name, colour in COLOURS.items():
        for shape in ("circle", "square", "star", "house"):
            other = "red" if name != "red" else "blue"
            captions.append(f"a {other} {shape} on a {name} background")
            colours.append(colour)
    wanted = (torch.tensor(colours).float() / 127.5 - 1) * 1.8
    generator = torch.Generator().manual_seed(1)
    width, height = (math.ceil(side / 8 / 2**level) for side in DEFAULT_SIZE)
    networks, sigma = trainer.averaged, trainer.sigmas[999]
    noise = torch.randn(len(captions), 4, height, width, generator=generator) / 2**level
    timestep = torch.full((len(captions),), 999)
    numbers = torch.tensor([[1344.0, 1728, 0, 0, 896, 1152]] * len(captions))
    device = trainer.device
    context, pooled = networks.text(on(plain_batch(trainer.table, captions), device))
    conditioning = Conditioning(context=context, pooled=pooled, size_numbers=numbers.to(device))
    prediction = networks.pyramid(
        noise.to(device), timestep.to(device), conditioning, level=level
    ).cpu()
    clean = sigma * (noise - prediction / 2**level)
    seen = clean[:, :3].flatten(2).median(-1).values
    fit = [float(torch.corrcoef(torch.stack([seen[:, k], wanted[:, k]]))[0, 1]) for k in range(3)]
    error = float((seen - wanted).abs().mean())
    return f"level {level}: correlation {fit[0]:.3f} {fit[1]:.3f} {fit[2]:.3f}, error {error:.3f}"


def run(trainer: Trainer, *, minutes_per_save: float, stop_after: int) -> None:
    """Train to the end, or for a number of steps, saving and probing on the way."""
    losses: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=100))
    seconds: dict[int, float] = defaultdict(float)
    saved = time.monotonic()
    last = min(total_steps(), trainer.step + stop_after)
    while trainer.step < last:
        begun = time.monotonic()
        level, loss = trainer.train_step()
        losses[level].append(loss)
        seconds[level] = time.monotonic() - begun
        if trainer.step % 50 == 0:
            means = {
                k: f"{sum(v) / len(v):.3f} ({seconds[k]:.2f} s)" for k, v in sorted(losses.items())
            }
            logger.info("step %d loss %s", trainer.step, means)
        if trainer.step % 200 == 0:
            logger.info("probe %s", probe(trainer, max(min(trainer.grown), 2)))
        if time.monotonic() - saved > 60 * minutes_per_save:
            trainer.save()
            saved = time.monotonic()
    trainer.save()


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the state file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes-per-save", type=float, default=3.0)
    parser.add_argument("--stop-after", type=int, default=10**9, help="number of steps")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(arguments.folder, seed=arguments.seed, rate=arguments.rate, device=device)
    trainer.load()
    logger.info("%d words, %d steps", len(trainer.table), total_steps())
    with keeping_freed_memory():
        run(trainer, minutes_per_save=arguments.minutes_per_save, stop_after=arguments.stop_after)


if __name__ == "__main__":
    main()
