"""Token ids, weights and chunks against the recorded ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fooocus_core.text.tokens import END_ID, START_ID, VECTOR_ID, Token, Tokenizer, fill_chunks
from tests.golden import case_id, load_cases, load_json

CHECKS = load_json("check-values-text-to-image")
ROWS = torch.arange(8.0).reshape(2, 4)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


def two_rows_of_known_names(rest: str) -> tuple[Sequence[Tensor], str]:
    """Stands in for embedding files: ``myemb`` and ``tiny_embed`` exist, with two rows."""
    for name in ("myemb", "tiny_embed"):
        if rest.startswith(name):
            return list(ROWS), rest.removeprefix(name)
    return [], rest.lstrip("abcdefghijklmnopqrstuvwxyz_")


@pytest.mark.parametrize("case", load_cases("components/tokens"), ids=case_id)
@pytest.mark.parametrize(("encoder", "pad_id"), [("l", 49407), ("g", 0)])
def test_chunks_equal_the_recorded_ones(
    tokenizer: Tokenizer, case: dict[str, Any], encoder: str, pad_id: int
) -> None:
    chunks = tokenizer.chunks(case["text"], pad_id=pad_id, vectors=two_rows_of_known_names)
    assert [[token.id for token in chunk] for chunk in chunks] == case[encoder]["ids"]
    assert [[token.weight for token in chunk] for chunk in chunks] == case[encoder]["weights"]


@pytest.mark.parametrize("text", CHECKS["tokens_clip_l"]["cases"])
def test_weighted_ids_equal_the_check_values(tokenizer: Tokenizer, text: str) -> None:
    expected = CHECKS["tokens_clip_l"]["cases"][text]
    chunks = tokenizer.chunks(text, pad_id=END_ID, vectors=two_rows_of_known_names)
    for chunk, pairs in zip(chunks, expected, strict=True):
        ids = ["EMB" if token.id == VECTOR_ID else token.id for token in chunk]
        assert ids == [pair[0] for pair in pairs] + [END_ID] * (77 - len(pairs))
        assert [token.weight for token in chunk[: len(pairs)]] == pytest.approx(
            [pair[1] for pair in pairs], abs=1e-5
        )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat " * 80, "80 x cat"),
        ("cat " * 75, "75 x cat"),
        ("cat " * 76, "76 x cat"),
        ("cat " * 72 + "hello-world-foo", "72 x cat + hello-world-foo (5 tokens)"),
        (
            "cat " * 72 + "supercalifragilisticexpialidocious",
            "72 x cat + supercalifragilisticexpialidocious (9 tokens)",
        ),
    ],
    ids=["80", "75", "76", "short-group", "long-group"],
)
def test_groups_are_laid_into_chunks_as_in_the_check_values(
    tokenizer: Tokenizer, text: str, name: str
) -> None:
    expected = CHECKS["chunking"][name]
    chunks = tokenizer.chunks(text, pad_id=END_ID, vectors=two_rows_of_known_names)
    ids = [[token.id for token in chunk] for chunk in chunks]
    assert len(ids) == expected["chunks"]
    assert ids[0][70:] == expected["tail_of_chunk0_from_70"]
    assert expected["head_of_chunk1"] in (None, ids[-1][:11])


def test_an_empty_text_is_one_chunk_of_padding(tokenizer: Tokenizer) -> None:
    chunks = tokenizer.chunks("", pad_id=0, vectors=two_rows_of_known_names)
    assert [[token.id for token in chunk] for chunk in chunks] == [[START_ID, END_ID] + [0] * 75]


@pytest.mark.parametrize(
    ("word", "same_as"),
    [
        ("ＣＡＴ\u200b", "ｃａｔ"),
        ("e\u0301", "é"),
        ("a\u00adb\0c\ufffd", "abc"),
        ("猫と屋根", "猫 と 屋 根"),
        ("A\u3000B\tc", "a b c"),
        ("\u200b\u00ad", ""),
    ],
    ids=["format", "composed", "control", "ideographs", "blanks", "nothing-left"],
)
def test_words_are_normalised_first(tokenizer: Tokenizer, word: str, same_as: str) -> None:
    assert tokenizer.ids(word) == tokenizer.ids(same_as)


def test_a_chunk_holds_75_tokens_between_start_and_end() -> None:
    groups = [[Token(id=7)] * 7] * 11
    chunks = fill_chunks(groups, pad_id=0)
    assert [sum(token.id == 7 for token in chunk) for chunk in chunks] == [70, 7]
    assert {len(chunk) for chunk in chunks} == {77}


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "(" * 200_000, "(" * 100_000 + ")" * 100_000, "embedding:x, " * 15_000],
    ids=["one-word", "open", "nested", "embeddings"],
)
def test_hostile_prompts_take_time_in_proportion_to_their_length(
    tokenizer: Tokenizer, text: str
) -> None:
    started = time.perf_counter()
    tokenizer.chunks(text, pad_id=0, vectors=two_rows_of_known_names)
    assert time.perf_counter() - started < 20
