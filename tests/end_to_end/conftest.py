"""A server process with the embedded model, for all tests of this folder."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_S = 60
PICTURE_S = 300


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of ``main.py`` as a process; stopping it with SIGTERM must end it with status 0."""
    port = _free_port()
    outputs = tmp_path_factory.mktemp("outputs")
    command = [sys.executable, str(ROOT / "main.py"), "--preset", "tiny", "--port", str(port)]
    process = subprocess.Popen([*command, "--output-path", str(outputs)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PICTURE_S) as client:
            _wait_for(client, process)
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=START_S) == 0
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            client.get("/ping").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server does not answer")
