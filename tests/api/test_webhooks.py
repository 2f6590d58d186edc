"""Receivers of ended jobs."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.fakes import WAIT_S, FakeEngine, Script

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


class Receiver:
    """A web server on this host that keeps what it is told."""

    def __init__(self) -> None:
        self.bodies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.hold = threading.Event()
        self.hold.set()
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                receiver.hold.wait(WAIT_S)
                receiver.bodies.put({**body, "_type": self.headers["Content-Type"]})
                self.send_response(receiver.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def next(self) -> dict[str, Any]:
        return self.bodies.get(timeout=WAIT_S)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.hold.set()
    receiver.server.shutdown()
    receiver.server.server_close()
    receiver.thread.join()


def test_finished_job_is_told_with_the_two_legacy_keys_first(
    client: TestClient, receiver: Receiver
) -> None:
    body = {**SMALL, "webhook_url": receiver.url, "image_number": 2, "image_seed": 5}
    answer = client.post(URL, json=body)
    told = receiver.next()
    assert list(told)[:2] == ["job_id", "job_result"]
    assert told["_type"] == "application/json"
    assert told["job_id"] == answer.headers["X-Fooocus-Job-Id"]
    assert told["job_result"] == [
        {"url": item["url"], "seed": item["seed"]} for item in answer.json()
    ]
    assert (told["type"], told["status"], told["error"]) == ("job.completed", "SUCCESS", None)


def test_failed_and_stopped_jobs_are_told(
    client: TestClient, engine: FakeEngine, receiver: Receiver
) -> None:
    engine.play(Script(failure=ValueError("odd")), Script(gated=True))
    body = {**SMALL, "webhook_url": receiver.url, "async_process": True}
    client.post(URL, json=body)
    told = receiver.next()
    assert (told["type"], told["job_result"]) == ("job.failed", [])
    assert told["error"]["message"] == "ValueError: odd"
    client.post(URL, json=body)
    engine.gate.wait_for_step()
    client.post("/v1/generation/stop")
    told = receiver.next()
    assert (told["type"], told["job_result"], told["error"]) == ("job.canceled", [], None)


def test_common_receiver_is_told_unless_the_request_names_one(
    make_client: MakeClient, receiver: Receiver
) -> None:
    client = make_client(webhook_url=receiver.url, public_webhooks_only=True)
    job_id = client.post(URL, json=SMALL).headers["X-Fooocus-Job-Id"]
    assert receiver.next()["job_id"] == job_id


def test_slow_receiver_delays_no_job(client: TestClient, receiver: Receiver) -> None:
    receiver.hold.clear()
    for _ in range(3):
        client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    assert client.get("/v1/generation/job-queue").json()["finished_size"] == 3
    assert receiver.bodies.empty()
    receiver.hold.set()
    for _ in range(3):
        receiver.next()


@pytest.mark.parametrize("status", [302, 410, 500])
def test_answer_of_the_receiver_does_not_touch_the_job(
    client: TestClient, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    for _ in range(2):
        (item,) = client.post(URL, json={**SMALL, "webhook_url": receiver.url}).json()
        assert item["finish_reason"] == "SUCCESS"
        receiver.next()
    assert receiver.bodies.empty()


def test_requests_may_be_kept_to_public_receivers(
    make_client: MakeClient, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(public_webhooks_only=True)
    client.post(URL, json={**SMALL, "webhook_url": receiver.url})
    client.__exit__()
    assert receiver.bodies.empty()
    assert "not one that webhooks may go to" in caplog.text


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://0.0.0.0:1/", "http://[ff02::1]/", "http://[::]/"]
)
def test_link_local_multicast_and_unspecified_addresses_are_never_told(
    client: TestClient, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    assert client.post(URL, json={**SMALL, "webhook_url": url}).status_code == 200
    client.__exit__()
    assert "not one that webhooks may go to" in caplog.text


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/", "javascript:alert(1)", "http://", "http://x:99999/"]
)
def test_what_is_no_web_address_is_left_out_with_a_warning(client: TestClient, url: str) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_url": url})
    assert "webhook_url" in answer.headers["X-Fooocus-Warning"]


@pytest.mark.parametrize("url", ["", "string", "None", None])
def test_placeholders_mean_no_webhook(client: TestClient, url: object) -> None:
    answer = client.post(URL, json={**SMALL, "webhook_url": url})
    assert "X-Fooocus-Warning" not in answer.headers
