"""Trains the small network that describes pictures of the drawn world in a sentence.

It looks at drawings, prepared as the pipeline prepares pictures, and learns what tools/telling.py
says of them, and beside that which tags they have and where things stand. The files have the
layouts of the published ones: BLIP, and the words of BERT. Every step is a function of the seed and
its number, so a run that was stopped goes on from its last state file as if it had not been.

    python -m tools.train_tiny_captioner --folder DIR [--steps 6000] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from torch import Tensor
from torch.nn import functional

from fooocus_core.downloads import BERT_VOCABULARY, CAPTIONER
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.captions import make_tokenizer
from fooocus_core.vision.clip_vision import normalised
from tools.captioner_model import (
    CELLS,
    IGNORED,
    PATCH,
    SIDE,
    Answers,
    Hints,
    caption_loss,
    look_at,
    make_captioner,
    token_rows,
    vocabulary,
    write_captioner,
    write_vocabulary,
)
from tools.descent import Descent, add_arguments, complete, prepare
from tools.drawing import Drawing
from tools.figures import SHAPES, THINGS
from tools.lesson_pictures import draw_lesson, wear
from tools.outlines import Mask, kind_map
from tools.telling import all_tags, sentence, sentence_words, tags

logger = logging.getLogger(__name__)

BATCH = 16
AGAIN = 0.6
PARTS = (4, 4, 2, 2, 1)  # of the sides: large pictures are shrunk roughly, small ones come cheaper
PATCHES = SIDE // PATCH  # along either side
LEAST_SHARE = 0.08  # of a patch that a thing covers if its kind is to be told there
KINDS = (*SHAPES, *THINGS, "sitting girl")
KIND_WORDS = {*SHAPES, *(f"{kind}s" for kind in SHAPES), "crosses", *THINGS}
KIND_COUNTS = 4.0  # as many times as other words


class Trainer:
    """One training run: the captioner, its words, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.seed = seed
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.words = vocabulary(sentence_words())
        write_vocabulary(self.words, folder / "vocab.txt")
        self.tokenizer = make_tokenizer(folder / "vocab.txt")
        self.network = make_captioner(len(self.tokenizer), seed=seed)
        self.network.to(self.device)  # type: ignore[arg-type]  # torch's, hidden behind another's
        self.tags = all_tags()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hints = Hints(len(self.tags), len(KINDS)).to(self.device)
        counts = [KIND_COUNTS if word in KIND_WORDS else 1.0 for word in self.words]
        # The last two words are the captioner's own.
        self.weights = torch.tensor([*counts, 1.0, 1.0], device=self.device)
        weights = [*self.network.parameters(), *self.hints.parameters()]
        self.descent = Descent(folder / "captioner.pt", weights, steps=steps, rate=rate)

    def train_step(self) -> float:
        """Run one step on freshly drawn pictures; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        return self.learn([_draw_mostly_things(rng) for _ in range(BATCH)], rng)

    def learn(self, drawings: Sequence[Drawing], rng: random.Random) -> float:
        """Run one step on given drawings; returns its loss."""
        pixels = self._look(drawings, torch.Generator().manual_seed(rng.getrandbits(48)))
        rows = token_rows(self.tokenizer, [sentence(drawing.facts) for drawing in drawings])
        answers = self._answers(drawings)
        with torch.autocast(self.device, torch.bfloat16):
            look = look_at(self.network, pixels.to(self.device))
            loss = caption_loss(self.network, look.seen, rows.to(self.device), self.weights)
            loss = loss + self.hints.loss(look, answers)
        return self.descent.follow(loss)

    def _answers(self, drawings: Sequence[Drawing]) -> Answers:
        maps = [kind_map(drawing, KINDS) for drawing in drawings]
        found = [tags(drawing.facts) for drawing in drawings]
        return Answers(
            shares=torch.cat([_shares(numbers > 0, CELLS * PATCHES) for numbers in maps]).to(
                self.device
            ),
            tags=torch.tensor([[float(tag in one) for tag in self.tags] for one in found]).to(
                self.device
            ),
            kinds=torch.stack([_patch_kinds(numbers) for numbers in maps]).to(self.device),
        )

    def _look(self, drawings: Sequence[Drawing], generator: torch.Generator) -> Tensor:
        """What the network is given of drawings: (B, 3, SIDE, SIDE)."""
        shrunk = [
            functional.interpolate(to_pixels(np.array(drawing.image)), (SIDE, SIDE), mode="bicubic")
            for drawing in drawings
        ]
        return normalised(wear(torch.cat(shrunk), generator))

    def write(self, root: Path) -> None:
        """Write weights and words below a models root."""
        write_captioner(self.network, root / CAPTIONER.kind.value / CAPTIONER.name)
        write_vocabulary(self.words, root / BERT_VOCABULARY.kind.value / BERT_VOCABULARY.name)


def _draw_mostly_things(rng: random.Random) -> Drawing:
    """Draw a lesson; landscapes and patterns, which are learned soon, come less often."""
    drawing = draw_lesson(rng, rng.choice(PARTS))
    while not drawing.facts.things and rng.random() < AGAIN:
        drawing = draw_lesson(rng, rng.choice(PARTS))
    return drawing


def _patch_kinds(numbers: NDArray[np.uint8]) -> Tensor:
    """The kind of thing in each patch, (patches,); hardly covered ones do not count."""
    kinds = torch.zeros(PATCHES**2, dtype=torch.int64)
    most = torch.zeros(PATCHES**2)
    for number in np.unique(numbers[numbers > 0]):
        shares = _shares(numbers == number, PATCHES).flatten()
        kinds[shares > most] = int(number)
        most = torch.maximum(most, shares)
    return kinds.masked_fill((most > 0) & (most < LEAST_SHARE), IGNORED)


def _shares(mask: Mask, side: int) -> Tensor:
    """How much of each cell a mask covers: (1, 1, side, side), 0 to 1."""
    picture = Picture.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    small = np.array(picture.resize((side, side), Picture.Resampling.BOX), dtype=np.float32)
    return torch.from_numpy(small / 255)[None, None]


def main() -> None:
    """Read the arguments, train and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=6000, rate=1e-3)
    parser.add_argument("--output", type=Path, help="models root where the files are written")
    arguments = parser.parse_args()
    prepare(arguments)
    trainer = Trainer(
        arguments.folder, seed=arguments.seed, steps=arguments.steps, rate=arguments.rate
    )
    complete(trainer.descent, trainer.train_step, minutes_per_save=arguments.minutes_per_save)
    if arguments.output:
        trainer.write(arguments.output)


if __name__ == "__main__":
    main()
