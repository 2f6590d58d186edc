"""Gives every request an id, and its answer the headers that were noted for it."""

from __future__ import annotations

import re
from contextvars import ContextVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)

current_request: ContextVar[str | None] = ContextVar("current_request", default=None)
"""Id of the request that is being answered, for the log."""


class RequestIds:
    """The outermost layer of the app: also refusals of the layers inside have an id.

    What a layer inside puts into ``request.state.headers`` becomes part of the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its id in ``request.state.request_id``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(_HEADER, "")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        current_request.set(request_id)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**state.get("headers", {}), _HEADER: request_id})
            await send(message)

        await self._app(scope, receive, send_on)
