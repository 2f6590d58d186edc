"""A hub of model files on this machine, with faults by script.

Answers like the real one as far as its library looks: the address of a large file names its size
and SHA-256 and leads to another origin, which serves ranges.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0" * 40


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What one answer with content does wrong.

    Attributes:
        status: Answered instead.
        ends_after: The connection is closed after so many bytes of the answer.
        falls_silent: It stays open instead, until the hub is closed.
    """

    status: int | None = None
    ends_after: int | None = None
    falls_silent: bool = False


@dataclass(frozen=True, kw_only=True)
class Served:
    """A file.

    Attributes:
        told: What size and hashes are told of; another content than the one that is sent.
        has_ranges: Whether a part of it can be had.
        tells_length: Whether the answer says how long it is.
        tells_version: Whether it says which content it is.
        kind: Media type.
    """

    content: bytes
    told: bytes
    is_large: bool = True
    has_ranges: bool = True
    tells_length: bool = True
    tells_version: bool = True
    kind: str = "application/octet-stream"


class FakeHub:
    """Serves files until closed.

    Attributes:
        asked: Method, path and range of every request, in order.
        tokens: Path and authorization of every request.
        refusals: Status codes with which the next look-ups are answered.
        faults: Of the next answers with content.
    """

    def __init__(self) -> None:
        self._files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.tokens: list[tuple[str, str | None]] = []
        self.refusals: deque[int] = deque()
        self.faults: deque[Fault] = deque()
        self.is_closed = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the hub."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def store_url(self) -> str:
        """Another origin, where the content of large files lies."""
        return f"http://localhost:{self._server.server_port}"

    def put(self, path: str, content: bytes, *, told: bytes | None = None, **changes: Any) -> None:
        """Offer a file: ``owner/name/file`` of the hub, or ``plain/file`` of an ordinary server."""
        self._files[path] = Served(content=content, told=told or content, **changes)

    def forget(self) -> None:
        """Offer nothing any more."""
        self._files.clear()

    def find(self, path: str) -> Served | None:
        """The file that a path of the server stands for."""
        inner = (
            unquote(path)
            .partition("?")[0]
            .strip("/")
            .removeprefix("store/")
            .replace("/resolve/main/", "/")
        )
        return self._files.get(inner)

    def transfers(self) -> list[str | None]:
        """The ranges of all requests for the content of large files."""
        return [part for method, path, part in self.asked if path.startswith("/store/")]

    def close(self) -> None:
        """End the server; a second time is the same."""
        self.is_closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.hub.asked.append((self.command, self.path, self.headers.get("range")))
        self.server.hub.tokens.append((self.path, self.headers.get("authorization")))
        file = self.server.hub.find(self.path)
        is_look_up = "/resolve/" in self.path
        if is_look_up and self.command == "HEAD" and self.server.hub.refusals:
            self._end(self.server.hub.refusals.popleft())
        elif file is None:
            self._end(404, {"X-Error-Code": "EntryNotFound"})
        elif is_look_up and (file.is_large or self.command == "HEAD"):
            self._tell(file)
        else:
            self._send(file)

    def _tell(self, file: Served) -> None:
        sha256 = hashlib.sha256(file.told).hexdigest()
        blob = hashlib.sha1(b"blob %d\0" % len(file.told) + file.told).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{blob}"'}
        if not file.is_large:
            self._end(200, {**headers, "Content-Length": str(len(file.told))})
            return
        path = self.path.replace("/resolve/main/", "/")
        headers["X-Linked-ETag"] = f'"{sha256}"'
        headers["X-Linked-Size"] = str(len(file.told))
        self._end(302, {**headers, "Location": f"{self.server.hub.store_url}/store{path}"})

    def _send(self, file: Served) -> None:
        fault = self.server.hub.faults.popleft() if self.server.hub.faults else Fault()
        if fault.status is not None:
            self._end(fault.status)
            return
        start = int((self.headers.get("range") or "bytes=0-")[6:-1])
        is_part = file.has_ranges and start > 0
        if is_part and start >= len(file.content):
            self._end(416)
            return
        body = file.content[start:] if is_part else file.content
        headers = {"Content-Type": file.kind}
        if is_part:
            end = len(file.content) - 1
            headers["Content-Range"] = f"bytes {start}-{end}/{len(file.content)}"
        if file.tells_length:
            headers["Content-Length"] = str(len(body))
        if file.tells_version:
            headers["ETag"] = f'"{hashlib.md5(file.told).hexdigest()}"'
        self._head(206 if is_part else 200, headers)
        self.wfile.write(body[: fault.ends_after])
        if fault.falls_silent:
            self.wfile.flush()
            self.server.hub.is_closed.wait()

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._head(status, {"Content-Length": "0", **(headers or {})})

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
