"""The vocabulary of BERT and what becomes of texts with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fooocus_core.errors import ModelFileError
from fooocus_core.text.bert import load_bert_tokenizer
from tests.published_weights import write_vocabulary


def test_texts_become_numbers_of_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = load_bert_tokenizer(write_vocabulary(tmp_path / "vocab.txt"))
    tokens = tokenizer("A CAT? Faces ü.")["input_ids"]
    assert tokens == [101, 1033, 1034, 1029, 1030, 1035, 100, 1012, 102]


def test_lines_may_end_in_either_way(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "vocab.txt")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_bert_tokenizer(path)("face")["input_ids"] == [101, 1030, 102]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\nface\n", r"vocab\.txt is not the vocabulary.*\[UNK\], \[CLS\], \[SEP\]"),
        (b"\xff\xfe", r"vocab\.txt.*not UTF-8"),
        (None, r"vocab\.txt cannot be read"),
    ],
    ids=["another", "no text", "missing"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        load_bert_tokenizer(path)
