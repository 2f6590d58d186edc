"""A server with the fake engine as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from fooocusapi.cli import PROJECT_ROOT
from tests.deadline import wait_until

LIMIT_S = 40
REQUEST_S = 30
TEXT_TO_IMAGE = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": []}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, decoded JSON and headers of an answer."""

    status: int
    body: Any
    headers: Message


class Running:
    """A server that runs as a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the log up to a line that matches."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if (match := re.search(pattern, line)) is not None:
                return match
        raise AssertionError(f"{pattern} not in the log:\n{''.join(self.lines)}")

    def rest(self) -> str:
        """The log of a server that has ended."""
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)
        return "".join(self.lines)

    def post(self, **fields: Any) -> Any:
        """The answer to a request for a small picture."""
        answer = self.request("POST", TEXT_TO_IMAGE, {**SMALL, **fields})
        assert answer.status == 200, answer.body
        return answer.body

    def request(self, method: str, path: str, content: object = None, **headers: str) -> Answer:
        """The answer to any request, whatever its status."""
        body = None if content is None else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path, body, {"content-type": "application/json", **named}, method=method
        )
        try:
            answer = urllib.request.urlopen(request, timeout=REQUEST_S)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read()
            return Answer(
                status=answer.status,
                body=json.loads(text) if text else None,
                headers=answer.headers,
            )

    def job(self, job_id: str) -> dict[str, Any]:
        """What the server tells of a job."""
        job: dict[str, Any] = self.request("GET", f"/v1/generation/jobs/{job_id}").body
        return job

    def wait_for_end(self, job_id: str) -> dict[str, Any]:
        """What the server tells of a job when it has ended."""
        wait_until(lambda: self.job(job_id)["finished_at"] is not None)
        return self.job(job_id)

    def kill(self) -> None:
        """End the server as if the power had gone."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(*arguments: object, limit_s: float = LIMIT_S, **environment: str) -> Iterator[Running]:
    """A server with the fake engine that serves, with these arguments and variables."""
    with ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.run_fake", "--port", "0", *map(str, arguments)],
            cwd=PROJECT_ROOT,
            # What the first one has compiled the others read, wherever pytest was told not to.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        # Reading the log of a server that hangs ends when the server does.
        alarm = threading.Timer(limit_s, process.kill)
        alarm.start()
        stack.callback(alarm.cancel)
        assert process.stderr is not None
        stack.callback(process.stderr.close)
        server = Running(process)
        server.url = server.wait_for(r"listening on (http://\S+)")[1]
        server.wait_for("startup complete")
        yield server
