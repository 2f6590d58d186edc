"""Refuses requests whose Host header is none. Which host it names does not matter.

Addresses in answers never come from it: they begin with ``--base-url``.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)


class PlainHosts:
    """Lets requests pass that have one Host header with a name or an address, or none at all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or answer 400."""
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else []
        if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
            detail = "the header Host has to hold one host name or address, and nothing else"
            await JSONResponse({"detail": detail}, 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
