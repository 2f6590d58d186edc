"""API keys for tests: the text of each is its name."""

from __future__ import annotations

from hashlib import sha256

from fooocusapi.api_keys import ApiKey, Scope

RIGHT = "the right key"
"""For the option ``apikey``."""


def _key(name: str, *scopes: Scope) -> ApiKey:
    return ApiKey(name=name, digest=sha256(name.encode()).digest(), scopes=frozenset(scopes))


KEYS = (
    _key("anna", Scope.GENERATE, Scope.READ),
    _key("bert", Scope.GENERATE, Scope.READ),
    _key("reader", Scope.READ),
    _key("maker", Scope.GENERATE),
    _key("boss", *Scope),
)


def as_(name: str) -> dict[str, str]:
    """The header that says who calls."""
    return {"X-API-KEY": name}
