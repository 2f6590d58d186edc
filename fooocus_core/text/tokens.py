"""A weighted prompt as chunks of 77 CLIP tokens.

Does not know the encoders, only what they pad with.
Source: behaviour of lllyasviel/Fooocus 2.5.5, which tokenizes every word on its own.
"""

from __future__ import annotations

import lzma
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import cast

from torch import Tensor
from transformers import CLIPTokenizer

from fooocus_core.prompt.weighting import parse_weights

START_ID = 49406
END_ID = 49407
VECTOR_ID = -1  # smaller than any token's, so that the end token keeps the largest id of its row
CHUNK_LENGTH = 77
LONG_GROUP = 8

_EMBEDDING_MARK = "embedding:"
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)

VectorSource = Callable[[str], tuple[Sequence[Tensor], str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One place of a chunk: a vocabulary id, or a row of a textual inversion.

    Attributes:
        id: ``VECTOR_ID`` if there is a vector.
        vector: (width,) float32.
    """

    id: int
    weight: float = 1.0
    vector: Tensor | None = None


Group = list[Token]
Chunk = list[Token]


class Tokenizer:
    """The published CLIP vocabulary, from package data."""

    def __init__(self) -> None:
        self._bpe = _published_tokenizer()

    def ids(self, word: str) -> list[int]:
        """Token ids of a word, without start and end."""
        with_ends: list[int] = self._bpe(normalise(word)).input_ids
        return with_ends[1:-1]

    def chunks(self, text: str, *, pad_id: int, vectors: VectorSource) -> list[Chunk]:
        """Chunks of 77 tokens for one encoder; an empty text is one chunk.

        Args:
            text: A prompt with weights and ``embedding:name`` words.
            pad_id: What the encoder fills a chunk up with.
            vectors: The rest of an ``embedding:`` word -> its rows, none if there is no such
                embedding, and the text of the word that follows the name.
        """
        return fill_chunks(self._groups(text, vectors), pad_id=pad_id)

    def _groups(self, text: str, vectors: VectorSource) -> Iterator[Group]:
        for run in parse_weights(text):
            for word in run.text.replace("\n", " ").split(" "):
                if word.startswith(_EMBEDDING_MARK):
                    rows, word = vectors(word.removeprefix(_EMBEDDING_MARK))
                    yield [Token(id=VECTOR_ID, weight=run.weight, vector=row) for row in rows]
                if word:
                    yield [Token(id=id_, weight=run.weight) for id_ in self.ids(word)]


def fill_chunks(groups: Iterable[Group], *, pad_id: int) -> list[Chunk]:
    """Lay groups into chunks: start, tokens, end, padding; start, end and padding weigh 1.

    A group that does not fit any more moves to the next chunk as a whole; only one of eight or more
    tokens is cut.
    """
    chunks: list[Chunk] = [[Token(id=START_ID)]]
    for group in groups:
        rest = group
        while rest:
            room = CHUNK_LENGTH - 1 - len(chunks[-1])
            if len(rest) > room:
                taken = room if len(group) >= LONG_GROUP else 0
                _close(chunks[-1], rest[:taken], pad_id)
                chunks.append([Token(id=START_ID)])
                rest = rest[taken:]
            else:
                chunks[-1].extend(rest)
                rest = []
    _close(chunks[-1], [], pad_id)
    return chunks


def normalise(text: str) -> str:
    """Bring a text into the form in which the vocabulary's merges apply.

    Blanks for white space, nothing for control and format characters, ideographs apart, canonical
    composition, lower case. The tokenizer does only the last two by itself.
    """
    spaced = "".join(_spaced(character) for character in text)
    return " ".join(unicodedata.normalize("NFC", spaced).lower().split())


def _spaced(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\r" or category == "Zs":
        return " "
    if character in "\0\ufffd" or category.startswith("C"):
        return ""
    if any(first <= ord(character) <= last for first, last in _IDEOGRAPHS):
        return f" {character} "
    return character


def _close(chunk: Chunk, last: Sequence[Token], pad_id: int) -> None:
    chunk.extend(last)
    chunk.append(Token(id=END_ID))
    chunk.extend([Token(id=pad_id)] * (CHUNK_LENGTH - len(chunk)))


@cache
def _published_tokenizer() -> CLIPTokenizer:
    merges = _read_merges()
    # The library's annotation is too narrow: it takes pairs.
    return CLIPTokenizer(vocab=_vocabulary(merges), merges=cast("list[str]", merges))


def _read_merges() -> list[tuple[str, str]]:
    data = resources.files("fooocus_core").joinpath("data", "clip", "merges.txt.xz").read_bytes()
    lines = lzma.decompress(data).decode("utf-8").splitlines()
    pairs = [line.split(" ") for line in lines]
    return [(first, second) for first, second in pairs]


def _vocabulary(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = range(256, 512 - len(printable))
    letters = [chr(code) for code in (*printable, *stand_ins)]
    words = letters + [f"{letter}</w>" for letter in letters]
    words += [first + second for first, second in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: index for index, word in enumerate(words)}
