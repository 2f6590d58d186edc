"""Finds the styles of a picture whose record holds the texts that were encoded, but no styles.

Knows no file formats. Runs of blanks count as one blank, as they do when texts are encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fooocus_core.choices import EXPANSION_STYLE
from fooocus_core.prompt.compose import clean_line
from fooocus_core.prompt.styles import StyleLibrary

SEPARATOR = ", "
_MAX_STATES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTexts:
    """What was encoded, and what it was made of.

    Attributes:
        positive, negative: All texts joined with ``", "``.
        prompt, negative_prompt: The prompts as filled in, line by line.
    """

    positive: str
    negative: str
    prompt: str
    negative_prompt: str


class _Fill(NamedTuple):
    """What one style adds to the two texts."""

    name: str
    positive: str
    negative: str
    has_placeholder: bool


class _State(NamedTuple):
    """How much of the texts is covered, and what that says about the main line.

    ``starts_with_main``: the main line stands first, so that no style has a place for it;
    ``filled``: a style had a place for it.
    """

    positive: int
    negative: int
    starts_with_main: bool
    filled: bool


def collapse_blanks(text: str) -> str:
    """The text with single blanks, and none at its start."""
    return re.sub(" +", " ", text).lstrip(" ")


def find_styles(texts: EncodedTexts, library: StyleLibrary) -> tuple[str, ...] | None:
    """An ordered list of styles that makes exactly these texts, found from their start on.

    A rest that starts with the main line is the text of the prompt expansion; its style then
    comes first in the list. Of several lists the one without expansion counts, then the one found
    first in the order of the library.

    Returns:
        Names; ``None`` if there is no such list, or if finding one takes too long.
    """
    search = _Search(texts, library)
    if (names := search.run(with_expansion=False)) is not None:
        return names
    names = search.run(with_expansion=True)
    return None if names is None else (EXPANSION_STYLE, *names)


class _Search:
    def __init__(self, texts: EncodedTexts, library: StyleLibrary) -> None:
        self._main, *extra = texts.prompt.split("\n")
        self._positive = collapse_blanks(texts.positive)
        self._negative = collapse_blanks(texts.negative)
        self._tail = _join(extra)
        self._negative_tail = _join(texts.negative_prompt.split("\n"))
        self._fills = [
            _Fill(
                name=name,
                positive=_join(library.get(name).positive_lines(self._main)),
                negative=_join(library.get(name).negative_lines()),
                has_placeholder=library.get(name).has_placeholder,
            )
            for name in library.names
        ]

    def run(self, *, with_expansion: bool) -> tuple[str, ...] | None:
        """The first list of names found, depth first."""
        came_from: dict[_State, tuple[_State, str] | None] = dict.fromkeys(self._starts())
        waiting = list(came_from)
        while waiting and len(came_from) < _MAX_STATES:
            state = waiting.pop()
            if self._is_end(state, with_expansion=with_expansion):
                return tuple(_names_up_to(state, came_from))
            steps = [step for step in self._steps(state) if step[0] not in came_from]
            # The last one is taken up first.
            for following, name in reversed(steps):
                came_from[following] = (state, name)
                waiting.append(following)
        return None

    def _starts(self) -> Iterator[_State]:
        yield _State(0, 0, starts_with_main=False, filled=False)
        after_main = _after(self._positive, 0, _join([self._main]))
        if after_main is not None:
            yield _State(after_main, 0, starts_with_main=True, filled=False)

    def _steps(self, state: _State) -> Iterator[tuple[_State, str]]:
        for fill in self._fills:
            if fill.has_placeholder and state.starts_with_main:
                continue
            positive = _after(self._positive, state.positive, fill.positive)
            negative = _after(self._negative, state.negative, fill.negative)
            if positive is not None and negative is not None:
                filled = state.filled or fill.has_placeholder
                yield _State(positive, negative, state.starts_with_main, filled), fill.name

    def _is_end(self, state: _State, *, with_expansion: bool) -> bool:
        knows_main = state.starts_with_main or state.filled
        if not knows_main or self._negative[state.negative :] != self._negative_tail:
            return False
        if not with_expansion:
            return self._positive[state.positive :] == self._tail
        end = _after(self._positive, state.positive, self._tail)
        cleaned = clean_line(self._main)
        return end is not None and cleaned != "" and self._positive.startswith(cleaned, end)


def _names_up_to(state: _State, came_from: dict[_State, tuple[_State, str] | None]) -> list[str]:
    names = []
    while (step := came_from[state]) is not None:
        state, name = step
        names.append(name)
    return names[::-1]


def _join(lines: list[str]) -> str:
    return collapse_blanks(SEPARATOR.join(line for line in lines if line))


def _after(text: str, index: int, piece: str) -> int | None:
    """Where ``text`` goes on behind ``piece``, if it continues with it at ``index``."""
    if not piece:
        return index
    if not text.startswith(piece, index):
        return None
    end = index + len(piece)
    if end == len(text):
        return end
    return end + len(SEPARATOR) if text.startswith(SEPARATOR, end) else None
