"""Lets the frozen UNet run from its lower levels, as drawings of its world show them to it.

Knows nothing about what is learned there.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator

import torch

from tools.coarse_unet import Example, fit_inlet
from tools.embedded import Words, say
from tools.latents import add_noise, draw_timesteps, noise_levels
from tools.tiny_model import Pyramid
from tools.train_tiny import DEFAULT_SIZE, draw_latents, size_numbers

logger = logging.getLogger(__name__)

BATCHES, COUNT = 12, 2


def fit_inlets(words: Words, pyramid: Pyramid, levels: Iterable[int], seed: int) -> None:
    """Find the first layer of each level but the highest, 0, and put it in its place.

    Args:
        words: Tell the captions.
        pyramid: From :func:`tools.coarse_unet.frozen_pyramid`.
        levels: That are to run alone.
        seed: Of the drawings.
    """
    for level in sorted({*levels} - {0}):
        fit = fit_inlet(pyramid, level, _examples(words, seed, level))
        logger.info("level %d: %.0f %% of what it reads explained", level, 100 * fit.explained)


def _examples(words: Words, seed: int, level: int) -> Iterator[Example]:
    sigmas = noise_levels()
    for index in range(BATCHES):
        rng = random.Random(f"{seed} inlet {index}")
        generator = torch.Generator().manual_seed(rng.getrandbits(48))
        clean, captions = draw_latents(rng, DEFAULT_SIZE, 0, COUNT)
        timestep = draw_timesteps(COUNT, level, sigmas, generator)
        numbers = size_numbers(DEFAULT_SIZE, timestep, generator)
        yield Example(
            noise=add_noise(clean, timestep, 0, sigmas, generator),
            said=say(words, captions, "", numbers),
        )
