"""Arrays in a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from fooocus_core.prompt.arrays import fill_arrays
from tests.golden import load_json

CHECKS = load_json("check-values-text-to-image")["arrays"]


@pytest.mark.parametrize(("text", "image", "expected"), load_json("components/text")["arrays"])
def test_arrays_give_one_option_per_picture(text: str, image: int, expected: str) -> None:
    assert fill_arrays(text, image) == expected


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case["text"])
def test_b08_arrays_go_through_all_combinations(case: dict[str, Any]) -> None:
    assert [fill_arrays(case["text"], image) for image in range(7)] == case["out"]


@pytest.mark.parametrize("text", ["[[", "]] [[", "[[" * 50_000, "[[a, b"])
def test_arrays_that_do_not_end_are_text(text: str) -> None:
    assert fill_arrays(text, 1) == text
