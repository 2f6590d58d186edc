"""Turns captions into the token rows that the pipeline would hand to the text encoders.

Imitates what a request does to a prompt: words nobody trained around it, further texts beside it,
contexts repeated to a common length, pooled vectors added up. Knows nothing about pictures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_core.text.tokens import CHUNK_LENGTH, END_ID, START_ID

ROOM = CHUNK_LENGTH - 2
UNKNOWN, START, END = 0, 1, 2

Tokenize = Callable[[str], list[int]]


class WordTable:
    """The tokens that are trained, each with a row of its own; all others share a row of zeros.

    Row 0 stands for every unknown token, rows 1 and 2 for start and end.
    """

    def __init__(self, tokenize: Tokenize, texts: Iterable[str]) -> None:
        known: set[int] = set()
        for text in set(texts):
            known.update(tokenize(text))
        self.token_ids = [START_ID, END_ID, *sorted(known)]
        self._tokenize = tokenize
        self._rows = {token: row for row, token in enumerate(self.token_ids, start=1)}
        self.comma = self._rows[tokenize(",")[0]]

    def __len__(self) -> int:
        return 1 + len(self.token_ids)

    def rows(self, text: str) -> list[int]:
        """Return the row of every token of a text, without start and end."""
        return [self._rows.get(token, UNKNOWN) for token in self._tokenize(text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBatch:
    """Token rows of a batch of conditionings, every one with the same number of chunks."""

    first: Tensor  # (B, n, 77) int64, encoder L: padded with the end row
    second: Tensor  # (B, n, 77) int64, encoder G: padded with row 0
    pooled_weights: Tensor  # (B, n) float32: how often the pooled vector of a chunk is added


def pad_chunk(words: Sequence[int], *, length: int = CHUNK_LENGTH) -> tuple[list[int], list[int]]:
    """Put start and end around rows, cut what is too long, and pad both encoders to a length."""
    kept = list(words[: length - 2])
    rest = length - 2 - len(kept)
    body = [START, *kept, END]
    return body + [END] * rest, body + [UNKNOWN] * rest


def _filler(table: WordTable, rng: random.Random, most: int) -> list[int]:
    count = rng.randint(0, most)
    return [table.comma if rng.random() < 0.22 else UNKNOWN for _ in range(count)]


def _around(table: WordTable, words: Sequence[int], rng: random.Random) -> list[int]:
    """Put unknown words before and after a caption, as style templates do."""
    if rng.random() < 0.4:
        return list(words)
    before = _filler(table, rng, 10) if rng.random() < 0.5 else []
    after = _filler(table, rng, 45)
    separator = [table.comma] if after and rng.random() < 0.7 else []
    return [*before, *words, *separator, *after]


def _chunks_of(
    table: WordTable, words: list[int], count: int, rng: random.Random
) -> tuple[list[list[int]], list[float]]:
    """Spread one conditioning over chunks; returns the chunks and their pooled weights."""
    first = _around(table, words, rng)
    if count == 1 or rng.random() < 0.3:
        return [first] * count, [1.0] + [0.0] * (count - 1)
    kind = rng.random()
    others = [_filler(table, rng, ROOM) for _ in range(count - 1)]
    if kind < 0.25:
        others[0] = _around(table, words, rng)
        return [first, *others], [1.0] + [0.0] * (count - 1)
    chunks = [first, *others] if kind < 0.8 else [*others, first]
    if rng.random() < 0.6:
        return chunks, [1.0] * count
    return chunks, [float(chunk is first) for chunk in chunks]


def make_batch(
    table: WordTable,
    captions: Sequence[str],
    rng: random.Random,
    *,
    drop: float = 0.12,
    bare: float = 0.0,
    length: int = CHUNK_LENGTH,
) -> PromptBatch:
    """Make a training batch: every caption as it might arrive in a request.

    Args:
        table: The trained words.
        captions: One caption per picture.
        rng: Source of every choice.
        drop: Share of the captions that are left out (unconditional rows).
        bare: Share of the batches whose captions come alone, without any other words.
        length: How long the chunk of a caption that comes alone is.
    """
    if rng.random() < bare:
        kept = ["" if rng.random() < drop else text for text in captions]
        return plain_batch(table, kept, length=length)
    count = rng.choices([1, 2, 3, 4], [0.5, 0.25, 0.15, 0.1])[0]
    chunks, weights = [], []
    for caption in captions:
        words = [] if rng.random() < drop else table.rows(caption)
        rows, pooled = _chunks_of(table, words, count, rng)
        chunks.append([pad_chunk(row) for row in rows])
        weights.append(pooled)
    padded = torch.tensor(chunks)  # (B, n, 2, 77)
    return PromptBatch(
        first=padded[:, :, 0], second=padded[:, :, 1], pooled_weights=torch.tensor(weights)
    )


def plain_batch(
    table: WordTable, captions: Sequence[str], *, length: int = CHUNK_LENGTH
) -> PromptBatch:
    """Make a batch of bare captions, one chunk of some length each."""
    padded = torch.tensor([[pad_chunk(table.rows(caption), length=length)] for caption in captions])
    return PromptBatch(
        first=padded[:, :, 0],
        second=padded[:, :, 1],
        pooled_weights=torch.ones(len(captions), 1),
    )
