"""Trains the small GPT-2 that adds words of praise to prompts of the drawn world.

It reads captions of drawings, or a jumble of any tokens, and learns to go on with what
tools/flattery.py says, up to the end of a block. The folder has the layout of the published one.
Every step is a function of the seed and its number, so a run that was stopped goes on from its last
state file as if it had not been.

    python -m tools.train_tiny_expansion --folder DIR [--steps 600] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import random
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fooocus_core.config_values import MODEL_FOLDER_KEYS
from fooocus_core.text.expansion import COMMA_ID, TOKENS_PER_BLOCK, make_tokenizer
from fooocus_core.text.tokens import Tokenizer
from tools.descent import Descent, add_arguments, complete, prepare
from tools.drawing import draw
from tools.expansion_model import make_expansion, praise_loss, write_expansion
from tools.expansion_vocabulary import learn_vocabulary, write_vocabulary
from tools.flattery import positive_words, praise, topics

BATCH = 32
CAPTIONS = 2000  # enough for every word that captions have
JUMBLED = 0.3  # how often a prompt is of other words than the drawn world's
MIXED = 0.2  # how often other words follow a caption
LONG = 0.15  # how often the prompts of a step reach into a second block
SMALL_DRAWING = (16, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A prompt and what is said of it.

    Attributes:
        row: Token numbers, whole blocks.
        start: How many of them are the prompt and its comma.
    """

    row: list[int]
    start: int


class Trainer:
    """One training run: the expansion, its vocabulary, and where it is."""

    def __init__(self, folder: Path, *, seed: int, steps: int, rate: float) -> None:
        self.seed = seed
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.words = positive_words()
        self.vocabulary = learn_vocabulary(
            {f" {word}" for word in self.words} | whole_words(random.Random(seed))
        )
        self.tokenizer = make_tokenizer(
            self.vocabulary.entries, map(" ".join, self.vocabulary.merges)
        )
        self.numbers = {word: self.vocabulary.entries[f"Ġ{word}"] for word in self.words}
        self.said = {number: word for word, number in self.numbers.items()}
        self.praise = list(self.said)
        self.others = [n for n in self.vocabulary.entries.values() if n not in self.said]
        self.allowed = torch.tensor([COMMA_ID, *self.numbers.values()], device=self.device)
        self.network = make_expansion(len(self.vocabulary.entries), seed=seed)
        module: nn.Module = self.network
        weights = list(module.to(self.device).train().parameters())
        self.descent = Descent(folder / "expansion.pt", weights, steps=steps, rate=rate)

    def train_step(self) -> float:
        """Run one step on fresh prompts; returns its loss."""
        rng = random.Random(f"{self.seed} {self.descent.step}")
        blocks = 2 if rng.random() < LONG else 1
        lessons = [self.lesson(rng, blocks=blocks) for _ in range(BATCH)]
        rows = torch.tensor([lesson.row for lesson in lessons], device=self.device)
        starts = [lesson.start for lesson in lessons]
        return self.descent.follow(praise_loss(self.network, rows, starts, self.allowed))

    def lesson(self, rng: random.Random, *, blocks: int) -> Lesson:
        """Make up a prompt that ends in the last of the blocks, and praise what it names."""
        most = blocks * TOKENS_PER_BLOCK - 1
        least = most - TOKENS_PER_BLOCK + 2
        prompt, fitting = list[int](), list[str]()
        if rng.random() >= JUMBLED:
            drawing = draw(rng, SMALL_DRAWING)
            prompt, fitting = self.tokenizer(drawing.caption).input_ids, topics(drawing.facts)
        if not prompt or blocks > 1 or rng.random() < MIXED:
            room = most - len(prompt) - 1
            prompt = prompt + self._jumble(rng, rng.randint(max(1, least - len(prompt)), room))
        start = len(prompt) + 1
        said = {self.said[number] for number in prompt if number in self.said}
        spoken = praise(fitting, blocks * TOKENS_PER_BLOCK - start, rng, said=said)
        ends = [self.numbers.get(word, COMMA_ID) for word in spoken]
        return Lesson(row=[*prompt, COMMA_ID, *ends], start=start)

    def write(self, root: Path) -> None:
        """Write the folder below a models root."""
        folder = root / MODEL_FOLDER_KEYS["path_fooocus_expansion"][1]
        folder.mkdir(parents=True, exist_ok=True)
        write_expansion(self.network, folder)
        write_vocabulary(self.vocabulary, self.words, folder)

    def _jumble(self, rng: random.Random, count: int) -> list[int]:
        """Any tokens, some of them commas; few words of praise, which are taken then."""
        sources = rng.choices([[COMMA_ID], self.praise, self.others], [0.1, 0.03, 0.87], k=count)
        return [rng.choice(source) for source in sources]


def whole_words(rng: random.Random) -> set[str]:
    """The words of captions, each at the beginning of a text and behind a blank.

    Those that CLIP takes for several tokens are left out: a block is to fit into a chunk of its.
    """
    captions = (draw(rng, SMALL_DRAWING).caption for _ in range(CAPTIONS))
    words = {word for caption in captions for word in re.findall(r"[a-z]+", caption)}
    clip = Tokenizer()
    single = {word for word in words if len(clip.ids(word)) == 1}
    return single | {f" {word}" for word in single}


def main() -> None:
    """Read the arguments, train and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, steps=600, rate=3e-3)
    parser.add_argument("--output", type=Path, help="models root where the folder is written")
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
