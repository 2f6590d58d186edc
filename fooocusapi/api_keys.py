"""API keys as the service knows them: a name, the SHA-256 of the key, and what it may do.

Reads the lines they are written in; knows no headers and no routes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

KEYS_VARIABLE = "FOOOCUSAPI_API_KEYS"
MAIN_KEY = "apikey"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_FORM = "name:sha256:scopes, such as ci:<64 hexadecimal digits>:generate,read"


class Scope(StrEnum):
    """What a key may be used for."""

    GENERATE = "generate"
    READ = "read"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class ApiKeyError(Exception):
    """Keys cannot be read; the message says where, and never shows what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key.

    Attributes:
        name: Whose jobs and limits these are.
        digest: SHA-256 of the key.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]


class KeyRing:
    """The keys that are let in."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    @property
    def is_empty(self) -> bool:
        """Whether there are no keys, so that everybody is let in."""
        return not self._keys

    def find(self, text: str) -> ApiKey | None:
        """The key of that text, in a time that depends neither on the text nor on the place."""
        given, found = _digest(text), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, given):
                found = key
        return found


def key_with_every_scope(text: str) -> ApiKey:
    """The key that ``--apikey`` states."""
    return ApiKey(name=MAIN_KEY, digest=_digest(text), scopes=ALL_SCOPES)


def read_keys(path: Path | None, variable: str | None) -> tuple[ApiKey, ...]:
    """Keys of a file and of an environment variable.

    Args:
        path: A file with one ``name:sha256:scopes`` per line; ``#`` begins a comment.
        variable: The same as text, where blanks may stand for line ends.

    Raises:
        ApiKeyError: The file cannot be read, a line is not of that form, or a name stands twice.
    """
    keys: list[ApiKey] = []
    if path is not None:
        keys.extend(_parse(_text_of(path), f"the file of keys {path}"))
    if variable:
        keys.extend(_parse(variable, KEYS_VARIABLE))
    names = [MAIN_KEY, *(key.name for key in keys)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ApiKeyError(f"two API keys have the name {twice}; each needs its own")
    return tuple(keys)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ApiKeyError(f"the file of keys {path} cannot be read: {reason}") from error


def _parse(text: str, place: str) -> Iterator[ApiKey]:
    for number, line in enumerate(text.splitlines(), 1):
        for entry in line.partition("#")[0].split():
            name, _, rest = entry.partition(":")
            digest, _, scopes = rest.partition(":")
            is_known = set(scopes.split(",")) <= {scope.value for scope in Scope}
            if not (_NAME.fullmatch(name) and _DIGEST.fullmatch(digest) and is_known):
                wanted = f"{_FORM}; scopes: {', '.join(Scope)}"
                raise ApiKeyError(f"{place}, line {number}: wanted is {wanted}")
            yield ApiKey(
                name=name,
                digest=bytes.fromhex(digest),
                scopes=frozenset(Scope(scope) for scope in scopes.split(",")),
            )


def _digest(text: str) -> bytes:
    return sha256(text.encode(errors="replace")).digest()
