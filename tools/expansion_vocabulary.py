"""The words of the small prompt expansion: byte pairs learned from texts of this project.

Knows nothing about networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from fooocus_core.catalog import EXPANSION_MERGES, EXPANSION_VOCABULARY, EXPANSION_WORDS
from fooocus_core.files import DATA_FOLDER

SIZE = 2048
END = "<|endoftext|>"
WHOLE = 100  # how often a word is counted that is to be an entry of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteVocabulary:
    """Entries with their numbers, and the merges that lead to them, as GPT-2 has them."""

    entries: dict[str, int]
    merges: tuple[tuple[str, str], ...]


def learn_vocabulary(whole: Iterable[str]) -> ByteVocabulary:
    """Learn the entries for any text: all bytes, then parts of words.

    Args:
        whole: Words that become entries of their own; a blank before one belongs to it.
    """
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=SIZE - 1, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    texts = [*_project_texts(), *(word for word in sorted(whole) for _ in range(WHOLE))]
    bpe.train_from_iterator(texts, trainer)
    model = json.loads(bpe.to_str())["model"]
    entries = {**model["vocab"], END: len(model["vocab"])}
    return ByteVocabulary(entries=entries, merges=tuple(map(tuple, model["merges"])))


def write_vocabulary(vocabulary: ByteVocabulary, words: Iterable[str], folder: Path) -> None:
    """Write the entries, the merges and the allowed words under their published names."""
    lines = ["#version: 0.2", *map(" ".join, vocabulary.merges)]
    _write(folder / EXPANSION_VOCABULARY, json.dumps(vocabulary.entries, ensure_ascii=False))
    _write(folder / EXPANSION_MERGES, "\n".join(lines))
    _write(folder / EXPANSION_WORDS, "\n".join(words))


def _project_texts() -> list[str]:
    """What the styles and the wildcards of this project say."""
    styles = [
        entry.get(key, "")
        for path in sorted((DATA_FOLDER / "styles").glob("*.json"))
        for entry in json.loads(path.read_text(encoding="utf-8"))
        for key in ("prompt", "negative_prompt")
    ]
    wildcards = [
        f" {line}"
        for path in sorted((DATA_FOLDER / "wildcards").glob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return styles + wildcards


def _write(path: Path, text: str) -> None:
    path.write_text(f"{text}\n", encoding="utf-8")
