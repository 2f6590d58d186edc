"""What the UNet is shown while a LoRA learns, and what it should answer.

A style is learned from noisy drawings in that style. A performance mode is learned from states that
its sampler visits: those that follow from what the UNet with its LoRA itself estimates, and those
that would follow from the drawing. After the latter the drawing is the right answer; after the
former it is the less so, the weaker the noise is, and what the guided UNet without LoRA estimates
the more. Knows neither files nor how the LoRA is made.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fooocus_core.performance import PerformanceMode
from fooocus_core.sampling.noise_levels import NoiseModel
from tools.coarse_unet import CoarseUNet
from tools.embedded import GUIDANCE, STYLES, Words, say
from tools.few_steps import Estimate, Road, Visited, plan_road
from tools.latents import (
    LATENT_GAIN,
    NoisyBatch,
    add_noise,
    draw_timesteps,
    noise_levels,
)
from tools.tiny_model import Conditioning
from tools.train_tiny import SETTLED, Drawer, draw_latents, draw_size, size_numbers

STYLE_DROP, MODE_DROP = 0.12, 0.05  # shares of the captions that are left out
LIMIT = 1.05 * LATENT_GAIN  # no drawing has more; guidance without measure would go beyond
ALONE, SHOWN = 0.5, 0.25  # shares of the pictures that only the UNet, only the drawing leads to
EVEN = 6.0  # noise level at which the guided UNet and the drawing count equally

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Noisy latents at a level, what is said of them, and the right answer."""

    noise: NoisyBatch
    said: Conditioning
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What latents of a lesson are like.

    Attributes:
        level: How often they were halved.
        count: Pictures, all of one size.
        part: Divides their sides beyond that; the UNet is told the whole size.
    """

    level: int
    count: int
    part: int = 1

    def latents(
        self, rng: random.Random, size: tuple[int, int], drawer: Drawer = SETTLED
    ) -> tuple[Tensor, list[str]]:
        """Draw pictures; returns their latents and captions."""
        width, height = (side // self.part for side in size)
        return draw_latents(rng, (width, height), self.level, self.count, draw=drawer)


class Lessons(Protocol):
    """A source of lessons."""

    def draw(self, rng: random.Random, frame: Frame, weights: Weights) -> Lesson:
        """Draw a lesson.

        Args:
            rng: Source of every choice.
            frame: Of its latents.
            weights: Of the UNet with the LoRA as it is now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The frozen model that LoRAs are for."""

    words: Words
    unet: CoarseUNet


class StyleLessons:
    """Drawings of one style under noise, as the base model's training shows others."""

    def __init__(self, words: Words, drawer: Drawer) -> None:
        self._words, self._drawer = words, drawer

    def draw(self, rng: random.Random, frame: Frame, weights: Weights) -> Lesson:  # noqa: ARG002
        """Draw a lesson; see :class:`Lessons`."""
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        size = draw_size(rng)
        clean, captions = frame.latents(rng, size, self._drawer)
        level, sigmas = frame.level, noise_levels()
        timestep = draw_timesteps(len(clean), level, sigmas, generator)
        numbers = size_numbers(size, timestep, generator)
        kept = _leave_out(captions, rng, STYLE_DROP)
        return Lesson(
            noise=add_noise(clean, timestep, level, sigmas, generator),
            said=say(self._words, kept, rng.choice(STYLES), numbers),
            level=level,
        )


class ModeLessons:
    """States that a performance mode visits."""

    def __init__(self, base: Base, mode: PerformanceMode) -> None:
        self._base, self._mode = base, mode

    def draw(self, rng: random.Random, frame: Frame, weights: Weights) -> Lesson:
        """Draw a lesson; see :class:`Lessons`."""
        size = draw_size(rng)
        clean, captions = frame.latents(rng, size)
        kept = _leave_out(captions, rng, MODE_DROP)
        numbers = plain_numbers(size, len(clean))
        said = say(self._base.words, kept, rng.choice(STYLES), numbers)
        road = plan_road(self._mode, frame.level, rng)
        call = rng.randrange(road.calls)
        # A run that begins with the drawing is led by it.
        known = (
            _known(rng, len(clean)) if road.run.denoise == 1 else torch.ones(len(clean), 1, 1, 1)
        )
        own = estimate(self._base.unet, road, said, weights)
        with torch.no_grad():
            visited = road.visit(
                clean, lambda x, sigma: own(x, sigma).lerp(clean, known), call, rng.getrandbits(48)
            )
            guided = guided_estimate(self._base, road, said)(visited.state, visited.sigma)
            wanted = right_picture(guided, clean, known, visited.sigma)
        return Lesson(noise=as_batch(visited, wanted, road), said=said, level=frame.level)


