"""The tokenizer of bert-base-uncased, from its published vocabulary.

Knows nothing of the networks that read the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import BertTokenizer

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.text_file import read_model_text

# Published places of some entries; networks are trained with, and some look for, these numbers.
_LANDMARKS: Mapping[str, int] = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012}


def load_bert_tokenizer(path: Path) -> BertTokenizer:
    """Make a tokenizer out of ``vocab.txt``, which has one entry per line.

    Raises:
        ModelFileError: The file is unreadable or another vocabulary.
    """
    entries = read_model_text(path).split("\n")
    vocabulary = {entry.rstrip("\r"): number for number, entry in enumerate(entries) if entry}
    odd = [entry for entry, number in _LANDMARKS.items() if vocabulary.get(entry) != number]
    if odd:
        raise ModelFileError(
            f"{path.name} is not the vocabulary of bert-base-uncased: in that, "
            f"{', '.join(odd)} have other places."
        )
    return BertTokenizer(vocab=vocabulary)
