"""B27 to B30 in requests: nothing inside the network is contacted. Details: test_inputs.py."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date

import pytest

from fooocusapi.addresses import is_public, may_be_told
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.inputs import Inputs
from fooocusapi.storage import Storage
from tests.bad_input.conftest import Prober
from tests.pictures import encode, plain
from tests.refusals import refused

VARY = "/v2/generation/image-upscale-vary"
DESCRIBE = "/v1/tools/describe-image"


@contextmanager
def untouched(host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server on this host that nobody must contact."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        yield listener.getsockname()[1]
        listener.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "①②⑦.0.0.1",
        "127.1",
        "127.0.0.1.",
        "user:pass@127.0.0.1",
    ],
)
def test_b27_names_of_this_host(client: Prober, host: str) -> None:
    with untouched() as port:
        body = {"input_image": f"http://{host}:{port}/picture.png"}
        first = refused(client.post(VARY, json=body), "input_image")
        assert "contacted" in first["msg"] or "could not be fetched" in first["msg"]
        assert "127.0.0.1" not in first["msg"] or "127.0.0.1" in host


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "[fe80::1]",
        "[fc00::1]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_b27_private_addresses(client: Prober, host: str) -> None:
    answer = client.post(DESCRIBE, json={"image": f"http://{host}/latest/meta-data"})
    refused(answer, "image", says="contacted")


@pytest.mark.parametrize(
    ("text", "is_reachable"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("2002:808:808::1", True),
        ("::ffff:0:127.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b:1::7f00:1", False),
        ("2002:a00:1::1", False),
        ("2001:0:7f00:1::", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("::1", False),
        ("::", False),
        ("255.255.255.255", False),
    ],
)
def test_b27_which_addresses_are_public(text: str, is_reachable: bool) -> None:
    assert is_public(ipaddress.ip_address(text)) is is_reachable


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:0:169.254.169.254", False),
        ("64:ff9b::169.254.169.254", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_b27_which_addresses_a_webhook_may_go_to(text: str, is_allowed: bool) -> None:
    assert may_be_told(ipaddress.ip_address(text)) is is_allowed


Behave = Callable[[socket.socket], None]


@contextmanager
def misbehaving(behave: Behave) -> Iterator[str]:
    """The address of a server that answers as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        behave(connection)

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/picture.png"
        # Closing alone does not wake up who waits.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(1024 * 1024))


def slow(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def says(head: str, body: bytes = b"") -> Behave:
    return lambda connection: connection.sendall(head.encode() + b"\r\n\r\n" + body)


PNG = encode(plain(8, 8))
SERVERS: dict[str, tuple[Behave, str]] = {
    "one byte now and then": (slow, "within 0.5 s"),
    "never answers": (lambda _: time.sleep(3), "within 0.5 s"),
    "longer than it is": (says("HTTP/1.1 200 OK\r\nContent-Length: 9999", PNG), "fetched"),
    "packed": (says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b" * 99), "picture"),
    "not found": (says("HTTP/1.1 404 Not Found"), "status 404"),
    "a page": (says("HTTP/1.1 200 OK\r\nContent-Type: image/png", b"<html>"), "picture"),
    "nothing": (says("HTTP/1.1 200 OK\r\nContent-Length: 0"), "picture"),
    "no HTTP": (says("hello"), "fetched"),
    "closes": (lambda _: None, "fetched"),
    "redirects to itself": (says("HTTP/1.1 302 Found\r\nLocation: /picture.png"), "redirects"),
    "redirects to a file": (says("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd"), "http"),
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """What fetches pictures, from this host, too, and within half a second."""
    storage = Storage(tmp_path_factory.mktemp("storage"), "http://own.example", date.today)
    return Inputs(
        storage=storage,
        own_files="http://own.example/files/",
        allow_private=True,
        time_limit_s=0.5,
    )


def complaint(inputs: Inputs, address: str) -> str:
    began = time.monotonic()
    with pytest.raises(InvalidFieldError) as caught:
        asyncio.run(inputs.read_picture(address, ("image",)))
    assert time.monotonic() - began < 5
    assert caught.value.location == ("image",)
    return str(caught.value)


@pytest.mark.parametrize("what", SERVERS)
def test_b30_answers_that_are_no_picture(impatient: Inputs, what: str) -> None:
    behave, reason = SERVERS[what]
    with misbehaving(behave) as address:
        assert reason in complaint(impatient, address)


def test_b30_an_endless_answer(impatient: Inputs) -> None:
    with misbehaving(endless) as address:
        # Whichever limit is reached first.
        assert re.search(r"more than \d+ bytes|within 0.5 s", complaint(impatient, address))


def test_b30_a_certificate_that_nobody_trusts(impatient: Inputs) -> None:
    with misbehaving(says("no TLS")) as address:
        assert "fetched" in complaint(impatient, address.replace("http:", "https:"))
