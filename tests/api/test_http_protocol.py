"""Requests that never end or have no measure: refused before they reach the app."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
import uvicorn

from fooocusapi.http_protocol import LimitedProtocol
from tests.deadline import wait_until


class Impatient(LimitedProtocol):
    """The same with little time."""

    head_time_s: ClassVar[float] = 1.0
    body_period_s: ClassVar[float] = 1.0
    linger_s: ClassVar[float] = 1.0


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Tells the length of the body; of ``/unread`` without reading it, of ``/slow`` late."""
    size, more = 0, scope["path"] != "/unread"
    if scope["path"] == "/slow":
        await asyncio.sleep(2.5)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    content = str(size).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with little patience."""
    options: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_config": None}
    config = uvicorn.Config(echo, port=0, http=Impatient, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def line(port: int) -> Iterator[socket.socket]:
    """A connection to it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        yield line


def answer(line: socket.socket) -> bytes:
    """Everything that comes until the server closes."""
    received = b""
    try:
        while piece := line.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


def head(path: str = "/", *headers: str, method: str = "POST") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def drip(line: socket.socket, data: bytes) -> None:
    """Send byte by byte until the server has had enough."""
    try:
        for place in range(len(data)):
            line.sendall(data[place : place + 1])
            time.sleep(0.02)
    except ConnectionError:
        pass


def test_b45_headers_that_come_byte_by_byte_are_408(line: socket.socket) -> None:
    drip(line, head("/", f"X-Long: {'x' * 100}"))
    assert answer(line).startswith(b"HTTP/1.1 408 ")


def test_b45_a_body_that_comes_byte_by_byte_is_408(line: socket.socket) -> None:
    line.sendall(head("/", "Content-Length: 100"))
    drip(line, b"x" * 50)
    assert answer(line).startswith(b"HTTP/1.1 408 ")


def test_b45_a_content_length_larger_than_the_body_is_408(line: socket.socket) -> None:
    line.sendall(head("/", "Content-Length: 10") + b"12345")
    assert b'"detail"' in answer(line)


def test_b45_a_content_length_smaller_than_the_body_is_400(
    line: socket.socket,
) -> None:
    line.sendall(head("/", "Content-Length: 3") + b"abc{}\r\n\r\n")
    assert b"HTTP/1.1 400 " in answer(line)


def test_b45_the_rest_of_an_endless_body_is_not_read_for_long(line: socket.socket) -> None:
    line.sendall(head("/unread", "Transfer-Encoding: chunked"))
    began = time.monotonic()
    try:
        while time.monotonic() - began < 10:
            line.sendall(b"4\r\nabcd\r\n" * 100)
            time.sleep(0.01)
    except ConnectionError:
        pass
    assert time.monotonic() - began < 5


def test_a_connection_without_a_request_is_closed_without_a_word(line: socket.socket) -> None:
    assert answer(line) == b""


def test_a_caller_is_not_slow_while_the_app_does_not_read(line: socket.socket) -> None:
    size = 300_000
    line.sendall(head("/slow", f"Content-Length: {size}", "Connection: close") + b"x" * size)
    assert answer(line).endswith(str(size).encode())


def test_a_connection_is_used_again_as_often_as_one_likes(line: socket.socket) -> None:
    for _ in range(3):
        line.sendall(head("/", "Content-Length: 3") + b"abc")
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.4)
    line.sendall(head(method="GET") * 3 + head("/", "Connection: close", method="GET"))
    assert answer(line).count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("/" + "x" * 65_536), 414),
        (head("/?" + "x" * 40_000), 414),
        (head("/", f"X-Large: {'x' * 65_536}"), 431),
        (head("/", *(f"X-{number}: {'x' * 1000}" for number in range(70))), 431),
        (head("/", *["X: 1"] * 1000), 431),
        (head("/")[:-2] + b"X-Endless: " + b"x" * 10**6, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"junk\r\n\r\n", 400),
    ],
    ids=["path", "query", "value", "size", "count", "endless", "NUL", "folded", "junk"],
)
def test_b53_headers_beyond_the_limits_are_refused(
    line: socket.socket, request_head: bytes, status: int
) -> None:
    with suppress(ConnectionError):
        line.sendall(request_head)
    assert answer(line).startswith(f"HTTP/1.1 {status} ".encode())


def test_headers_within_the_limits_are_read(line: socket.socket) -> None:
    headers = [f"X-{number}: {'x' * 300}" for number in range(190)]
    line.sendall(head("/", *headers, "Connection: close", method="GET"))
    assert answer(line).startswith(b"HTTP/1.1 200 ")
