from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from fooocus_core.config import DeviceOptions
from fooocus_core.loading.memory import plan_device
from fooocus_core.text.expansion import COMMA_ID, TOKENS_PER_BLOCK, load_expansion
from tools.expansion_model import SHARPNESS, praise_loss
from tools.expansion_vocabulary import SIZE
from tools.flattery import is_phrase
from tools.train_tiny_expansion import Trainer

PLAN = plan_device(None, DeviceOptions())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path, seed=0, steps=4, rate=1e-3)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """One that no test teaches anything."""
    return Trainer(tmp_path_factory.mktemp("untrained"), seed=0, steps=4, rate=1e-3)


def test_the_vocabulary_has_every_byte_and_every_word_of_praise(untrained: Trainer) -> None:
    entries = untrained.vocabulary.entries

    assert len(entries) == SIZE
    assert sorted(entries.values()) == list(range(SIZE))
    assert entries[","] == COMMA_ID
    assert all(untrained.tokenizer(chr(n)).input_ids for n in range(256))
    assert [
        word
        for word, number in untrained.numbers.items()
        if untrained.tokenizer(f" {word}").input_ids != [number]
    ] == []


def test_the_vocabulary_is_the_same_every_time(untrained: Trainer, tmp_path: Path) -> None:
    again = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)

    assert again.vocabulary == untrained.vocabulary


@pytest.mark.parametrize("blocks", [1, 2])
def test_lessons_end_where_their_last_block_ends(untrained: Trainer, blocks: int) -> None:
    rng = random.Random(blocks)

    for _ in range(100):
        lesson = untrained.lesson(rng, blocks=blocks)

        assert len(lesson.row) == blocks * TOKENS_PER_BLOCK
        assert (blocks - 1) * TOKENS_PER_BLOCK < lesson.start < len(lesson.row)
        assert lesson.row[lesson.start - 1] == COMMA_ID
        praise = untrained.tokenizer.decode(lesson.row[lesson.start :])
        assert all(map(is_phrase, praise.split(",")))


def test_before_training_all_words_left_are_equally_likely(untrained: Trainer) -> None:
    lesson = untrained.lesson(random.Random(0), blocks=1)
    loss = praise_loss(
        untrained.network, torch.tensor([lesson.row]), [lesson.start], untrained.allowed
    )

    praise = set(untrained.numbers.values())
    choices = [
        1 + len(praise - set(lesson.row[:place])) for place in range(lesson.start, TOKENS_PER_BLOCK)
    ]
    assert loss.item() == pytest.approx(sum(map(math.log, choices)) / len(choices), rel=1e-5)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.train_step()
    trainer.descent.save()
    whole = trainer.train_step()

    stopped = Trainer(tmp_path, seed=0, steps=4, rate=1e-3)
    stopped.descent.load()

    assert stopped.train_step() == whole


def test_only_words_of_praise_and_the_comma_learn_to_be_said(trainer: Trainer) -> None:
    for _ in range(3):
        trainer.train_step()

    learned = trainer.network.lm_head.weight.detach().abs().amax(1) > 0
    assert set(learned.nonzero()[:, 0].tolist()) <= set(trainer.allowed.tolist())
    assert learned[COMMA_ID]


def test_what_is_written_is_what_was_trained_at_every_block(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.train_step()
    trainer.write(tmp_path)
    expansion = load_expansion([tmp_path / "prompt_expansion" / "fooocus_expansion"], PLAN)
    assert expansion is not None
    rows = torch.tensor([trainer.lesson(random.Random(3), blocks=2).row])
    places = torch.arange(rows.shape[1])[None]

    with torch.no_grad():
        trained = trainer.network.eval()(rows, position_ids=places % TOKENS_PER_BLOCK).logits
        written = expansion.model(rows).logits

    assert trained.std() > 0
    assert torch.allclose(written, SHARPNESS * trained, atol=0.01 * float(trained.std()))
    allowed = (expansion.word_bias == 0).nonzero()[:, 0].tolist()
    assert sorted(allowed) == sorted(trainer.numbers.values())
