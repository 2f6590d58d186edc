"""Weights in a prompt."""

from __future__ import annotations

import math
import time

import pytest

from fooocus_core.prompt.weighting import FLOAT32_MAX, parse_weights


def runs(text: str) -> list[tuple[str, float]]:
    return [(run.text, pytest.approx(run.weight)) for run in parse_weights(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a cat", [("a cat", 1.0)]),
        ("a (red) cat", [("a ", 1.0), ("red", 1.1), (" cat", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("(red (blue:1.5):1.2)", [("red ", 1.2), ("blue", 1.5)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
        ("(red cat:0)", [("red cat", 0.0)]),
        ("(red cat:-1)", [("red cat", -1.0)]),
        ("[red] cat", [("[red] cat", 1.0)]),
        ("()", []),
    ],
)
def test_groups_set_the_weight(text: str, expected: list[tuple[str, float]]) -> None:
    assert runs(text) == expected


@pytest.mark.parametrize(
    "text", ["(:1.2)", "(a:1.5x)", "(a:)", "(a:nan)", "(a:inf)", "(a:1e309)", "(a:-1e39)"]
)
def test_b05_what_is_no_number_stays_text(text: str) -> None:
    assert runs(text) == [(text[1:-1], 1.1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"a \(b\) c", [("a (b) c", 1.0)]),
        (r"(a \(b\):1.3)", [("a (b)", 1.3)]),
        (r"(a\)", [("(a)", 1.0)]),
    ],
)
def test_escaped_parentheses_are_text(text: str, expected: list[tuple[str, float]]) -> None:
    assert runs(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(unbalanced", [("(unbalanced", 1.0)]),
        ("unbalanced)", [("unbalanced)", 1.0)]),
        ("a (b", [("a ", 1.0), ("(b", 1.0)]),
        ("a) (b) (c)", [("a) (b) (c)", 1.0)]),
        ("a) ((b)) (c)", [("a) (", 1.0), ("b", 1.1), (") (c)", 1.0)]),
    ],
)
def test_b05_parentheses_without_partner_are_text(
    text: str, expected: list[tuple[str, float]]
) -> None:
    assert runs(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        ")" * 10_000,
        "(" * 10_000 + "a" + ")" * 10_000,
        "(a:" * 10_000 + "b" + ":1.2)" * 10_000,
        "(" * 10_000 + ")" * 5_000,
    ],
    ids=["opening", "closing", "nested", "nested numbers", "half closed"],
)
def test_b05_any_number_of_parentheses_gives_finite_weights(text: str) -> None:
    assert all(math.isfinite(run.weight) for run in parse_weights(text))
    assert all(run.weight <= FLOAT32_MAX for run in parse_weights(text))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 50_000 + "a:x" + ")" * 50_000,
        "(:" * 30_000 + ")" * 30_000,
        "(" * 20_000 + "a:" + "1" * 60_000 + ")" * 20_000,
    ],
    ids=["no number inside", "a colon each", "long number"],
)
def test_b05_the_longest_prompt_is_parsed_at_once(text: str) -> None:
    began = time.process_time()
    parse_weights(text)
    assert time.process_time() - began < 2.0
