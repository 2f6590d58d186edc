"""Callers that hang up while they wait for their picture."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import Start
from tests.servers import SMALL, TEXT_TO_IMAGE, Running


def hang_up_after_asking(server: Running, **fields: Any) -> str:
    """Ask for a picture, and hang up when its job runs; the id of the job."""
    body = json.dumps({**SMALL, **fields}).encode()
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as caller:
        head = f"POST {TEXT_TO_IMAGE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return str(server.wait_for(r"job (\S+): started")[1])


def test_f23_a_job_ends_with_its_caller_only_if_it_is_to(start: Start) -> None:
    server = start("--cancel-on-disconnect", FAKE_HOLD="1", FAKE_PASSES="4")
    free = hang_up_after_asking(server, cancel_on_disconnect=False)
    assert server.wait_for_end(free)["status"] == "succeeded"
    bound = hang_up_after_asking(server)
    assert server.wait_for_end(bound)["status"] == "canceled"
