"""What the UNet and a control net are shown while control pictures are learned.

Drawings under noise, their captions as requests tell them, and of each drawing the control picture
that the pipeline would make. Making these takes longer than a step of training, so each is shown a
few times, every time under other noise. Knows no network but the text encoders.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.params import ControlParams, ImagePrompt, Size
from fooocus_core.unet.controlnet import make_hint
from fooocus_core.workflows.image_prompt import control_picture
from tools.drawing import POSITIONS, Drawing, draw, plural
from tools.drawing import SIZES as SIZE_WORDS
from tools.embedded import STYLES, Words, say
from tools.figures import SHAPES
from tools.guide_lessons import PIXELS, Lesson, lesson_timesteps
from tools.latents import add_noise, latent_of, noise_levels
from tools.train_tiny import DEFAULT_SIZE, SIZES, size_numbers

DROP, MISSAY = 0.2, 0.2  # shares of the captions that are left out, and of the others, wrong
USUAL = (*SIZES, *len(SIZES) * (DEFAULT_SIZE,))
GROUP = 4  # drawings of one size
ALIKE = (  # words that stand for each other in captions that are wrong
    (*SHAPES,),
    tuple(plural(shape) for shape in SHAPES),
    tuple(word for word in SIZE_WORDS if word),
)
SHOWINGS, WINDOW = 6, 12  # how often a group is shown, and among how many it is chosen

Look = Callable[[Tensor], Tensor]
"""Control pictures, (1, 3, 8 h, 8 w), 0 to 1 -> what a network makes of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Drawings of one size, made ready for lessons.

    Attributes:
        size: (width, height) in pixels.
        clean: (B, 4, h, w), their latents.
        shown: (B, ...), what a network makes of their control pictures, float16.
        captions: One per drawing.
    """

    size: tuple[int, int]
    clean: Tensor
    shown: Tensor
    captions: list[str]


class Album:
    """Groups of drawings, of which a few are kept; a function of the seed."""

    def __init__(
        self, seed: str, kind: ControlKind, look: Look, *, sizes: Sequence[tuple[int, int]] = USUAL
    ) -> None:
        self._seed, self._kind, self._look, self._sizes = seed, kind, look, sizes
        self._kept: dict[int, Group] = {}

    def at(self, step: int, rng: random.Random) -> Group:
        """Return one of the groups that are shown around a step."""
        newest = step // SHOWINGS
        number = newest + rng.randrange(WINDOW)
        if number not in self._kept:
            self._kept[number] = self._draw(random.Random(f"{self._seed} {number}"))
        self._kept = {key: group for key, group in self._kept.items() if key >= newest}
        return self._kept[number]

    def _draw(self, rng: random.Random) -> Group:
        size = rng.choice(self._sizes)
        return make_group([draw(rng, size) for _ in range(GROUP)], self._kind, self._look)


def make_group(drawings: list[Drawing], kind: ControlKind, look: Look) -> Group:
    """Make drawings of one size ready for lessons with control pictures of a kind."""
    width, height = drawings[0].image.size
    places = height // PIXELS, width // PIXELS
    hints = []
    for drawing in drawings:
        prompt = ImagePrompt(image=np.array(drawing.image), kind=kind, stop=1.0, weight=1.0)
        picture = control_picture(prompt, Size(width, height), ControlParams())
        hints.append(look(make_hint(picture, *places)).half())
    return Group(
        size=(width, height),
        clean=torch.stack([latent_of(drawing.image, places, 0) for drawing in drawings]),
        shown=torch.cat(hints),
        captions=[drawing.caption for drawing in drawings],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How lessons are made of a group.

    Attributes:
        level: How often the latents are halved.
        noises: How often each drawing is in a lesson, every time under other noise.
        drop: Share of the captions that are left out.
        missay: Share of the others that say another shape, size and place.
        sigma: Noise level of all; ``None`` draws one for each.
        is_beginning: Whether nothing is to be seen of the drawings.
    """

    level: int
    noises: int = 1
    drop: float = DROP
    missay: float = MISSAY
    sigma: float | None = None
    is_beginning: bool = False


def make_lesson(rng: random.Random, words: Words, group: Group, course: Course) -> Lesson:
    """Lay noise over the drawings of a group; ``rng`` makes every choice.

    Latents are means over blocks of those of level 0. What is shown stays one per drawing.
    """
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    clean = functional.avg_pool2d(group.clean, 2**course.level)
    clean = clean.repeat_interleave(course.noises, 0)
    timestep = lesson_timesteps(len(clean), course.level, rng, generator, course.sigma)
    told = [caption if rng.random() > course.drop else "" for caption in group.captions]
    told = [missay(caption, rng) if rng.random() < course.missay else caption for caption in told]
    repeated = [caption for caption in told for _ in range(course.noises)]
    numbers = size_numbers(group.size, timestep, generator)
    sigmas = noise_levels()
    noise = add_noise(
        clean, timestep, course.level, sigmas, generator, is_beginning=course.is_beginning
    )
    return Lesson(
        noise=noise,
        shown=group.shown,
        said=say(words, repeated, rng.choice(STYLES), numbers),
        level=course.level,
    )


def missay(caption: str, rng: random.Random) -> str:
    """Say other shapes, other sizes and no place: a control picture is to count for more."""
    for position in POSITIONS:
        caption = caption.replace(f" {position}", "")
    return re.sub("[a-z]+", lambda found: _another(found[0], rng), caption)


def _another(word: str, rng: random.Random) -> str:
    for words in ALIKE:
        if word in words:
            return rng.choice(words)
    return word
