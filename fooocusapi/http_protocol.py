"""The server library's reading of requests, with limits of size and time that it has not.

Knows no routes: a request that is refused here never reaches the app.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_log = logging.getLogger(__name__)

_DETAILS = {
    HTTPStatus.REQUEST_TIMEOUT: "the request did not arrive in time",
    HTTPStatus.REQUEST_URI_TOO_LONG: "the address is too long",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "the headers are too many or too large",
}


class LimitedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        max_url_bytes, max_head_bytes: Of the address; of it and all headers.
        max_headers: Their number.
        head_time_s: Within which the headers have to be there.
        body_period_s, body_bytes: Each period brings so many bytes of the body, or its end.
        linger_s: How long the rest of a body is thrown away after the answer.
    """

    max_url_bytes: ClassVar[int] = 32 * 1024
    max_head_bytes: ClassVar[int] = 64 * 1024
    max_headers: ClassVar[int] = 200
    head_time_s: ClassVar[float] = 20.0
    body_period_s: ClassVar[float] = 30.0
    body_bytes: ClassVar[int] = 4096
    linger_s: ClassVar[float] = 5.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_in_body = False
        self._is_refused = False
        self._received = 0
        self._was_paused = False
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._after(self.head_time_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as there is not too much of it."""
        if self._is_refused:
            return
        if not self._is_in_body and self._watch is None:
            self._after(self.head_time_s, self._give_up)
        self._received += len(data)
        super().data_received(data)
        # A single header is not told of before its end.
        if not self._is_in_body and self._received > self.max_head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to read headers."""
        self._received = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Look at the headers, and have the app begin."""
        self._stop_watch()
        self._is_in_body = True
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > self.max_url_bytes:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif size > self.max_head_bytes or len(self.headers) > self.max_headers:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().on_headers_complete()
            self._begin_period()

    def on_body(self, body: bytes) -> None:
        """Take in a part of the body."""
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting; the next request may follow."""
        if not self._is_refused:
            super().on_message_complete()
            self._stop_watch()
            self._is_in_body = False
            self._received = 0

    def on_response_complete(self) -> None:
        """End the connection before long if the request has not ended."""
        super().on_response_complete()
        if self._is_in_body and self.cycle.response_complete:
            self._after(self.linger_s, self.transport.close)

    def _begin_period(self) -> None:
        self._received = 0
        self._was_paused = self.flow.read_paused
        self._after(self.body_period_s, self._end_period)

    def _end_period(self) -> None:
        # While the app does not read, it is not the caller who is slow.
        is_free = not (self._was_paused or self.flow.read_paused)
        if is_free and self._received < self.body_bytes:
            self._give_up()
        else:
            self._begin_period()

    def _give_up(self) -> None:
        if self._received or self._is_in_body:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            # Nothing was asked, as by browsers that open connections in advance.
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        self._stop_watch()
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        _log.info("request refused: %s", _DETAILS[status])
        if not self._is_answering():
            content = json.dumps({"detail": _DETAILS[status]}).encode()
            head = f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
            lines = (STATUS_LINE[status], head.encode(), b"connection: close\r\n\r\n", content)
            self.transport.write(b"".join(lines))
        self.transport.close()

    def _is_answering(self) -> bool:
        """Whether an answer is on its way that another one must not be mixed with."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and cycle.response_started

    def _after(self, delay_s: float, act: Callable[[], None]) -> None:
        self._stop_watch()
        self._watch = self.loop.call_later(delay_s, act)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
