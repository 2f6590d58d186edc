"""The prompt expansion against the recorded texts, and its rules."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fooocus_core.config import DeviceOptions
from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.loading.memory import plan_device
from fooocus_core.text.expansion import (
    COMMA_ID,
    FORBIDDEN,
    PromptExpansion,
    load_expansion,
    word_bias,
)
from tests.golden import load_cases, load_json

PLAN = plan_device(None, DeviceOptions())
# What else is recorded there needs the word list of the original, which is not ours to pass on.
CHECKS = load_json("check-values-text-to-image")["prompt_expansion"]
LENGTHS = ("cat,", "a beautiful cat sitting on the table,", "cat " * 80 + ",")


@pytest.fixture(scope="module")
def expansion(expansion_folder: Path) -> PromptExpansion:
    loaded = load_expansion([expansion_folder], PLAN)
    assert loaded is not None
    return loaded


@pytest.mark.parametrize(
    "case", load_cases("components/expansion"), ids=lambda c: f"{c['prompt'][:12]}-{c['seed']}"
)
def test_expansions_equal_the_recorded_ones(
    expansion: PromptExpansion, case: dict[str, Any]
) -> None:
    assert expansion.expand(case["prompt"], case["seed"]) == case["result"]


def test_an_expansion_leaves_the_global_generator_alone(expansion: PromptExpansion) -> None:
    before = torch.get_rng_state()
    expansion.expand("a cat", 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_prompt_stays_empty(expansion: PromptExpansion) -> None:
    assert expansion.expand("", 0) == ""


def test_a_prompt_that_fills_its_block_is_returned_without_the_comma(
    expansion: PromptExpansion,
) -> None:
    prompt = ("cat " * 74).strip()
    assert expansion.expand(prompt, 0) == prompt


@pytest.mark.parametrize(
    ("text", "case"),
    [*zip(LENGTHS, CHECKS["lengths"], strict=True)],
    ids=["2", "8", "81"],
)
def test_tokens_are_filled_up_to_a_multiple_of_75(
    expansion: PromptExpansion, text: str, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = torch.multinomial

    def watched(probabilities: torch.Tensor, count: int, **kwargs: Any) -> torch.Tensor:
        drawn.append(count)
        return draw(probabilities, count, **kwargs)

    monkeypatch.setattr(torch, "multinomial", watched)
    assert len(expansion.tokenizer(text).input_ids) == case["tokens"]
    expansion.expand(text.removesuffix(","), 3)
    assert sum(drawn) == case["new"] == case["total"] - case["tokens"]


def test_the_bias_and_the_word_that_may_come_again_are_the_recorded_ones() -> None:
    recorded = CHECKS["vocabulary"]
    assert (recorded["comma_id"], recorded["bias"]) == (COMMA_ID, FORBIDDEN)


def test_a_prompt_beyond_the_models_positions_is_refused(expansion: PromptExpansion) -> None:
    with pytest.raises(InvalidInputError, match="975"):
        expansion.expand("cat " * 1000, 0)


def test_blanks_before_punctuation_go_as_in_the_reference(expansion: PromptExpansion) -> None:
    assert expansion.expand("a cat . a dog", 0).startswith("a cat. a dog, ")


def test_only_vocabulary_entries_with_a_leading_blank_are_allowed() -> None:
    bias = word_bias({"cat": 0, "Ġcat": 1, "ĠCat": 2, "Ġ": 3}, ["Cat", "", "dog"])
    assert bias.tolist() == [FORBIDDEN, 0.0, FORBIDDEN, FORBIDDEN]


def test_no_word_is_drawn_twice_but_the_comma_may_be(expansion: PromptExpansion) -> None:
    drawn = expansion._draw([64, 3797, COMMA_ID], 72, seed=5)
    words = [token for token in drawn if token != COMMA_ID]
    assert len(set(words)) == len(words)
    assert all(expansion.word_bias[words] == 0.0)


def test_half_precision_stays_half_up_to_the_draw(
    expansion_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(plan_device(None, DeviceOptions()), expansion=torch.float16)
    half = load_expansion([expansion_folder], plan)
    assert half is not None
    seen = []
    draw = torch.multinomial

    def watched(probabilities: torch.Tensor, count: int, **kwargs: Any) -> torch.Tensor:
        seen.append(probabilities.dtype)
        return draw(probabilities, count, **kwargs)

    monkeypatch.setattr(torch, "multinomial", watched)
    half.expand("a cat", 0)
    assert set(seen) == {torch.float16}


def test_without_a_folder_there_is_no_expansion(weights: Path, tmp_path: Path) -> None:
    incomplete = weights / "prompt_expansion" / "fooocus_expansion"  # has no vocabulary
    assert load_expansion([tmp_path, incomplete], PLAN) is None


def test_weights_that_do_not_fit_the_configuration_are_an_error(
    expansion_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(expansion_folder, broken)
    config = json.loads((broken / "config.json").read_text(encoding="utf-8"))
    (broken / "config.json").write_text(json.dumps({**config, "n_layer": 3}), encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"pytorch_model\.bin"):
        load_expansion([broken], PLAN)
