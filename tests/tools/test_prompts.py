from __future__ import annotations

import random

import pytest
import torch

from fooocus_core.text.tokens import Tokenizer
from tools.drawing import draw
from tools.prompts import END, START, UNKNOWN, WordTable, make_batch, pad_chunk, plain_batch
from tools.train_tiny import SHORT


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text if letter != " "]


@pytest.fixture
def table() -> WordTable:
    return WordTable(letters, ["abc,"])


def test_unknown_words_share_the_row_of_zeros(table: WordTable) -> None:
    assert table.rows("x") == [UNKNOWN]
    assert len(set(table.rows("abc"))) == 3
    assert min(table.rows("abc")) > END


def test_encoders_are_padded_differently() -> None:
    first, second = pad_chunk([5, 6])

    assert first == [START, 5, 6] + [END] * 74
    assert second == [START, 5, 6, END] + [UNKNOWN] * 73


def test_a_chunk_holds_75_words() -> None:
    first, _ = pad_chunk(list(range(3, 200)))

    assert len(first) == 77
    assert first[-2:] == [77, END]


def test_the_same_seed_makes_the_same_batch(table: WordTable) -> None:
    one, two = (make_batch(table, ["abc", "cab"], random.Random(3)) for _ in range(2))

    assert one.first.equal(two.first)
    assert one.pooled_weights.equal(two.pooled_weights)


def test_every_conditioning_pools_its_caption(table: WordTable) -> None:
    caption = table.rows("abc")
    for seed in range(50):
        batch = make_batch(table, ["abc"], random.Random(seed), drop=0.0)
        pooled = batch.second[0][batch.pooled_weights[0] > 0].tolist()
        assert any(_holds(chunk, caption) for chunk in pooled)


def test_a_plain_batch_is_one_chunk(table: WordTable) -> None:
    assert plain_batch(table, ["abc", "a"]).first.shape == (2, 1, 77)


def _holds(chunk: list[int], words: list[int]) -> bool:
    return any(chunk[i : i + len(words)] == words for i in range(len(chunk)))


def test_every_caption_fits_a_short_chunk() -> None:
    tokenize, rng = Tokenizer().ids, random.Random(0)
    captions = {draw(rng, (16, 16)).caption for _ in range(2000)}

    assert max(len(tokenize(caption)) for caption in captions) <= SHORT - 2


def test_a_plain_batch_may_be_shorter(table: WordTable) -> None:
    whole, short = (plain_batch(table, ["a cat"], length=length) for length in (77, SHORT))

    assert short.first.shape == (1, 1, SHORT)
    assert torch.equal(whole.first[..., :SHORT], short.first)
