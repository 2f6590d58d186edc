"""Weights in a prompt: ``(word)``, ``((word))``, ``(word:1.3)``.

Knows nothing of tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

EMPHASIS = 1.1
FLOAT32_MAX = 3.4028234e38

_MARK = re.compile(r"\\[()]|[():]")
_ESCAPED = re.compile(r"\\([()])")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedText:
    """A run of text and the weight of its words; 1.0 is neutral."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The characters from ``start`` up to ``stop``; a literal one is not searched for groups."""

    start: int
    stop: int
    weight: float
    is_literal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """The groups of a text.

    Attributes:
        openings: Where they open, in ascending order.
        closings: Where each of them closes, if it does.
        colons: By where a group closes, its last colon, if no parenthesis follows there.
    """

    openings: list[int]
    closings: dict[int, int]
    colons: dict[int, int]


def parse_weights(text: str) -> list[WeightedText]:
    r"""Split a prompt into runs of equal weight.

    A group ``(text)`` multiplies the weight by 1.1; ``(text:number)`` replaces it by the number,
    which must be one that float32 can hold, or else it is text. Groups nest. ``\(`` and ``\)`` are
    literal parentheses, and so are those without a partner: after a lone ``)``, an equal number of
    ``(`` is literal, too. Square brackets mean nothing. Takes time in proportion to the length of
    the text, however deep it nests.

    Args:
        text: One line or many.

    Returns:
        The runs from left to right; none for an empty text. Runs are not joined: a group and the
        text beside it stay two runs even when their weights are equal.

    Source:
        The syntax is that of common SDXL programs; its edge cases follow lllyasviel/Fooocus,
        ldm_patched/modules/sd1_clip.py.
    """
    groups = _find_groups(text)
    runs = []
    pending = [_Span(start=0, stop=len(text), weight=1.0)]
    while pending:
        span = pending.pop()
        if span.is_literal:
            literal = _ESCAPED.sub(r"\1", text[span.start : span.stop])
            runs.append(WeightedText(text=literal, weight=span.weight))
        else:
            pending.extend(reversed(list(_split(text, span, groups))))
    return runs


def _find_groups(text: str) -> _Groups:
    openings: list[int] = []
    closings: dict[int, int] = {}
    colons: dict[int, int] = {}
    colon: int | None = None
    unclosed: list[int] = []
    debt = 0  # lone ")" seen so far, less the "(" that they make literal
    for match in _MARK.finditer(text):
        position, previous = match.start(), colon
        colon = position if match[0] == ":" else None
        if match[0] == "(" and debt:
            debt -= 1
        elif match[0] == "(":
            openings.append(position)
            unclosed.append(position)
        elif match[0] == ")" and unclosed:
            closings[unclosed.pop()] = position
            if previous is not None:
                colons[position] = previous
        elif match[0] == ")":
            debt += 1
    return _Groups(openings=openings, closings=closings, colons=colons)


def _split(text: str, span: _Span, groups: _Groups) -> Iterator[_Span]:
    """Yield the outermost groups of a span, opened, and the literal texts between them."""
    position = span.start
    while position < span.stop:
        index = bisect_left(groups.openings, position)
        opening = groups.openings[index] if index < len(groups.openings) else span.stop
        opening = min(opening, span.stop)
        if opening > position:
            yield _Span(start=position, stop=opening, weight=span.weight, is_literal=True)
        if opening == span.stop:
            return
        closing = groups.closings.get(opening, span.stop)
        if closing < span.stop:
            colon = groups.colons.get(closing, -1)
            yield _open(text, opening + 1, closing, colon, span.weight)
        else:
            yield _Span(start=opening, stop=span.stop, weight=span.weight, is_literal=True)
        position = closing + 1


def _open(text: str, start: int, stop: int, colon: int, weight: float) -> _Span:
    """The inside of a group without its number, and the weight it gives."""
    number = _parse_number(text[colon + 1 : stop]) if colon > start else None
    if number is not None:
        return _Span(start=start, stop=colon, weight=number)
    return _Span(start=start, stop=stop, weight=min(weight * EMPHASIS, FLOAT32_MAX))


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    # A larger one would become infinite in the embeddings; "nan" fails every comparison.
    return number if abs(number) <= FLOAT32_MAX else None
