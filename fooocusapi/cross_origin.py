"""Cross-origin headers on every answer, those to unforeseen failures included."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Send

from fooocusapi.hosts import PlainHosts
from fooocusapi.origins import allows_any
from fooocusapi.request_ids import RequestIds
from fooocusapi.settings import Settings

_EXPOSED = (
    "X-Fooocus-Job-Id",
    "X-Fooocus-Warning",
    "X-Fooocus-Error",
    "Location",
    "Retry-After",
    "Preference-Applied",
    "Idempotency-Replayed",
    "X-Request-ID",
    "RateLimit",
    "RateLimit-Policy",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
_CREDENTIALS = "Access-Control-Allow-Credentials"


class Application(FastAPI):
    """An app whose outermost layer adds the headers.

    The framework puts what is added to it inside the layer that answers unforeseen failures, whose
    answers a page could not read then.

    Args:
        settings: Which origins may call, and whether a key is wanted.
        options: Those of the framework.
    """

    def __init__(self, settings: Settings, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._settings = settings

    def build_middleware_stack(self) -> ASGIApp:
        """All layers; around them those for hosts, foreign origins and request ids."""
        settings = self._settings
        marked = CrossOrigin(
            PlainHosts(super().build_middleware_stack()),
            allow_origins=settings.cors_origins or ("*",),
            # Pages of just any origin must not use what a browser remembers of a keyed server.
            allow_credentials=not (settings.has_keys and allows_any(settings.cors_origins)),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
        return RequestIds(marked)


class CrossOrigin(CORSMiddleware):
    """The framework's headers, but never credentials for ``Origin: null``.

    That is the origin of every page without one of its own, such as a sandboxed frame.
    """

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to the question whether a request may be sent."""
        answer = super().preflight_response(request_headers)
        if _is_null(request_headers):
            del answer.headers[_CREDENTIALS]
        return answer

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Add the headers to the start of an answer."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_null(request_headers):
                del MutableHeaders(scope=message)[_CREDENTIALS]
            await send(message)

        await super().send(message, send_on, request_headers)


def _is_null(request_headers: Headers) -> bool:
    return request_headers.get("origin") == "null"
