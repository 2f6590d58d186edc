"""Telling callers what of a request cannot be used: a warning, or under ``--strict`` a refusal.

Knows neither what is asked for nor what is used instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from fooocus_core.errors import InvalidInputError
from fooocusapi.exceptions import InvalidFieldError

_MAX_NAME_SHOWN = 100

Member = TypeVar("Member", bound=StrEnum)


class Tolerance:
    """Collects what is tolerated while one request is translated.

    Attributes:
        warnings: One line each, in order.
    """

    def __init__(self, *, strict: bool) -> None:
        self.is_strict = strict
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Tell the caller something that is no fault of the request."""
        self.warnings.append(" ".join(text.split()))

    def tolerate(
        self,
        location: tuple[str | int, ...],
        value: object,
        problem: str,
        *,
        instead: str,
        allowed: str,
        close: Sequence[str] = (),
    ) -> None:
        """Warn of a value that cannot be used.

        Args:
            location: Path of the field in the body.
            problem: What is wrong.
            instead: What is done all the same.
            allowed: What may be given.
            close: What was probably meant.

        Raises:
            InvalidFieldError: Strict.
        """
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        if self.is_strict:
            text = " ".join(f"{problem}{hint}; allowed: {allowed}".split())
            raise InvalidFieldError(location, text, value)
        self.warn(f"{problem}: {instead}{hint}")

    def choose(
        self,
        kind: type[Member],
        asked: str | None,
        default: Member,
        name: str,
        place: tuple[str | int, ...] = ("advanced_params",),
    ) -> Member:
        """The member that an option names; ``default`` if it names none or an unknown one.

        Args:
            name: Of the option.
            place: Path of the object that it stands in.

        Raises:
            InvalidFieldError: Strict, and it is unknown.
        """
        if not asked:
            return default
        try:
            return kind(asked)
        except ValueError:
            self.tolerate(
                (*place, name),
                asked,
                f"unknown {name} '{shown(asked)}'",
                instead=f"'{default}' used instead",
                allowed=", ".join(kind),
                close=close_to(asked, kind),
            )
            return default


@contextmanager
def naming(location: tuple[str | int, ...]) -> Iterator[None]:
    """Say which field is to blame for what the core cannot use.

    Raises:
        InvalidFieldError: In place of the core's :class:`InvalidInputError`.
    """
    try:
        yield
    except InvalidInputError as error:
        raise InvalidFieldError(location, str(error)) from error


def close_to(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that are spelt alike, the closest first."""
    return get_close_matches(shown(name), list(known))


def shown(name: str) -> str:
    """A name that a caller sent, short enough for a message."""
    return name if len(name) <= _MAX_NAME_SHOWN else f"{name[:_MAX_NAME_SHOWN]}..."
