"""Who may call what: API keys, their scopes, the tokens of event streams, and the rate limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import Request

from fooocusapi.api_keys import ALL_SCOPES, KeyRing, Scope
from fooocusapi.event_tokens import EventTokens
from fooocusapi.exceptions import ForbiddenError, RateLimitedError
from fooocusapi.rate_limit import RateLimiter
from fooocusapi.settings import Settings

EVENTS_PATH = "/v1/generation/jobs/{job_id}/events"
"""The one route that takes a token in its query, as a browser cannot set headers there."""

_SHORT_KEY = 16
_ADMIN = ("/v1/queue/", "/v1/webhooks/", "/v1/engines/clean_vram")
_OPEN_TO_ALL_KEYS = ("/", "/ping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: Of its key; empty if no keys are configured.
        scopes: What it may do.
    """

    name: str
    scopes: frozenset[Scope]

    @property
    def owner(self) -> str | None:
        """Whose jobs it sees: those of its own key; ``None`` = everybody's."""
        return None if Scope.ADMIN in self.scopes else self.name

    def require(self, scope: Scope) -> None:
        """Refuse what the key may not be used for.

        Raises:
            ForbiddenError: It lacks the scope.
        """
        if scope not in self.scopes:
            raise ForbiddenError("Forbidden")


def weak_spots(settings: Settings) -> Iterator[str]:
    """What of the options lets in more callers than may be meant, a sentence each."""
    if settings.apikey is not None and len(settings.apikey) < _SHORT_KEY:
        yield f"--apikey is shorter than {_SHORT_KEY} characters"
    if not settings.has_keys and settings.host in ("0.0.0.0", "::"):
        yield "anybody who reaches this address can use the server: set --apikey"


def scope_of(method: str, path: str) -> Scope | None:
    """What a key has to be for to call a route; ``None`` = any key will do.

    Args:
        path: Of the route, with the names of its parameters.
    """
    if path in _OPEN_TO_ALL_KEYS:
        return None
    if path.startswith(_ADMIN):
        return Scope.ADMIN
    return Scope.READ if method in ("GET", "HEAD") else Scope.GENERATE


class Gate:
    """Lets requests in.

    Attributes:
        tokens: For event streams.
    """

    def __init__(self, keys: KeyRing, limiter: RateLimiter, tokens: EventTokens) -> None:
        self.tokens = tokens
        self._keys = keys
        self._limiter = limiter

    def admit(self, request: Request) -> Caller:
        """Find out who calls, and count the request.

        What is left of the caller's allowance is noted in ``request.state.headers``.

        Raises:
            ForbiddenError: There are keys, and the request has none, or one that is not for this.
            RateLimitedError: The caller has sent too many requests.
        """
        caller = self._identify(request)
        host = request.client.host if request.client is not None else ""
        allowance = self._limiter.count(caller.name or f"address {host}")
        if allowance is not None:
            request.state.headers = allowance.headers()
            if allowance.is_exceeded:
                raise RateLimitedError(f"more than {allowance.limit} requests in a minute")
        return caller

    def _identify(self, request: Request) -> Caller:
        if self._keys.is_empty:
            return Caller(name="", scopes=ALL_SCOPES)
        path = request.scope["route"].path
        caller = self._by_key(request)
        if caller is None and path == EVENTS_PATH:
            caller = self._by_token(request)
        if caller is None:
            raise ForbiddenError("Forbidden")
        wanted = scope_of(request.method, path)
        if wanted is not None:
            caller.require(wanted)
        return caller

    def _by_key(self, request: Request) -> Caller | None:
        text = _given_key(request)
        key = None if text is None else self._keys.find(text)
        return None if key is None else Caller(name=key.name, scopes=key.scopes)

    def _by_token(self, request: Request) -> Caller | None:
        token, job_id = request.query_params.get("token", ""), request.path_params["job_id"]
        name = self.tokens.name_in(token, job_id)
        return None if name is None else Caller(name=name, scopes=frozenset({Scope.READ}))


def _given_key(request: Request) -> str | None:
    """The one key of a request; ``None`` if there is none, or more than one."""
    plain = request.headers.getlist("x-api-key")
    if plain:
        return plain[0] if len(plain) == 1 else None
    stated = request.headers.getlist("authorization")
    scheme, _, text = stated[0].partition(" ") if len(stated) == 1 else ("", "", "")
    return text.strip() if scheme.lower() == "bearer" else None
