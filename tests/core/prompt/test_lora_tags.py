"""LoRA tags in a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from fooocus_core.errors import InvalidInputError
from fooocus_core.params import Lora
from fooocus_core.prompt.lora_tags import TaggedPrompt, take_lora_tags
from tests.golden import load_json

TEXT = load_json("components/text")
CHECKS = load_json("check-values-text-to-image")["inline_lora"]


def loras(pairs: list[list[Any]]) -> tuple[Lora, ...]:
    return tuple(Lora(name=name, weight=weight) for name, weight in pairs)


def take(prompt: str, given: tuple[Lora, ...] = (), limit: int = 5) -> TaggedPrompt:
    return take_lora_tags(prompt, given=given, files=["a.safetensors", "b.pth"], limit=limit)


@pytest.mark.parametrize("case", TEXT["parse_lora"], ids=lambda case: case["prompt"])
def test_tags_equal_the_recorded_ones(case: dict[str, Any]) -> None:
    taken = take_lora_tags(
        case["prompt"],
        given=loras(case["given"]),
        files=TEXT["lora_filenames"],
        limit=case["limit"],
    )
    assert (taken.text, taken.loras) == (case["rest"], loras(case["loras"]))


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case["prompt"])
def test_tags_find_files_in_sub_folders(case: dict[str, Any]) -> None:
    taken = take_lora_tags(case["prompt"], given=loras(case["given"]), files=case["files"], limit=5)
    assert (taken.text, taken.loras) == (case["prompt_out"], loras(case["loras"]))


def test_tags_fill_up_to_the_limit() -> None:
    taken = take("<lora:a:1>, <lora:b:1>", given=loras([["c", 1.0]]), limit=2)
    assert taken.loras == loras([["c", 1.0], ["a.safetensors", 1.0]])


def test_given_loras_are_not_limited_when_no_tag_adds_one() -> None:
    given = loras([["c", 1.0], ["d", 1.0]])
    assert take("a cat", given=given, limit=1).loras == given


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("<lora:../../a:1>", ("../../a",)),
        ("<lora:a.safetensors:1>", ("a.safetensors",)),
        ("<lora:x:1> <lora:x:2> <lora:a:1>", ("x",)),
    ],
)
def test_b07_names_without_a_file_are_reported(prompt: str, unknown: tuple[str, ...]) -> None:
    assert take(prompt).unknown == unknown


@pytest.mark.parametrize("weight", ["inf", "nan", "1e3", "", "+"])
def test_b07_a_weight_that_is_no_number_leaves_the_tag_in_the_text(weight: str) -> None:
    tag = f"<lora:a:{weight}>"
    assert (take(tag).text, take(tag).loras) == (tag, ())


def test_b07_a_weight_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'a'"):
        take(f"<lora:a:{'9' * 400}>")


def test_b07_a_thousand_tags_add_one_lora() -> None:
    assert take("<lora:a:0.5>" * 1000).loras == loras([["a.safetensors", 0.5]])