def plain_numbers(size: tuple[int, int], count: int) -> Tensor:
    """The size numbers of requests whose size scales are off: (count, 6)."""
    width, height = size
    return torch.tensor([[height, width, 0, 0, height, width]] * count).float()


def estimate(
    unet: CoarseUNet, road: Road, said: Conditioning, weights: Weights | None = None
) -> Estimate:
    """What a UNet estimates on a road without guidance."""
    model = road.model

    def of(x: Tensor, sigma: Tensor) -> Tensor:
        scaled = model.scale_input(x, sigma)
        timestep = model.levels.timestep(sigma).expand(len(x))
        output = unet(scaled, timestep, said, level=road.level, weights=weights)
        return model.denoised(x, output / 2**road.level, sigma)

    return of


def guided_estimate(
    base: Base, road: Road, said: Conditioning, weights: Weights | None = None
) -> Estimate:
    """What the UNet estimates with guidance away from an empty prompt."""
    empty = say(base.words, [""] * len(said.pooled), "", said.size_numbers)
    positive = estimate(base.unet, road, said, weights)
    negative = estimate(base.unet, road, empty, weights)

    def of(x: Tensor, sigma: Tensor) -> Tensor:
        return negative(x, sigma).lerp(positive(x, sigma), GUIDANCE)

    return of


def as_batch(visited: Visited, wanted: Tensor, road: Road) -> NoisyBatch:
    """What the UNet is given in a state, and what it should put out for a clean latent."""
    state, sigma, model = visited.state, visited.sigma, road.model
    return NoisyBatch(
        noisy=model.scale_input(state, sigma),
        timestep=model.levels.timestep(sigma).long().expand(len(state)),
        target=_output_for(state, wanted, sigma, model) * 2**road.level,
        sigma=sigma.expand(len(state)),
    )


def right_picture(guided: Tensor, clean: Tensor, known: Tensor, sigma: Tensor) -> Tensor:
    """What a state should become: (B, 4, h, w).

    The noisier a state is, the less it tells which picture it becomes, and the more its caption
    does: then a drawing of that caption is right, whatever led to the state.

    Args:
        guided: What the guided UNet estimates, (B, 4, h, w).
        clean: A drawing of the caption, same shape.
        known: How much of it led to the state, (B, 1, 1, 1).
        sigma: Noise level of the state, ().
    """
    share = sigma**2 / (sigma**2 + EVEN**2)
    return guided.clamp(-LIMIT, LIMIT).lerp(clean, torch.maximum(known, share))


def _output_for(state: Tensor, wanted: Tensor, sigma: Tensor, model: NoiseModel) -> Tensor:
    # All modes are of models whose estimate is linear in the output.
    at_nought = model.denoised(state, torch.zeros_like(state), sigma)
    slope = model.denoised(state, torch.ones_like(state), sigma) - at_nought
    return (wanted - at_nought) / slope


def _leave_out(captions: Sequence[str], rng: random.Random, share: float) -> list[str]:
    return [caption if rng.random() > share else "" for caption in captions]


def _known(rng: random.Random, count: int) -> Tensor:
    """How much of each estimate on the way is replaced by the drawing: (count, 1, 1, 1)."""
    places = [(rng.random(), rng.random()) for _ in range(count)]
    shares = [
        0.0 if kind < ALONE else 1.0 if kind < ALONE + SHOWN else place for kind, place in places
    ]
    return torch.tensor(shares).view(-1, 1, 1, 1)
