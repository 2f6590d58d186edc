"""A server with the fake engine as a process of its own.

It is what ``python -m tests.run_fake`` starts, forked from a process that has imported already what
serves, because that takes most of a start.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TextIO

from fooocusapi.cli import PROJECT_ROOT
from tests.deadline import wait_until
from tests.run_fake import serve

LIMIT_S = 40
REQUEST_S = 30
TEXT_TO_IMAGE = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": []}

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.run_fake"])


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status, decoded JSON and headers of an answer."""

    status: int
    body: Any
    headers: Message


class Running:
    """A server that runs as a process of its own.

    Attributes:
        log: What it writes to stderr.
        lines: What has been read of that.
    """

    def __init__(self, process: BaseProcess, log: TextIO) -> None:
        self._process = process
        self.log = log
        self.lines: list[str] = []
        self.url = ""

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the log up to a line that matches."""
        for line in self.log:
            self.lines.append(line)
            if (match := re.search(pattern, line)) is not None:
                return match
        raise AssertionError(f"{pattern} not in the log:\n{''.join(self.lines)}")

    def rest(self) -> str:
        """The log of a server that has ended."""
        self.lines.extend(self.log)
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

    def stop(self) -> None:
        """Tell the server to stop."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """The status that the process ends with; negative: the signal that it was ended by."""
        self._process.join(LIMIT_S)
        assert self._process.exitcode is not None, "it still runs"
        return self._process.exitcode

    def kill(self) -> None:
        """End the server as if the power had gone."""
        self._process.kill()
        self.wait()


@contextmanager
def running(*arguments: object, limit_s: float = LIMIT_S, **environment: str) -> Iterator[Running]:
    """A server with the fake engine that serves, with these arguments and variables."""
    with ExitStack() as stack:
        reading, writing = map(stack.enter_context, _FORKS.Pipe(duplex=False))
        values = ("--port", "0", *map(str, arguments)), {**os.environ, **environment}
        process = _FORKS.Process(target=_serve, args=(writing, *values))
        process.start()
        writing.close()
        log = stack.enter_context(os.fdopen(os.dup(reading.fileno()), encoding="utf-8"))
        server = Running(process, log)
        stack.callback(server.kill)
        # Reading the log of a server that hangs ends when the server does.
        alarm = threading.Timer(limit_s, process.kill)
        alarm.start()
        stack.callback(alarm.cancel)
        server.url = server.wait_for(r"listening on (http://\S+)")[1]
        server.wait_for("startup complete")
        yield server


def _serve(stderr: Connection, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    os.dup2(stderr.fileno(), 2)
    os.chdir(PROJECT_ROOT)
    os.environ.clear()
    os.environ.update(environment)
    serve(arguments)
